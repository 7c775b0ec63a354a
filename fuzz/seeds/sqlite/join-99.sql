update b set n = 1 from b x cross join a [x.n]
