-- the next number: 1, 2
select d_next_o_id from district where d_w_id = $1 and d_id = $2;
-- what is low: 1, 2, 60
select count(distinct s_i_id) as stock_count
from order_line, stock, district
where d_w_id = $1 and d_id = $2
  and ol_w_id = d_w_id and ol_d_id = d_id
  and ol_o_id < d_next_o_id and ol_o_id >= d_next_o_id - 20
  and s_w_id = d_w_id and s_i_id = ol_i_id and s_quantity < $3;
-- what is low by a sub-query: 1, 2, 60
select count(*) from stock s
where s.s_w_id = $1 and s.s_quantity < $3
  and exists (select 1 from order_line l
              where l.ol_w_id = s.s_w_id and l.ol_i_id = s.s_i_id and l.ol_d_id = $2);
