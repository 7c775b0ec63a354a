-- Discounted revenue.
select sum(l_extendedprice * (1 - l_discount)) as revenue
from lineitem, part
where (p_partkey = l_partkey and p_brand = 'Brand#12' and l_quantity between 1 and 30
       and p_size between 1 and 5 and l_shipmode in ('AIR', 'MAIL'))
   or (p_partkey = l_partkey and p_brand = 'Brand#23' and l_quantity between 10 and 50
       and p_size between 1 and 10 and l_shipmode in ('AIR', 'SHIP'))
   or (p_partkey = l_partkey and p_brand = 'Brand#45' and l_quantity between 20 and 50
       and p_size between 1 and 15 and l_shipmode in ('AIR', 'RAIL'));
