-- What the catalog says of a table: $1 schema, $2 table, $3 the column of the identifier.
select
    a.attname::text,
    format_type(a.atttypid, null),
    a.attnotnull,
    a.atthasdef or a.attidentity <> '' or a.attgenerated <> '',
    c.relrowsecurity and c.relforcerowsecurity,
    has_table_privilege(c.oid, 'SELECT'),
    exists (
        select
        from pg_catalog.pg_index i
        where i.indrelid = c.oid
          and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
          and i.indnkeyatts = 2
          and (
              select count(*)
              from pg_catalog.pg_attribute k
              where k.attrelid = c.oid
                and k.attnum in (i.indkey[0], i.indkey[1])
                and k.attname in ('tenant_id', $3)
          ) = 2
    )
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid
where n.nspname = $1
  and c.relname = $2
  and c.relkind in ('r', 'p')
  and a.attnum > 0
  and not a.attisdropped
