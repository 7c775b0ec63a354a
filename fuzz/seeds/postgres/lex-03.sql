select * from a -- '
 where n = 10