select $1 or from a
