-- the oldest new order: 1, 2
select no_o_id from new_order where no_w_id = $1 and no_d_id = $2
order by no_o_id limit 1 for update skip locked;
-- it is new no more: 1, 2, 6
delete from new_order where no_w_id = $1 and no_d_id = $2 and no_o_id = $3;
-- the oldest of each district: 1
delete from new_order n
using (select no_d_id, min(no_o_id) as no_o_id from new_order where no_w_id = $1 group by no_d_id) oldest
where n.no_w_id = $1 and n.no_d_id = oldest.no_d_id and n.no_o_id = oldest.no_o_id
returning n.no_d_id, n.no_o_id;
-- the carrier: 1, 2, 4, 7
update oorder set o_carrier_id = $4 where o_w_id = $1 and o_d_id = $2 and o_id = $3 returning o_c_id;
-- the lines are delivered: 1, 2, 4, 2024-05-06
update order_line set ol_delivery_d = $4 where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3;
-- what they cost: 1, 2, 4
select sum(ol_amount) as ol_total from order_line where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3;
-- the customer owes it: 1, 2
update customer c
set c_balance = c_balance + paid.total, c_delivery_cnt = c_delivery_cnt + 1
from (select o.o_c_id, sum(l.ol_amount) as total
      from oorder o join order_line l
        on l.ol_w_id = o.o_w_id and l.ol_d_id = o.o_d_id and l.ol_o_id = o.o_id
      where o.o_w_id = $1 and o.o_d_id = $2
      group by o.o_c_id) paid
where c.c_w_id = $1 and c.c_d_id = $2 and c.c_id = paid.o_c_id;
-- in one statement: 1, 9
with gone as (
    delete from new_order n
    where n.no_w_id = $1 and n.no_o_id = (
        select min(no_o_id) from new_order o where o.no_w_id = $1 and o.no_d_id = n.no_d_id)
    returning n.no_d_id, n.no_o_id
), sent as (
    update oorder o set o_carrier_id = $2 from gone
    where o.o_w_id = $1 and o.o_d_id = gone.no_d_id and o.o_id = gone.no_o_id
    returning o.o_d_id, o.o_id, o.o_c_id
)
update order_line l set ol_delivery_d = timestamp '2024-05-06' from sent
where l.ol_w_id = $1 and l.ol_d_id = sent.o_d_id and l.ol_o_id = sent.o_id
returning l.ol_d_id, l.ol_o_id, l.ol_number, sent.o_c_id;
