select * from "Odd ""Name" where n = 10 /* from b */ -- or this
