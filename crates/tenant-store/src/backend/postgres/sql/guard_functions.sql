-- The functions by schema and name, and by name alone (without a schema): whether whatever that can
-- mean looks at nothing but its arguments, and whether any that may do more takes a row. $1 those of pg_catalog that are not
-- immutable, $2 those that the service trusts, as `schema.name`.
with judged as (
    select
        n.nspname::text as schema,
        p.proname::text as name,
        pg_function_is_visible(p.oid) as visible,
        exists (
            select
            from pg_catalog.pg_type t
            where t.oid = p.proargtypes[0] and t.typtype in ('c', 'p')
        ) as takes_row,
        case
            when format('%s.%s', n.nspname, p.proname) = any ($2) then true
            when n.nspname = 'pg_catalog' and p.proname = any ($1) then true
            -- By those who made the server, or in C by those who made an extension: it is as pure as
            -- it says. An aggregate is what its functions are; those of others may be anything.
            when n.nspname = 'pg_catalog' then p.provolatile = 'i'
            else
                p.provolatile = 'i' and l.lanname in ('internal', 'c')
                and exists (
                    select
                    from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
                )
        end as safe
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    join pg_catalog.pg_language l on l.oid = p.prolang
    where p.prokind <> 'p'
)
select schema, name, bool_and(safe), false from judged group by schema, name
union all
select null, name, bool_and(safe), bool_or(not safe and takes_row) from judged where visible group by name
