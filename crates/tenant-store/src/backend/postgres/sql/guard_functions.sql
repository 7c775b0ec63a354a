-- The functions that look at nothing but their arguments, by schema and name, and by name alone
-- (without a schema) where whatever that can mean is one of them. $1 those of pg_catalog that are not
-- immutable, $2 those that the service trusts, as `schema.name`.
with judged as (
    select
        n.nspname::text as schema,
        p.proname::text as name,
        pg_function_is_visible(p.oid) as visible,
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
select schema, name from judged group by schema, name having bool_and(safe)
union all
select null, name from judged where visible group by name having bool_and(safe)
