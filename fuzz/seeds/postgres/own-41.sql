select * from a where n = 1 -- /* 
 or true -- */