SELECT x.id
FROM a AS x WHERE x.n = $1 OR x.n = $2 ORDER BY 1;