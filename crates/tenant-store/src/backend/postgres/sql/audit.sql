-- What the boot check looks at, and what `select * from tenantry.audit(…)` shows to people and CI.
-- Run as the owner role, at every bootstrap.

-- Returns every way in which `who` could get round the wall, each with what closes it. `purpose` is
-- 'app' for a role of the services, 'platform' for one that works across tenants; `home` is the
-- schema of the services' tables.
--
-- An 'error' lets rows of one tenant be reached for another, or would as soon as a statement is sent.
-- A 'warning' does not by itself: the next change would, or it tells tenants of each other's numbers.
-- A fix is statements of the 'owner' or of an 'administrator', or 'advice' in words.
create or replace function tenantry.audit(who regrole, purpose text default 'app', home text default 'public')
returns table (code text, severity text, object text, problem text, fix text, fix_by text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Compiling what runs once takes longer than all of it.
set jit = off
as $$
#variable_conflict use_column
declare
    conf constant tenantry.settings := tenantry.current_settings();
    expected constant regrole := case purpose when 'platform' then conf.platform_role else conf.app_role end;
    reach oid[];
    members oid[];
    borrowed oid[] := '{}';
    lenders oid[];
    found_owners oid[];
    model constant text := tenantry.wall_of('tenantry.wall_template');
begin
    if (select rolsuper from pg_roles where oid = who) then
        -- A superuser is a member of every role: the rest would only repeat it.
        return query select 'TN030', 'error', who::text,
            'this role is a superuser, whom row-level security never stops',
            case who when expected then format('alter role %s nosuperuser', who) else format('connect as %s', expected) end,
            case who when expected then 'administrator' else 'advice' end;
        return;
    end if;

    if who in (conf.owner_role, conf.platform_role, conf.app_role) and who <> expected then
        return query select 'TN032', 'error', who::text,
            case who
                when conf.owner_role then 'this role owns the tables'
                when conf.platform_role then 'this role sees every tenant'
                else 'this is the role of the services, which sees one tenant at a time'
            end,
            format('connect as %s', expected), 'advice';
        return;
    end if;

    -- The role and all whose rights it has or can take by SET ROLE.
    reach := array(select oid from pg_roles where pg_has_role(who, oid, 'MEMBER'));
    -- Those whose memberships can be at fault: what else the owner is a member of is right for it.
    members := array(
        select unnest(reach)
        except select conf.owner_role::oid
        except select conf.platform_role::oid where purpose <> 'platform'
    );

    return query
    select 'TN030', 'error', who::text,
        format('%s %s', case r.oid when who then 'this role' else format('this role is a member of %I, which', r.rolname) end,
            case
                when r.rolsuper then 'is a superuser'
                when r.rolbypassrls then 'bypasses row-level security'
                when r.rolcreaterole then 'creates roles and can make itself a member of others'
                else 'can copy the whole database by replication'
            end),
        case r.oid
            when who then format('alter role %s nosuperuser nobypassrls nocreaterole noreplication', who)
            else tenantry.leave(members, r.oid)
        end,
        'administrator'
    from pg_roles r
    where r.oid = any (reach)
        and (r.oid = who or tenantry.leave(members, r.oid) is not null)
        and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolreplication)
    order by r.rolname;

    return query
    select 'TN031', 'error', who::text, format('this role is a member of %I%s', r.rolname, case
            when r.oid = conf.owner_role then ', which owns the tables'
            when r.oid = conf.platform_role then ', which sees every tenant'
            when r.oid = conf.app_role then ', whose wall would hide the rows from it'
            when r.rolname in ('pg_read_all_data', 'pg_write_all_data') then ', which is granted every relation'
            else ', which reads or writes files of the server'
        end),
        tenantry.leave(members, r.oid), 'administrator'
    from pg_roles r
    where r.oid = any (reach)
        and r.oid <> who
        and tenantry.leave(members, r.oid) is not null
        and (
            r.oid = conf.owner_role
            or r.oid = conf.platform_role and purpose <> 'platform'
            or r.oid = conf.app_role and purpose = 'platform'
            or r.rolname in (
                'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program',
                'pg_read_all_data', 'pg_write_all_data')
        )
    order by r.rolname;

    if not pg_has_role(who, expected, 'USAGE') then
        return query select 'TN032', 'error', who::text,
            format('this role is not %s, nor a member that inherits from it', expected),
            format('connect as %s', expected), 'advice';
    end if;

    return query
    select 'TN033', 'error', who::text,
        format('%I owns %s relation(s), such as %s',
            pg_get_userbyid(c.relowner), count(*), min(c.oid::regclass::text)),
        string_agg(
            format('alter table %s owner to %s', c.oid::regclass, conf.owner_role),
            '; ' order by c.oid::regclass::text),
        'administrator'
    from pg_class c
    where c.relowner = any (reach)
        and c.relowner <> conf.owner_role
        and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and c.relpersistence <> 't'
        and c.oid >= 16384
    group by c.relowner;

    return query
    select 'TN034', 'error', n.nspname::text,
        format('%s may create objects in this schema', who),
        case when n.nspowner = any (reach)
            then format('alter schema %I owner to %s', n.nspname, conf.owner_role)
            else format('revoke create on schema %I from %s', n.nspname, makers.names)
        end,
        'administrator'
    from pg_namespace n
    cross join lateral (
        select string_agg(
            case acl.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end,
            ', ' order by acl.grantee) as names
        from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) acl
        where acl.privilege_type = 'CREATE'
            and (acl.grantee = 0 or acl.grantee = any (reach))
            -- What the owner role may do is told of by the membership.
            and acl.grantee <> conf.owner_role
            -- So is what a superuser may do in the schemas of the server.
            and (acl.grantee <> n.nspowner
                or n.nspname not like 'pg\_%' and n.nspname <> 'information_schema')
    ) makers
    where makers.names is not null
    order by n.nspname;

    return query
    select 'TN035', 'error', r.rolname::text,
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
        end,
        'administrator'
    from pg_roles r
    where r.oid = conf.owner_role
        and (r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, conf.platform_role, 'USAGE'));

    -- From here on it is about the wall, which the platform role stands outside of.
    if purpose = 'platform' then
        return;
    end if;

    -- A SECURITY DEFINER function lends the rights of its owner. Row-level security holds the owner too,
    -- but not what the owner reads beside tables, nor what the owner may call. Those that the wall does
    -- not stop are told of by their functions.
    loop
        found_owners := array(
            select distinct p.proowner
            from tenantry.definers(reach || borrowed) definer
            join pg_proc p on p.oid = definer
            join pg_roles owner on owner.oid = p.proowner
            where p.proowner <> all (reach || borrowed)
                and not (owner.rolsuper or owner.rolbypassrls
                    or pg_has_role(owner.oid, conf.platform_role, 'USAGE')));
        exit when cardinality(found_owners) = 0;
        borrowed := borrowed || found_owners;
    end loop;
    -- Those whose grants they have: no SET ROLE is possible in there, so that it takes inheritance.
    lenders := array(
        select distinct r.oid
        from pg_roles r, unnest(borrowed) borrower
        where pg_has_role(borrower, r.oid, 'USAGE'));

    return query
    select 'TN036', 'error', format('%s', p.oid::regprocedure),
        format('this function runs with the rights of %I, whom the wall does not stop', owner.rolname),
        format('alter routine %s owner to %s', p.oid::regprocedure, conf.owner_role), 'administrator'
    from tenantry.definers(reach || borrowed) definer
    join pg_proc p on p.oid = definer
    join pg_roles owner on owner.oid = p.proowner
    -- The functions of any other role are held by row-level security, as that role is.
    where owner.rolsuper or owner.rolbypassrls or pg_has_role(owner.oid, conf.platform_role, 'USAGE')
    order by p.oid::regprocedure::text;

    -- Every relation that the role can touch is protected, or shared, or should not be touched.
    return query
    -- Asks all this once for a relation, and not once for each of the findings below.
    with r as materialized (
        select
            c.oid,
            c.relkind,
            c.relispartition,
            c.relrowsecurity,
            c.relforcerowsecurity,
            c.relowner,
            n.nspname,
            c.oid::regclass::text as name,
            case c.relowner when conf.owner_role then 'owner' else 'administrator' end as keeper,
            -- Those whose grants neither protect() nor share() takes back.
            tenantry.grantees(c.oid, array_remove(array_remove(reach, conf.app_role::oid), conf.platform_role::oid))
                as holders,
            coalesce(tenantry.grantees(c.oid, reach || 0::oid), format('public, %s', conf.app_role)) as all_holders,
            reachable,
            lent,
            has_table_privilege(conf.platform_role, c.oid, 'SELECT, INSERT, UPDATE, DELETE') as is_of_platform,
            -- The history of the migrations, which sqlx keeps.
            c.relname = '_sqlx_migrations' as is_history,
            exists (
                select from pg_policy where polrelid = c.oid and polname = 'tenantry_shared'
            ) as shared,
            exists (
                select from pg_attribute
                where attrelid = c.oid and attname = 'tenant_id' and not attisdropped
            ) as has_tenant,
            exists (
                select from pg_attribute
                where attrelid = c.oid and attname = 'tenant_id' and not attisdropped
                    and atttypid = 'uuid'::regtype and attgenerated = ''
            ) as has_right_tenant,
            -- A policy too many is told of by its name.
            model is not distinct from (
                select string_agg(line, e'\n' order by position)
                from unnest(string_to_array(tenantry.wall_of(c.oid), e'\n')) with ordinality as w (line, position)
                where line like any (array['tenantry\_wall |%', 'tenantry\_access |%', 'tenantry\_platform |%'])
            ) as has_wall,
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
        cross join lateral (
            select exists (
                select from unnest(reach) role
                where (has_schema_privilege(role, n.oid, 'USAGE')
                        or tenantry.is_bound('pg_class'::regclass, c.oid))
                    and (
                        has_any_column_privilege(role, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
                        or has_table_privilege(role, c.oid, 'DELETE, TRUNCATE, TRIGGER')
                    )
            ) as reachable,
            exists (
                select from unnest(borrowed) role
                where (has_schema_privilege(role, n.oid, 'USAGE')
                        or tenantry.is_bound('pg_class'::regclass, c.oid))
                    and (
                        has_any_column_privilege(role, c.oid, 'SELECT')
                        -- Nobody writes a materialized view.
                        or c.relkind <> 'm' and (
                            has_any_column_privilege(role, c.oid, 'INSERT, UPDATE')
                            or has_table_privilege(role, c.oid, 'DELETE'))
                    )
            ) as lent
        ) access
        where c.relkind in ('r', 'p', 'v', 'm', 'f')
            -- What comes with the server is known by its number: a name is anybody's to take.
            and c.oid >= 16384
            and c.relpersistence <> 't'
            and c.oid not in ('tenantry.settings'::regclass, 'tenantry.wall_template'::regclass)
    )
    select finding.code, finding.severity, r.name, finding.problem, finding.fix, finding.fix_by
    from r
    left join lateral (
        -- Who has the privileges, the owner of a relation by owning it.
        select
            concat_ws(', ',
                tenantry.grantees(r.oid, lenders || 0::oid),
                case when r.relowner = any (lenders) then quote_ident(pg_get_userbyid(r.relowner)) end) as names,
            format('SECURITY DEFINER functions that run as %s can reach it', (
                select string_agg(quote_ident(pg_get_userbyid(role)), ', ' order by role)
                from unnest(borrowed) role
                where has_any_column_privilege(role, r.oid, 'SELECT, INSERT, UPDATE')
                    or has_table_privilege(role, r.oid, 'DELETE')
            )) as functions
    ) borrower on r.lent
    cross join lateral (
        -- Nothing can be protected before it belongs to the owner role.
        select 'TN003' as code,
            case when r.shared or r.relrowsecurity and r.relforcerowsecurity and r.has_wall then 'warning' else 'error' end
                as severity,
            format('it belongs to %I, who can take the wall down', pg_get_userbyid(r.relowner)) as problem,
            format('alter table %s owner to %s', r.name, conf.owner_role) as fix,
            'administrator' as fix_by
        where r.relkind in ('r', 'p') and r.reachable
            and r.relowner <> conf.owner_role and r.relowner <> all (reach)
        union all
        -- What a foreign key does at its one end comes from the other.
        select s.code,
            case when r.reachable or r.lent or s.code in ('TN007', 'TN008') and exists (
                    select from pg_constraint c
                    join r other on other.oid in (c.confrelid, pg_partition_root(c.conrelid))
                    where c.conrelid = r.oid and c.contype = 'f' and (other.reachable or other.lent)
                ) then 'error' else 'warning' end,
            s.problem, s.fix, s.fix_by
        from tenantry.shape_problems(r.oid, as_parent => false) s
        where r.relkind in ('r', 'p') and not r.shared
            and (not r.relispartition or s.code in ('TN007', 'TN008'))
            and (r.has_tenant or r.relrowsecurity and r.reachable)
        union all
        select 'TN055', 'error', 'this view reads with the rights of its owner, not of the service',
            case when current_setting('server_version_num')::integer >= 150000
                then format('alter view %s set (security_invoker = true)', r.name)
                else format('revoke all on %s from %s', r.name, r.all_holders)
            end,
            r.keeper
        where r.relkind = 'v' and r.reachable and not r.security_invoker
        union all
        -- A role's own views read no more than its functions do.
        select 'TN055', 'error', 'this view reads with the rights of its owner, and ' || borrower.functions,
            case when current_setting('server_version_num')::integer >= 150000
                then format('alter view %s set (security_invoker = true)', r.name)
                else format('revoke all on %s from %s', r.name, borrower.names)
            end,
            r.keeper
        where r.relkind = 'v' and r.lent and not r.reachable and not r.security_invoker
            and r.relowner <> all (borrowed)
        union all
        select 'TN011', 'error', format('its rule %I runs with the rights of the owner', rulename),
            format('drop rule %I on %s', rulename, r.name), r.keeper
        from pg_rewrite
        where ev_class = r.oid and ev_type <> '1'
            and r.relkind = 'v' and (r.reachable or r.lent and r.relowner <> all (borrowed))
        union all
        select 'TN056', 'error', 'this materialized view keeps rows of all tenants',
            format('revoke all on %s from %s', r.name, r.all_holders), r.keeper
        where r.relkind = 'm' and r.reachable
        union all
        -- Not all: whoever refreshes it may need another privilege.
        select 'TN056', 'error', 'this materialized view keeps rows of all tenants, and ' || borrower.functions,
            format('revoke select on %s from %s', r.name, borrower.names), r.keeper
        where r.relkind = 'm' and r.lent and not r.reachable
        union all
        select 'TN057', 'error', 'this foreign table cannot have row-level security',
            format('revoke all on %s from %s', r.name, r.all_holders), r.keeper
        where r.relkind = 'f' and r.reachable
        union all
        select 'TN057', 'error', 'this foreign table cannot have row-level security, and ' || borrower.functions,
            format('revoke all on %s from %s', r.name, borrower.names), r.keeper
        where r.relkind = 'f' and r.lent and not r.reachable
        union all
        select 'TN054', 'error', 'this partition can be read past its partitioned table',
            case when r.holders is null
                then format('select tenantry.protect(%L)', (select root::text from pg_partition_root(r.oid) root))
                else format('revoke all on %s from %s', r.name, r.all_holders)
            end,
            case when r.holders is null then 'owner' else r.keeper end
        where r.relispartition and r.relkind <> 'f' and r.reachable
        union all
        select 'TN054', 'error', 'this partition is not protected, and ' || borrower.functions,
            format('select tenantry.protect(%L)', (select root::text from pg_partition_root(r.oid) root)), 'owner'
        where r.relispartition and r.relkind <> 'f' and r.lent and not r.reachable and r.has_tenant
            and not (r.relrowsecurity and r.relforcerowsecurity and r.has_wall)
        union all
        select 'TN050', 'error', 'row-level security is off',
            case
                when r.has_tenant then format('select tenantry.protect(%L)', r.name)
                when r.is_history then format('revoke all on %s from %s', r.name, r.all_holders)
                else format('select tenantry.protect(%L) once it has a tenant_id, select tenantry.share(%1$L) if services '
                    'read it and no row belongs to a tenant, or revoke all on %s from %s', r.name, r.name, r.all_holders)
            end,
            case when r.has_tenant then 'owner' when r.is_history then r.keeper else 'advice' end
        where r.relkind in ('r', 'p') and r.reachable and not r.relispartition and not r.shared
            and not r.relrowsecurity
        union all
        select 'TN051', 'error', 'row-level security is not forced, so that the owner''s views and functions show every row',
            format('select tenantry.protect(%L)', r.name), 'owner'
        where r.relkind in ('r', 'p') and r.reachable and not r.relispartition and not r.shared
            and r.relrowsecurity and not r.relforcerowsecurity
        union all
        select 'TN052', 'error', 'its policies are not those of the wall',
            format('select tenantry.protect(%L)', r.name), 'owner'
        where r.relkind in ('r', 'p') and r.reachable and not r.relispartition and not r.shared
            and r.relrowsecurity and r.has_right_tenant and not r.has_wall
        union all
        select 'TN060', 'error', 'nothing keeps the nil tenant out', format('select tenantry.protect(%L)', r.name), 'owner'
        where r.relkind in ('r', 'p') and r.reachable and not r.relispartition and not r.shared
            and r.relrowsecurity and r.has_right_tenant
            and not exists (
                select from pg_constraint
                where conrelid = r.oid and conname = 'tenantry_not_nil' and convalidated
                    and pg_get_expr(conbin, conrelid) = '(tenant_id <> ''00000000-0000-0000-0000-000000000000''::uuid)'
            )
        union all
        select 'TN058', 'error', format('%s has the privilege %s', who, array_to_string(r.extras, ', ')),
            case
                when r.holders is null and r.shared <> r.has_right_tenant
                    then format('select tenantry.%s(%L)', case when r.shared then 'share' else 'protect' end, r.name)
                else format('revoke %s on %s from %s',
                    array_to_string(r.extras, ', '), r.name,
                    coalesce(tenantry.grantees(r.oid, reach || 0::oid, r.extras), who::text))
            end,
            case when r.holders is null and r.shared <> r.has_right_tenant then 'owner' else r.keeper end
        where r.relkind in ('r', 'p') and r.reachable and cardinality(r.extras) > 0
        union all
        select 'TN059', 'error', 'it is shared, and has a column tenant_id',
            format('alter table %s drop column tenant_id if no row belongs to a tenant; if they do: '
                'select tenantry.unshare(%L), then select tenantry.protect(%2$L)', r.name, r.name), 'advice'
        where r.relkind in ('r', 'p') and r.reachable and r.shared and r.has_tenant
        union all
        select 'TN059', 'error', format('it is shared, but %s', tenantry.shared_problem(r.oid)),
            format('select tenantry.share(%L)', r.name), 'owner'
        where r.relkind in ('r', 'p') and r.reachable and r.shared and not r.has_tenant
            and tenantry.shared_problem(r.oid) is not null
        union all
        select 'TN059', 'error', format('it is shared, but %s may write it', who),
            case
                when r.holders is not null then format('revoke insert, update, delete on %s from %s',
                    r.name, coalesce(tenantry.grantees(r.oid, reach || 0::oid, array['INSERT', 'UPDATE', 'DELETE']), who::text))
                else format('select tenantry.share(%L)', r.name)
            end,
            case when r.holders is not null then r.keeper else 'owner' end
        where r.relkind in ('r', 'p') and r.reachable and r.shared and not r.has_tenant and r.writable
        union all
        select 'TN063', case when r.lent then 'error' else 'warning' end,
            'it holds tenants'' rows and is not protected' || case
                when r.lent then ', and ' || borrower.functions
                else ': the next grant would open it'
            end,
            format('select tenantry.protect(%L)', r.name), 'owner'
        where r.relkind in ('r', 'p') and not r.reachable and not r.relispartition and not r.shared
            and r.has_tenant and not (r.relrowsecurity and r.relforcerowsecurity and r.has_wall)
        union all
        select 'TN064', 'warning', 'it is neither protected nor shared: the next grant would open it',
            format('select tenantry.share(%L) if services read it, protect it once it has a tenant_id, or move it to another schema', r.name),
            'advice'
        where r.relkind in ('r', 'p') and not r.reachable and not r.relispartition and not r.shared
            and not r.has_tenant and r.nspname = home
            -- A table of the platform's own, and the history, are nobody else's.
            and not r.is_of_platform and not r.is_history
    ) finding
    -- What an extension brings along holds no tenant's rows, unless it says so by its columns.
    where r.has_tenant or not exists (
        select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype = 'e')
    order by r.name, finding.code;

    return query
    select 'TN061', 'warning', s.oid::regclass::text,
        format('tenants draw their numbers%s from this sequence together, so that gaps tell how many others drew',
            ' for ' || feeds.columns),
        'let the database or the service make a uuid (default gen_random_uuid()), or count for each tenant in a row of its own',
        'advice'
    from pg_class s
    cross join lateral (
        select string_agg(format('%s.%I', a.attrelid::regclass, a.attname), ', ' order by a.attrelid, a.attnum) as columns
        from pg_attribute a
        where (a.attrelid, a.attnum) in (
                select d.refobjid, d.refobjsubid
                from pg_depend d
                where d.classid = 'pg_class'::regclass and d.objid = s.oid
                    and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
                union
                select adrelid, adnum
                from pg_depend d
                join pg_attrdef on d.classid = 'pg_attrdef'::regclass and d.objid = pg_attrdef.oid
                where d.refclassid = 'pg_class'::regclass and d.refobjid = s.oid
            )
            and exists (
                select from pg_attribute tenant
                where tenant.attrelid = a.attrelid and tenant.attname = 'tenant_id' and not tenant.attisdropped
            )
            -- Numbers that nobody may read tell nobody anything.
            and exists (
                select from unnest(reach) role where has_column_privilege(role, a.attrelid, a.attnum, 'SELECT')
            )
    ) feeds
    where s.relkind = 'S' and s.relpersistence <> 't' and s.oid >= 16384
        and (feeds.columns is not null
            or exists (
                select from unnest(reach) role
                where has_schema_privilege(role, s.relnamespace, 'USAGE')
                    and has_sequence_privilege(role, s.oid, 'USAGE, SELECT, UPDATE')))
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = s.oid and d.deptype = 'e')
    order by s.oid::regclass::text;

    return query
    select 'TN062', 'warning', maker.name,
        format('every new table%s of this role is open to %s before it is protected', place.text, holders.names),
        format('alter default privileges for role %s%s revoke all on tables from %s',
            maker.name, place.text, holders.names),
        case d.defaclrole when conf.owner_role then 'owner' else 'administrator' end
    from pg_default_acl d
    cross join lateral (
        select quote_ident(pg_get_userbyid(d.defaclrole)) as name
    ) maker
    cross join lateral (
        select case d.defaclnamespace
            when 0 then ''
            else format(' in schema %I', (select nspname from pg_namespace where oid = d.defaclnamespace))
        end as text
    ) place
    cross join lateral (
        select string_agg(distinct
            case acl.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end, ', ') as names
        from aclexplode(d.defaclacl) acl
        where (acl.grantee = 0 or acl.grantee = any (reach)) and acl.grantee <> d.defaclrole
    ) holders
    where d.defaclobjtype = 'r' and holders.names is not null
    order by maker.name, place.text;
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
        ' tenantry.view_query(regclass),'
        ' tenantry.shape_problems(regclass, boolean), tenantry.shared_problem(regclass), tenantry.wall_of(regclass),'
        ' tenantry.grantees(regclass, oid[], text[]), tenantry.leave(oid[], oid),'
        ' tenantry.definers(oid[]), tenantry.is_bound(regclass, oid),'
        ' tenantry.audit(regrole, text, text)'
        ' to %s, %s',
        conf.app_role, conf.platform_role);
    execute format('grant execute on function tenantry.as_owner() to %s', conf.platform_role);
end
$finish$;
