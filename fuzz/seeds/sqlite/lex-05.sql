select id	from
a
where n
=
10