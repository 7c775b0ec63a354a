-- the customer and the tax of the warehouse: 1, 2, 3
select c.c_discount, c.c_last, c.c_credit, w.w_tax
from customer c join warehouse w on w.w_id = c.c_w_id
where w.w_id = $1 and c.c_d_id = $2 and c.c_id = $3;
-- the next number of the district: 1, 2
select d_next_o_id, d_tax from district where d_w_id = $1 and d_id = $2 for update;
-- taking the number: 1, 2
update district set d_next_o_id = d_next_o_id + 1 where d_w_id = $1 and d_id = $2
returning d_next_o_id - 1, d_tax;
-- the order: 901, 2, 1, 3, 2024-05-06, 2, 1
insert into oorder (o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local)
values ($1, $2, $3, $4, $5, $6, $7);
-- the order is new: 2, 3, 1
insert into new_order (no_o_id, no_d_id, no_w_id) values ($1, $2, $3);
-- the order is new unless it was: 2, 3, 1
insert into new_order (no_o_id, no_d_id, no_w_id) values ($1, $2, $3)
on conflict (tenant_id, no_w_id, no_d_id, no_o_id) do nothing;
-- the item: 4
select i_price, i_name, i_data from item where i_id = $1;
-- its stock: 4, 1
select s_quantity, s_data, s_dist_01, s_dist_02 from stock
where s_i_id = $1 and s_w_id = $2 for update;
-- taking it from the stock: 4, 1, 7
update stock
set s_quantity = case when s_quantity >= $3::int + 10 then s_quantity - $3::int
                      else s_quantity - $3::int + 91 end,
    s_ytd = s_ytd + $3::int,
    s_order_cnt = s_order_cnt + 1,
    s_remote_cnt = s_remote_cnt + case when s_w_id = $2 then 0 else 1 end
where s_i_id = $1 and s_w_id = $2;
-- the line: 6, 3, 1, 9, 4, 1, 7, 12.50, dist
insert into order_line (ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id,
                        ol_quantity, ol_amount, ol_dist_info)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9);
-- all lines at once: 6, 3, 1
insert into order_line (ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id,
                        ol_quantity, ol_amount, ol_dist_info)
select $1::int, $2::int, $3::int, 20 + i.i_id, i.i_id, s.s_w_id, 1, i.i_price, s.s_dist_01
from item i join stock s on s.s_i_id = i.i_id
where s.s_w_id = $3::int and s.s_quantity > 20
returning ol_number, ol_amount;
