select 1--1
 from a