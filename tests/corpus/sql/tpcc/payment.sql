-- what the warehouse took: 1, 99.25
update warehouse set w_ytd = w_ytd + $2::numeric where w_id = $1
returning w_name, w_street, w_city;
-- what the district took: 1, 2, 99.25
update district set d_ytd = d_ytd + $3::numeric where d_w_id = $1 and d_id = $2
returning d_name, d_street, d_city;
-- how many customers have the name: 1, 2, OUGHT
select count(c_id) as namecnt from customer where c_w_id = $1 and c_d_id = $2 and c_last = $3;
-- the customer in the middle: 1, 2, OUGHT
select c_first, c_middle, c_id, c_street, c_city, c_balance, c_credit
from customer where c_w_id = $1 and c_d_id = $2 and c_last = $3
order by c_first, c_id
limit 1 offset (select (count(*) - 1) / 2 from customer
                where c_w_id = $1 and c_d_id = $2 and c_last = $3)
for update;
-- the customer pays: 1, 2, 3, 99.25
update customer
set c_balance = c_balance - $4::numeric, c_ytd_payment = c_ytd_payment + $4::numeric,
    c_payment_cnt = c_payment_cnt + 1,
    c_data = case when c_credit = 'BC' then left(concat_ws(' ', c_id, c_d_id, c_w_id, $4::text, c_data), 500)
                  else c_data end
where c_w_id = $1 and c_d_id = $2 and c_id = $3;
-- the history: 3, 2, 1, 99.25
insert into history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data)
select c.c_id, c.c_d_id, c.c_w_id, d.d_id, w.w_id, timestamp '2024-05-06', $4::numeric,
       w.w_name || '    ' || d.d_name
from customer c, district d, warehouse w
where c.c_id = $1 and c.c_d_id = $2 and c.c_w_id = $3
  and d.d_w_id = c.c_w_id and d.d_id = c.c_d_id and w.w_id = d.d_w_id;
-- all in one statement: 1, 2, 3, 10
with w as (update warehouse set w_ytd = w_ytd + $4::numeric where w_id = $1 returning w_id, w_name),
     d as (update district set d_ytd = d_ytd + $4::numeric where d_w_id = $1 and d_id = $2 returning d_id, d_name),
     c as (update customer set c_balance = c_balance - $4::numeric
           where c_w_id = $1 and c_d_id = $2 and c_id = $3 returning c_id, c_balance)
insert into history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data)
select c.c_id, d.d_id, w.w_id, d.d_id, w.w_id, timestamp '2024-05-06', $4::numeric, w.w_name || d.d_name
from w, d, c
returning h_c_id, h_amount, h_data;
