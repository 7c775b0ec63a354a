-- the customer: 1, 2, 3
select c_balance, c_first, c_middle, c_last from customer
where c_w_id = $1 and c_d_id = $2 and c_id = $3;
-- the last order: 1, 2, 3
select o_id, o_carrier_id, o_entry_d from oorder
where o_w_id = $1 and o_d_id = $2 and o_c_id = $3
order by o_id desc limit 1;
-- the last order without a sort: 1, 2, 3
select o_id, o_carrier_id, o_entry_d from oorder o
where o_w_id = $1 and o_d_id = $2 and o_c_id = $3
  and o_id = (select max(o_id) from oorder where o_w_id = $1 and o_d_id = $2 and o_c_id = o.o_c_id);
-- its lines: 1, 2, 5
select ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d
from order_line where ol_w_id = $1 and ol_d_id = $2 and ol_o_id = $3;
