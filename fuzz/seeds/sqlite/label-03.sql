select n and from a x join b y on x.id = y.id
