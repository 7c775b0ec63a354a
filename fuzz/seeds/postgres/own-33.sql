select * from a #--1
 or true