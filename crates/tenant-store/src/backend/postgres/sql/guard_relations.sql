-- What the guard has to know of each relation: its schema and name, whether the name alone means
-- it, what it is, the text of a view, the unique keys with the tenant, whether there are any without.
select
    n.nspname::text,
    c.relname::text,
    pg_table_is_visible(c.oid),
    case
        when c.relispartition then 'partition'
        when c.relkind = 'm' then 'materialized view'
        when c.relkind = 'f' then 'foreign table'
        when c.relkind = 'v' and v.invoker then 'view'
        when c.relkind = 'v' then 'closed view'
        when p.wall and c.relrowsecurity and c.relforcerowsecurity then 'tenant'
        when p.shared then 'shared'
        else 'undeclared'
    end,
    case when c.relkind = 'v' and v.invoker then tenantry.view_query(c.oid) end,
    coalesce(k.with_tenant, '{}'),
    coalesce(k.any_without, false)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select
        coalesce(bool_or(polname = 'tenantry_wall'), false) as wall,
        coalesce(bool_or(polname = 'tenantry_shared'), false) as shared
    from pg_catalog.pg_policy
    where polrelid = c.oid
) p
cross join lateral (
    select coalesce(bool_or(option_value::boolean), false) as invoker
    from pg_options_to_table(c.reloptions)
    where c.relkind = 'v' and option_name = 'security_invoker'
) v
cross join lateral (
    select
        array_agg(name::text) filter (where has_tenant) as with_tenant,
        bool_or(not has_tenant) as any_without
    from (
        select
            i.indexrelid::regclass::oid as oid,
            (select relname from pg_catalog.pg_class where oid = i.indexrelid) as name,
            exists (
                select
                from pg_catalog.pg_attribute a
                where a.attrelid = c.oid and a.attname = 'tenant_id'
                    and a.attnum = any ((i.indkey::smallint[])[0:i.indnkeyatts - 1])
            ) as has_tenant
        from pg_catalog.pg_index i
        where i.indrelid = c.oid and (i.indisunique or i.indisexclusion)
    ) key
) k
where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and n.nspname not like 'pg\_%'
    and n.nspname <> 'information_schema'
