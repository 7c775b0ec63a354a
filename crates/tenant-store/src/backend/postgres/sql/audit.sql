-- What the boot check looks at, and what `select * from tenantry.audit(…)` shows to people and CI.
-- Run as the owner role, at every bootstrap.

-- Returns every way in which `who` could get round the wall, each with the statement that closes
-- it. `purpose` is 'app' for a role of the services, 'platform' for one that works across tenants.
create or replace function tenantry.audit(who regrole, purpose text default 'app')
returns table (code text, object text, problem text, fix text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    conf constant tenantry.settings := tenantry.current_settings();
    expected constant regrole := case purpose when 'platform' then conf.platform_role else conf.app_role end;
    reach oid[];
    model constant text := tenantry.wall_of('tenantry.wall_template');
begin
    if (select rolsuper from pg_roles where oid = who) then
        -- A superuser is a member of every role: the rest would only repeat it.
        return query select 'TN030', who::text, 'this role is a superuser, whom row-level security never stops',
            format('connect as %s', expected);
        return;
    end if;

    if who in (conf.owner_role, conf.platform_role, conf.app_role) and who <> expected then
        return query select 'TN032', who::text,
            case who
                when conf.owner_role then 'this role owns the tables'
                when conf.platform_role then 'this role sees every tenant'
                else 'this is the role of the services, which sees one tenant at a time'
            end,
            format('connect as %s', expected);
        return;
    end if;

    -- The role and all whose rights it has or can take by SET ROLE.
    reach := array(select oid from pg_roles where pg_has_role(who, oid, 'MEMBER'));

    return query
    select 'TN030', who::text,
        format('%s %s', case r.oid when who then 'this role' else format('this role is a member of %I, which', r.rolname) end,
            case
                when r.rolsuper then 'is a superuser'
                when r.rolbypassrls then 'bypasses row-level security'
                when r.rolcreaterole then 'creates roles and can make itself a member of others'
                else 'can copy the whole database by replication'
            end),
        case r.oid
            when who then format('alter role %s nosuperuser nobypassrls nocreaterole noreplication', who)
            else format('revoke %I from %s', r.rolname, who)
        end
    from pg_roles r
    where r.oid = any (reach) and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolreplication)
    order by r.rolname;

    return query
    select 'TN031', who::text, format('this role is a member of %I%s', r.rolname, case r.oid
            when conf.owner_role then ', which owns the tables'
            when conf.platform_role then ', which sees every tenant'
            when conf.app_role then ', whose wall would hide the rows from it'
            else ', which reads or writes files of the server'
        end),
        format('revoke %I from %s', r.rolname, who)
    from pg_roles r
    where r.oid = any (reach)
        and r.oid <> who
        and (
            r.oid = conf.owner_role
            or r.oid = conf.platform_role and purpose <> 'platform'
            or r.oid = conf.app_role and purpose = 'platform'
            or r.rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
        )
    order by r.rolname;

    if not pg_has_role(who, expected, 'USAGE') then
        return query select 'TN032', who::text,
            format('this role is not %s, nor a member that inherits from it', expected),
            format('connect as %s', expected);
    end if;

    return query
    select 'TN033', who::text,
        format('%I owns %s relation(s), such as %s',
            pg_get_userbyid(c.relowner), count(*), min(c.oid::regclass::text)),
        format('alter table %s owner to %s', min(c.oid::regclass::text), conf.owner_role)
    from pg_class c
    where c.relowner = any (reach)
        and c.relowner <> conf.owner_role
        and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and c.relpersistence <> 't'
        and c.oid >= 16384
    group by c.relowner;

    return query
    select 'TN034', n.nspname::text,
        format('%s may create objects in this schema', who),
        case when exists (
                select from aclexplode(n.nspacl) acl where acl.grantee = 0 and acl.privilege_type = 'CREATE')
            then format('revoke create on schema %I from public', n.nspname)
            else format('revoke create on schema %I from %s', n.nspname, who)
        end
    from pg_namespace n
    where n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'
        and has_schema_privilege(who, n.oid, 'CREATE')
    order by n.nspname;

    return query
    select 'TN035', r.rolname::text,
        case
            when r.rolsuper then 'the owner role is a superuser: its views and functions show every row'
            when r.rolbypassrls then 'the owner role bypasses row-level security: its views and functions show every row'
            else format('the owner role inherits from %s: its views and functions show every row', conf.platform_role)
        end,
        case
            when r.rolsuper or r.rolbypassrls then format('alter role %I nosuperuser nobypassrls', r.rolname)
            when current_setting('server_version_num')::integer >= 160000
                then format('grant %s to %I with inherit false, set true', conf.platform_role, r.rolname)
            else format('alter role %I noinherit', r.rolname)
        end
    from pg_roles r
    where r.oid = conf.owner_role
        and (r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, conf.platform_role, 'USAGE'));

    -- From here on it is about the wall, which the platform role stands outside of.
    if purpose = 'platform' then
        return;
    end if;

    return query
    select 'TN036', format('%s', p.oid::regprocedure),
        format('this function runs with the rights of %I, whom the wall does not stop', owner.rolname),
        format('alter function %s owner to %s, or: alter function %1$s security invoker',
            p.oid::regprocedure, conf.owner_role)
    from pg_proc p
    join pg_roles owner on owner.oid = p.proowner
    where p.prosecdef
        and p.oid >= 16384
        and (owner.rolsuper or owner.rolbypassrls or pg_has_role(owner.oid, conf.platform_role, 'USAGE'))
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
        and exists (
            select from unnest(reach) role
            where has_function_privilege(role, p.oid, 'EXECUTE')
                and has_schema_privilege(role, p.pronamespace, 'USAGE'))
    order by p.oid::regprocedure::text;

    -- Every relation that the role can touch is protected, or shared, or should not be touched.
    return query
    select finding.code, r.name, finding.problem, finding.fix
    from (
        select
            c.oid,
            c.relkind,
            c.relispartition,
            c.relrowsecurity,
            c.relforcerowsecurity,
            c.oid::regclass::text as name,
            exists (
                select from pg_policy where polrelid = c.oid and polname = 'tenantry_shared'
            ) as shared,
            exists (
                select from pg_attribute
                where attrelid = c.oid and attname = 'tenant_id' and not attisdropped
            ) as has_tenant,
            coalesce((
                select option_value::boolean
                from pg_options_to_table(c.reloptions)
                where option_name = 'security_invoker'
            ), false) as security_invoker,
            exists (
                select from unnest(reach) role where has_any_column_privilege(role, c.oid, 'INSERT, UPDATE')
                    or has_table_privilege(role, c.oid, 'DELETE')
            ) as writable,
            array(
                select privilege
                from unnest(array['TRUNCATE', 'REFERENCES', 'TRIGGER']) privilege
                where exists (
                    select from unnest(reach) role
                    where has_table_privilege(role, c.oid, privilege)
                        or privilege = 'REFERENCES' and has_any_column_privilege(role, c.oid, privilege)
                )
            ) as extras
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f')
            and n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'
            and c.oid <> 'tenantry.settings'::regclass
            and exists (
                select from unnest(reach) role
                where has_schema_privilege(role, n.oid, 'USAGE')
                    and (
                        has_any_column_privilege(role, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
                        or has_table_privilege(role, c.oid, 'DELETE, TRUNCATE, TRIGGER')
                    )
            )
    ) r
    cross join lateral (
        select 'TN055' as code,
            'this view reads with the rights of its owner, not of the service' as problem,
            case when current_setting('server_version_num')::integer >= 150000
                then format('alter view %s set (security_invoker = true)', r.name)
                else format('revoke all on %s from public, %s', r.name, conf.app_role)
            end as fix
        where r.relkind = 'v' and not r.security_invoker
        union all
        select 'TN056', 'this materialized view keeps rows of all tenants',
            format('revoke all on %s from public, %s', r.name, conf.app_role)
        where r.relkind = 'm'
        union all
        select 'TN057', 'this foreign table cannot have row-level security',
            format('revoke all on %s from public, %s', r.name, conf.app_role)
        where r.relkind = 'f'
        union all
        select 'TN054', 'this partition can be read past its partitioned table',
            format('select tenantry.protect(%L)', (select root::text from pg_partition_root(r.oid) root))
        where r.relispartition
        union all
        select 'TN050', 'row-level security is off',
            case when r.has_tenant
                then format('select tenantry.protect(%L)', r.name)
                else format('select tenantry.protect(%L) once it has a tenant_id, or select tenantry.share(%1$L) if no row belongs to a tenant', r.name)
            end
        where r.relkind in ('r', 'p') and not r.relispartition and not r.shared and not r.relrowsecurity
        union all
        select 'TN051', 'row-level security is not forced, so that the owner''s views and functions show every row',
            format('select tenantry.protect(%L)', r.name)
        where r.relkind in ('r', 'p') and not r.relispartition and not r.shared
            and r.relrowsecurity and not r.relforcerowsecurity
        union all
        select 'TN052', 'its policies are not those of the wall', format('select tenantry.protect(%L)', r.name)
        where r.relkind in ('r', 'p') and not r.relispartition and not r.shared and r.relrowsecurity
            and model is distinct from (
                -- A policy too many is told of by its name.
                select string_agg(line, e'\n' order by position)
                from unnest(string_to_array(tenantry.wall_of(r.oid), e'\n')) with ordinality as w (line, position)
                where line like any (array['tenantry\_wall |%', 'tenantry\_access |%', 'tenantry\_platform |%'])
            )
        union all
        select s.code, s.problem, s.fix
        from tenantry.shape_problems(r.oid) s
        where r.relkind in ('r', 'p') and not r.relispartition and not r.shared and r.relrowsecurity
        union all
        select 'TN060', 'nothing keeps the nil tenant out', format('select tenantry.protect(%L)', r.name)
        where r.relkind in ('r', 'p') and not r.relispartition and not r.shared and r.relrowsecurity
            and not exists (
                select from pg_constraint
                where conrelid = r.oid and conname = 'tenantry_not_nil' and convalidated
                    and pg_get_expr(conbin, conrelid) = '(tenant_id <> ''00000000-0000-0000-0000-000000000000''::uuid)'
            )
        union all
        select 'TN058', format('%s has the privilege %s', who, array_to_string(r.extras, ', ')),
            format('select tenantry.%s(%L)', case when r.shared then 'share' else 'protect' end, r.name)
        where r.relkind in ('r', 'p') and cardinality(r.extras) > 0
        union all
        select 'TN059', 'it is shared, and has a column tenant_id',
            format('select tenantry.unshare(%L), then select tenantry.protect(%1$L)', r.name)
        where r.relkind in ('r', 'p') and r.shared and r.has_tenant
        union all
        select 'TN059', format('it is shared, but %s', tenantry.shared_problem(r.oid)),
            format('select tenantry.share(%L)', r.name)
        where r.relkind in ('r', 'p') and r.shared and tenantry.shared_problem(r.oid) is not null
        union all
        select 'TN059', format('it is shared, but %s may write it', who), format('select tenantry.share(%L)', r.name)
        where r.relkind in ('r', 'p') and r.shared and r.writable
    ) finding
    -- What an extension brings along holds no tenant's rows, unless it says so by its columns.
    where r.has_tenant or not exists (
        select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype = 'e')
    order by r.name, finding.code;
end
$$;

do $finish$
declare
    conf constant tenantry.settings := tenantry.current_settings();
begin
    perform tenantry.write_wall('tenantry.wall_template');
    execute format('revoke all on schema tenantry from public');
    execute format('grant usage on schema tenantry to %s, %s', conf.app_role, conf.platform_role);
    execute format('grant select on tenantry.settings to %s, %s', conf.app_role, conf.platform_role);

    revoke all on all functions in schema tenantry from public;
    execute format(
        'grant execute on function'
        ' tenantry.schema_version(), tenantry.current_settings(), tenantry.with_partitions(regclass),'
        ' tenantry.shape_problems(regclass), tenantry.shared_problem(regclass), tenantry.wall_of(regclass),'
        ' tenantry.audit(regrole, text)'
        ' to %s, %s',
        conf.app_role, conf.platform_role);
    execute format('grant execute on function tenantry.as_owner() to %s', conf.platform_role);
end
$finish$;
