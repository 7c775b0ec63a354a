merge into c a using b x on code when matched then do nothing
