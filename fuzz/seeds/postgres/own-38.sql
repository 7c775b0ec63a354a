select * from a where t = 'a'
'b'