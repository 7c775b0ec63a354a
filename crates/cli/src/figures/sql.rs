//! Statements over the catalogs.

/// Of each table its name, whether its rows are of tenants, and the column that tells when a row came.
pub(super) const POSTGRES: &str = "
    select c.relname::text,
        exists (
            select from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped),
        (select a.attname::text
         from pg_catalog.pg_attribute a
         join unnest(array['occurred_at', 'created_at', 'recorded_at', 'inserted_at', 'started_at'])
             with ordinality as known (name, place) on a.attname = known.name
         where a.attrelid = c.oid and not a.attisdropped
             and a.atttypid = 'pg_catalog.timestamptz'::pg_catalog.regtype
         order by known.place limit 1)
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> '_sqlx_migrations'
    order by c.relname";

/// Of one table its bytes, and the rows that the server reckons with.
pub(super) const MEASURE: &str = "
    select case c.relkind
            when 'p' then (
                select sum(pg_catalog.pg_total_relation_size(p.relid))::int8
                from pg_catalog.pg_partition_tree(c.oid) p)
            else pg_catalog.pg_total_relation_size(c.oid)
        end,
        -- A table that nothing was reckoned of yet has -1, and its statistics tell what came.
        (select sum(case when l.reltuples < 0 then pg_catalog.pg_stat_get_live_tuples(l.oid)::float8
                else l.reltuples::float8 end)::int8
         from pg_catalog.pg_class l
         where case c.relkind
             when 'p' then l.oid in (
                 select p.relid from pg_catalog.pg_partition_tree(c.oid) p where p.isleaf)
             else l.oid = c.oid
         end)
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2";

/// The same as of [`POSTGRES`].
pub(super) const SQLITE: &str = "
    select s.name,
        exists (
            select 1 from pragma_table_info(s.name) c where c.name = 'tenant_id' collate nocase),
        (select c.name from pragma_table_info(s.name) c
         where upper(c.type) = 'TEXT'
             and c.name in ('occurred_at', 'created_at', 'recorded_at', 'inserted_at', 'started_at')
         order by case c.name when 'occurred_at' then 0 when 'created_at' then 1
             when 'recorded_at' then 2 when 'inserted_at' then 3 else 4 end
         limit 1)
    from sqlite_schema s
    where s.type = 'table' and s.name not like 'sqlite\\_%' escape '\\'
        and s.name <> '_sqlx_migrations'
    order by s.name";

/// The bytes of the pages of each table with its indexes.
pub(super) const PAGES: &str = "
    select s.tbl_name, sum(d.pgsize)
    from dbstat d join sqlite_schema s on s.name = d.name
    where d.aggregate = 1
    group by s.tbl_name";
