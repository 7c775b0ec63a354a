-- The functions of the schema `tenantry`. Run as the owner role, at every bootstrap.
--
-- All run with the rights of their caller, resolve names in pg_catalog alone, and quote what they
-- put into statements. What they refuse carries an SQLSTATE of the class TN.

-- What the functions of an earlier version return cannot be changed, only dropped.
do $drop$
begin
    if to_regprocedure('tenantry.audit(regrole, text)') is not null then
        drop function tenantry.audit(regrole, text);
    end if;
    if to_regprocedure('tenantry.shape_problems(regclass)') is not null then
        drop function tenantry.shape_problems(regclass);
    end if;
end
$drop$;

-- The version of everything in this schema; the library compares it with its own at connect.
create or replace function tenantry.schema_version() returns integer
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return 3;

-- Returns the roles of this database, which must still exist.
create or replace function tenantry.current_settings() returns tenantry.settings
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    conf tenantry.settings;
begin
    select * into conf from tenantry.settings;
    if not found or 3 <> (
        select count(*) from pg_roles where oid in (conf.owner_role, conf.app_role, conf.platform_role)
    ) then
        raise exception using
            errcode = 'TN001',
            message = 'this database has not been bootstrapped, or a role of it was dropped',
            hint = 'run the bootstrap of Tenantry as administrator';
    end if;
    return conf;
end
$$;

-- Returns the query of a view in which every name has its schema, so that it means the same wherever
-- it is put.
create or replace function tenantry.view_query(target regclass) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return pg_get_viewdef(target);
end
$$;

-- Returns `target` and, if it is partitioned, all its partitions.
create or replace function tenantry.with_partitions(target regclass) returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select target union select relid from pg_partition_tree(target);
end;

-- Names those of `roles` (0 is PUBLIC) that were granted one of `wanted`, or anything, on a relation or
-- a column of it; null if none of them was.
create or replace function tenantry.grantees(target regclass, roles oid[], wanted text[] default null)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select string_agg(
        case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
        ', ' order by grantee)
    from (
        select acl.grantee
        from pg_class c, aclexplode(c.relacl) acl
        where c.oid = target and (wanted is null or acl.privilege_type = any (wanted))
        union
        select acl.grantee
        from pg_attribute a, aclexplode(a.attacl) acl
        where a.attrelid = target and (wanted is null or acl.privilege_type = any (wanted))
    ) granted
    where grantee = any (roles) and grantee <> (select relowner from pg_class where oid = target);
end;

-- Returns the statements by which none of `members` is a direct member of `role_id` any more.
create or replace function tenantry.leave(members oid[], role_id oid) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select string_agg(
        distinct format('revoke %I from %I', pg_get_userbyid(role_id), pg_get_userbyid(member)), '; ')
    from pg_auth_members
    where roleid = role_id and member = any (members);
end;

-- Returns whether a view, a function or an expression of a table refers to an object by its number: who
-- uses that is asked for rights on the object, and for none on its schema.
create or replace function tenantry.is_bound(catalog regclass, object oid) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select exists (
        select from pg_depend d
        where d.refclassid = catalog and d.refobjid = object and d.deptype = 'n'
            and (d.classid in ('pg_proc'::regclass, 'pg_policy'::regclass, 'pg_attrdef'::regclass)
                or d.classid = 'pg_constraint'::regclass and catalog = 'pg_proc'::regclass
                -- A view's own query tells of nobody who uses it.
                or d.classid = 'pg_rewrite'::regclass
                    and object <> (select ev_class from pg_rewrite where oid = d.objid))
    );
end;

-- Returns the SECURITY DEFINER functions that one of `roles` can make run, without those of extensions.
create or replace function tenantry.definers(roles oid[]) returns setof regprocedure
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    -- The tables that they write, and those that a foreign key then writes for them.
    with recursive written as (
        select c.oid
        from pg_class c
        where c.relhastriggers
            and exists (
                select from unnest(roles) role
                where has_any_column_privilege(role, c.oid, 'INSERT, UPDATE')
                    or has_table_privilege(role, c.oid, 'DELETE, TRUNCATE'))
        union
        select c.conrelid
        from written
        join pg_constraint c on c.confrelid = written.oid
        where c.contype = 'f' and (c.confdeltype in ('c', 'n', 'd') or c.confupdtype in ('c', 'n', 'd'))
    )
    select p.oid::regprocedure
    from pg_proc p
    where p.prosecdef
        and p.oid >= 16384
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
        and (
            exists (
                select from unnest(roles) role
                where has_function_privilege(role, p.oid, 'EXECUTE')
                    and (has_schema_privilege(role, p.pronamespace, 'USAGE')
                        or tenantry.is_bound('pg_proc'::regclass, p.oid)))
            -- A trigger runs for whoever writes the table, with or without the right to execute.
            or exists (
                select from pg_trigger t
                join written on written.oid = t.tgrelid
                where t.tgfoid = p.oid and not t.tgisinternal and t.tgenabled <> 'D')
            -- So do the parts of an aggregate, for whoever may execute the whole.
            or exists (
                select from pg_aggregate a
                join pg_proc whole on whole.oid = a.aggfnoid
                cross join unnest(roles) role
                where p.oid in (
                        a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                        a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
                    and has_function_privilege(role, whole.oid, 'EXECUTE')
                    and (has_schema_privilege(role, whole.pronamespace, 'USAGE')
                        or tenantry.is_bound('pg_proc'::regclass, whole.oid)))
        );
end;

-- Returns what is wrong with the shape of a table that holds tenants' rows, each with what mends it:
-- statements of the 'owner', or 'advice' in words. A foreign key that refers to it is at fault at both
-- ends, and told of unless `as_parent` says that its other end is looked at, too. Reads the catalog only.
create or replace function tenantry.shape_problems(target regclass, as_parent boolean default true)
returns table (code text, problem text, fix text, fix_by text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    relation pg_class;
    tenant pg_attribute;
    found_index record;
    found_key record;
begin
    select * into relation from pg_class where oid = target;

    select * into tenant
    from pg_attribute
    where attrelid = target and attname = 'tenant_id' and attnum > 0 and not attisdropped;
    if not found then
        return query select 'TN004', 'it has no column tenant_id',
            format('alter table %s add column tenant_id uuid not null', target), 'owner';
        return;
    end if;
    if tenant.atttypid <> 'uuid'::regtype or tenant.attgenerated <> '' then
        return query select 'TN004',
            format('its column tenant_id is %s%s, not a plain uuid',
                format_type(tenant.atttypid, tenant.atttypmod),
                case when tenant.attgenerated <> '' then ' and generated' end),
            case
                when tenant.attgenerated <> ''
                    then format('alter table %s alter column tenant_id drop expression', target)
                else format('alter table %s alter column tenant_id type uuid using tenant_id::uuid', target)
            end,
            'owner';
        return;
    end if;
    if not tenant.attnotnull then
        return query select 'TN005', 'its column tenant_id may be null',
            format('alter table %s alter column tenant_id set not null', target), 'owner';
    end if;

    -- A unique key without the tenant tells one tenant which values another has stored.
    for found_index in
        select
            i.indexrelid::regclass as name,
            index_class.relname as plain_name,
            i.indisprimary as is_primary,
            i.indisexclusion as is_exclusion,
            c.conname as constraint_name,
            pg_get_constraintdef(c.oid) as definition,
            pg_get_expr(i.indpred, i.indrelid) as predicate,
            exists (
                select from pg_constraint where contype = 'f' and conindid = i.indexrelid
            ) as is_referenced,
            array(
                select quote_ident(attname)
                from generate_series(i.indnkeyatts + 1, i.indnatts) position
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[position - 1]
                order by position
            ) as included_columns,
            array(
                select pg_get_indexdef(i.indexrelid, position, true)
                from generate_series(1, i.indnkeyatts) position
                where i.indkey[position - 1] <> tenant.attnum
            ) as other_columns
        from pg_index i
        join pg_class index_class on index_class.oid = i.indexrelid
        left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x')
        where i.indrelid = target
            and (i.indisunique or i.indisexclusion)
            -- A partition's copy of its parent's index is told of at the parent.
            and not index_class.relispartition
            and not exists (
                select
                from generate_series(1, i.indnkeyatts) position
                where i.indkey[position - 1] = tenant.attnum
                    -- An exclusion constraint keeps tenants apart only by equality.
                    and (not i.indisexclusion
                        or (select oprname from pg_operator where oid = c.conexclop[position]) = '=')
            )
        order by i.indisprimary desc, i.indexrelid
    loop
        return query select 'TN006',
            format('its %s %s does not contain tenant_id',
                case
                    when found_index.is_primary then 'primary key'
                    when found_index.is_exclusion then 'exclusion constraint'
                    else 'unique key'
                end,
                coalesce(quote_ident(found_index.constraint_name), found_index.name::text)),
            case when found_index.is_referenced then 'mend the foreign keys that refer to it, then: ' else '' end
            || case
                when found_index.is_exclusion then format(
                    -- Equality of a uuid in GiST comes with an extension, which the owner may create.
                    'create extension if not exists btree_gist;'
                    ' alter table %s drop constraint %I, add constraint %2$I %3$s',
                    target, found_index.constraint_name,
                    regexp_replace(found_index.definition, '\(', '(tenant_id with =, '))
                when found_index.constraint_name is not null then format(
                    'alter table %s drop constraint %I, add constraint %2$I %s (%s)',
                    target, found_index.constraint_name,
                    case when found_index.is_primary then 'primary key' else 'unique' end,
                    array_to_string(array['tenant_id'] || found_index.other_columns, ', '))
                else concat(
                    format(
                        'drop index %s; create unique index %I on %s (%s)',
                        found_index.name, found_index.plain_name, target,
                        array_to_string(array['tenant_id'] || found_index.other_columns, ', ')),
                    case when cardinality(found_index.included_columns) > 0
                        then format(' include (%s)', array_to_string(found_index.included_columns, ', '))
                    end,
                    ' where ' || found_index.predicate)
            end,
            case when found_index.is_referenced then 'advice' else 'owner' end;
    end loop;

    -- The check of a foreign key does not look at row-level security: without the tenant in it, a
    -- row may reference another tenant's, and goes with it when that is deleted.
    for found_key in
        select
            c.conname as name,
            c.conrelid::regclass as child,
            c.confrelid::regclass as parent,
            pg_get_constraintdef(c.oid) as definition,
            -- What the key refers to, with the tenant before it, is no unique key yet.
            not exists (
                select
                from pg_index i
                where i.indrelid = c.confrelid and i.indisunique and i.indpred is null and i.indexprs is null
                    and i.indisvalid
                    and array(select unnest(i.indkey[0:i.indnkeyatts - 1]) order by 1)
                        = array(select unnest(c.confkey) union select parent_tenant.attnum order by 1)
            ) as parent_lacks_key,
            exists (
                select
                from unnest(c.conkey, c.confkey) as pair (child_column, parent_column)
                where pair.child_column = child_tenant.attnum
                    and pair.parent_column = parent_tenant.attnum
            ) as holds_tenant,
            child_tenant.attnum = any (c.conkey) and (
                c.confupdtype in ('n', 'd')
                -- Since PostgreSQL 15 a foreign key can name the columns that ON DELETE sets.
                or c.confdeltype in ('n', 'd') and child_tenant.attnum = any (coalesce(
                    (
                        select array_agg(value::int2)
                        from jsonb_array_elements_text(
                            case jsonb_typeof(to_jsonb(c) -> 'confdelsetcols')
                                when 'array' then to_jsonb(c) -> 'confdelsetcols'
                            end)
                    ),
                    c.conkey))
            ) as writes_tenant,
            pairs.child_columns,
            pairs.parent_columns,
            forced.unforce,
            forced.force
        from pg_constraint c
        join pg_attribute child_tenant on child_tenant.attrelid = c.conrelid
            and child_tenant.attname = 'tenant_id' and not child_tenant.attisdropped
        join pg_attribute parent_tenant on parent_tenant.attrelid = c.confrelid
            and parent_tenant.attname = 'tenant_id' and not parent_tenant.attisdropped
        cross join lateral (
            -- The columns beside the tenant, here and there.
            select
                array_agg(quote_ident(child_column.attname) order by position) as child_columns,
                array_agg(quote_ident(parent_column.attname) order by position) as parent_columns
            from unnest(c.conkey, c.confkey) with ordinality as pair (child_attnum, parent_attnum, position)
            join pg_attribute child_column
                on child_column.attrelid = c.conrelid and child_column.attnum = pair.child_attnum
            join pg_attribute parent_column
                on parent_column.attrelid = c.confrelid and parent_column.attnum = pair.parent_attnum
            where child_column.attnum <> child_tenant.attnum and parent_column.attnum <> parent_tenant.attnum
        ) pairs
        cross join lateral (
            -- A new foreign key is checked as the owner, who has to see the rows for it.
            select
                coalesce(string_agg(format('alter table %s no force row level security; ', oid::regclass), ''), '') as unforce,
                coalesce(string_agg(format('; alter table %s force row level security', oid::regclass), ''), '') as force
            from pg_class
            where oid in (c.conrelid, c.confrelid) and relforcerowsecurity
        ) forced
        where c.contype = 'f' and c.conparentid = 0 and (c.conrelid = target or as_parent and c.confrelid = target)
        order by c.oid
    loop
        if not found_key.holds_tenant then
            return query select 'TN007',
                format('foreign key %I from %s to %s does not pair tenant_id with tenant_id',
                    found_key.name, found_key.child, found_key.parent),
                found_key.unforce
                || case when found_key.parent_lacks_key then format(
                    'alter table %s add unique (%s); ',
                    found_key.parent,
                    array_to_string(array['tenant_id'] || found_key.parent_columns, ', '))
                else '' end
                || format(
                    'alter table %s drop constraint %I, add constraint %2$I foreign key (%s) references %s (%s)%s',
                    found_key.child, found_key.name,
                    array_to_string(array['tenant_id'] || found_key.child_columns, ', '),
                    found_key.parent,
                    array_to_string(array['tenant_id'] || found_key.parent_columns, ', '),
                    -- What it does when the parent changes stays, as far as it leaves the tenant alone.
                    regexp_replace(
                        regexp_replace(
                            regexp_replace(
                                found_key.definition,
                                '^FOREIGN KEY \(("[^"]*"|[^()"])*\) REFERENCES ("[^"]*"|[^()"])*\(("[^"]*"|[^()"])*\)',
                                ''),
                            ' ON UPDATE SET (NULL|DEFAULT)', ''),
                        ' ON DELETE SET (NULL|DEFAULT)( \([^)]*\))?',
                        case when current_setting('server_version_num')::integer >= 150000
                            then format(' ON DELETE SET \1 (%s)', array_to_string(found_key.child_columns, ', '))
                            else ''
                        end))
                || found_key.force,
                'owner';
        elsif found_key.writes_tenant then
            return query select 'TN008',
                format('foreign key %I from %s to %s would set tenant_id to null or to a default',
                    found_key.name, found_key.child, found_key.parent),
                found_key.unforce
                || format('alter table %s drop constraint %I, add constraint %2$I %3$s',
                    found_key.child, found_key.name,
                    regexp_replace(
                        regexp_replace(found_key.definition, ' ON UPDATE SET (NULL|DEFAULT)', ''),
                        ' ON DELETE SET (NULL|DEFAULT)( \([^)]*\))?',
                        -- Before PostgreSQL 15 an action sets all columns, or none.
                        case when current_setting('server_version_num')::integer >= 150000
                                and found_key.child_columns is not null
                            then format(' ON DELETE SET \1 (%s)', array_to_string(found_key.child_columns, ', '))
                            else ''
                        end))
                || found_key.force,
                'owner';
        end if;
    end loop;

    if not exists (
        select
        from pg_index i
        join pg_class index_class on index_class.oid = i.indexrelid
        join pg_am method on method.oid = index_class.relam
        where i.indrelid = target
            and i.indkey[0] = tenant.attnum
            and i.indpred is null
            and i.indisvalid
            and method.amname in ('btree', 'gist')
    ) then
        return query select 'TN009', 'no index of it begins with tenant_id',
            format('create index on %s (tenant_id)', target), 'owner';
    end if;

    return query
    select 'TN010', format('its policy %I lets rows through beside the wall', polname),
        case polname
            when 'tenantry_shared' then format('select tenantry.unshare(%L)', target)
            else format('drop policy %I on %s', polname, target)
        end,
        'owner'
    from pg_policy
    where polrelid = target
        and polpermissive
        and polname not in ('tenantry_wall', 'tenantry_access', 'tenantry_platform')
    order by polname;

    return query
    select 'TN011', format('its rule %I runs with the rights of the owner', rulename),
        format('drop rule %I on %s', rulename, target), 'owner'
    from pg_rewrite
    where ev_class = target
    order by rulename;

    if exists (
        select from pg_inherits
        where target in (inhrelid, inhparent) and not relation.relispartition and relation.relkind <> 'p'
    ) then
        return query select 'TN012', 'it inherits from a table, or a table inherits from it',
            format('use declarative partitioning in place of INHERITS for %s', target), 'advice';
    end if;
end
$$;

-- Returns the policies of a table that let rows through, and the wall, as one text to compare.
create or replace function tenantry.wall_of(target regclass) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select string_agg(
        concat_ws(' | ', polname, polpermissive, polcmd, polroles,
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)),
        e'\n' order by polname)
    from pg_policy
    where polrelid = target and (polpermissive or polname = 'tenantry_wall');
end;

-- Writes the three policies of a protected table, whatever stood there under their names.
create or replace function tenantry.write_wall(target regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
begin
    execute format('drop policy if exists tenantry_wall on %s', target);
    execute format('drop policy if exists tenantry_access on %s', target);
    execute format('drop policy if exists tenantry_platform on %s', target);

    -- After the first transaction of a connection the setting is '' rather than null. The setting is
    -- stable, so beside the predicate that every statement carries it is compared once for each
    -- statement; a sub-select around it would do the same at 4 microseconds more. New rows have no
    -- predicate beside them: there the sub-select spares a third of a microsecond for each row.
    execute format(
        'create policy tenantry_wall on %s as restrictive for all to %s'
        ' using (tenant_id = nullif(current_setting(''tenantry.tenant_id'', true), '''')::uuid)'
        ' with check (tenant_id = (select nullif(current_setting(''tenantry.tenant_id'', true), '''')::uuid))',
        target, conf.app_role);
    -- A restrictive policy only takes away: these two give.
    execute format(
        'create policy tenantry_access on %s for all to %s using (true) with check (true)',
        target, conf.app_role);
    -- Work across tenants sets none; work for one tenant is held to it.
    execute format(
        'create policy tenantry_platform on %s for all to %s'
        ' using (tenant_id = coalesce(nullif(current_setting(''tenantry.tenant_id'', true), '''')::uuid, tenant_id))'
        ' with check (tenant_id = coalesce((select nullif(current_setting(''tenantry.tenant_id'', true), '''')::uuid), tenant_id))',
        target, conf.platform_role);
end
$$;

-- Makes `wanted` the privileges that `grantee` (0 is PUBLIC) holds on a table or sequence, no
-- more and no less; touches nothing if that is so already.
create or replace function tenantry.set_privileges(target regclass, grantee oid, wanted text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    relation pg_class;
    kind text;
    grantee_name constant text := case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end;
begin
    select * into relation from pg_class where oid = target;
    kind := case relation.relkind when 'S' then 'sequence' else 'table' end;

    if array(
            select privilege_type || case when is_grantable then '*' else '' end
            from aclexplode(relation.relacl) acl
            where acl.grantee = set_privileges.grantee
            order by 1
        ) = array(select unnest(wanted) order by 1)
        and not exists (
            select
            from pg_attribute a, aclexplode(a.attacl) acl
            where a.attrelid = target and acl.grantee = set_privileges.grantee
        )
    then
        return;
    end if;

    execute format('revoke all on %s %s from %s cascade', kind, target, grantee_name);
    if cardinality(wanted) > 0 then
        execute format('grant %s on %s %s to %s', array_to_string(wanted, ', '), kind, target, grantee_name);
    end if;
end
$$;

-- Takes from `grantee` (0 is PUBLIC) what it holds on a table, its columns or a sequence beyond `allowed`, and the
-- right to grant it on; what it does not hold, it does not get.
create or replace function tenantry.narrow_privileges(target regclass, grantee oid, allowed text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    kind constant text := (select case relkind when 'S' then 'sequence' else 'table' end from pg_class where oid = target);
    grantee_name constant text := case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end;
    held record;
begin
    for held in
        select acl.privilege_type as name, bool_or(acl.is_grantable) as is_grantable
        from (
            select privilege_type, is_grantable
            from pg_class, aclexplode(relacl) acl
            where oid = target and acl.grantee = narrow_privileges.grantee
            union all
            select privilege_type, is_grantable
            from pg_attribute, aclexplode(attacl) acl
            where attrelid = target and acl.grantee = narrow_privileges.grantee
        ) acl
        group by acl.privilege_type
    loop
        if held.name <> all (allowed) then
            -- That of a table goes with those of its columns.
            execute format('revoke %s on %s %s from %s cascade', held.name, kind, target, grantee_name);
        elsif held.is_grantable then
            execute format('revoke grant option for %s on %s %s from %s cascade', held.name, kind, target, grantee_name);
        end if;
    end loop;
end
$$;

-- As `set_access`, for a table that has been protected before: it takes away and gives nothing, for what is missing
-- was taken on purpose. The platform role keeps the right to empty single partitions, by which no row is read.
create or replace function tenantry.narrow_access(target regclass, app_allowed text[], platform_allowed text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
    nothing constant text[] := '{}';
    part regclass;
    owned_sequence regclass;
begin
    perform tenantry.narrow_privileges(target, 0, nothing);
    perform tenantry.narrow_privileges(target, conf.app_role, app_allowed);
    perform tenantry.narrow_privileges(target, conf.platform_role, platform_allowed);

    for part in select tenantry.with_partitions(target) except select target loop
        perform tenantry.narrow_privileges(part, 0, nothing);
        perform tenantry.narrow_privileges(part, conf.app_role, nothing);
        perform tenantry.narrow_privileges(part, conf.platform_role, array['TRUNCATE']);
    end loop;

    for owned_sequence in select tenantry.owned_sequences(target) loop
        perform tenantry.narrow_privileges(owned_sequence, conf.app_role, array['USAGE']);
        perform tenantry.narrow_privileges(owned_sequence, conf.platform_role, array['USAGE']);
    end loop;
end
$$;

-- Returns the sequences that go with a table.
create or replace function tenantry.owned_sequences(target regclass) returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select d.objid::regclass
    from pg_depend d
    join pg_class c on c.oid = d.objid and c.relkind = 'S'
    where d.classid = 'pg_class'::regclass
        and d.refclassid = 'pg_class'::regclass
        and d.refobjid = target
        and d.deptype in ('a', 'i');
end;

-- Makes `wanted` the privileges of the app role, and `platform_wanted` those of the platform role,
-- on a table; its sequences follow, and nobody gets a partition by itself or anything as PUBLIC.
create or replace function tenantry.set_access(target regclass, app_wanted text[], platform_wanted text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
    nothing constant text[] := '{}';
    part regclass;
    owned_sequence regclass;
    schema_name text;
    role_name text;
begin
    perform tenantry.set_privileges(target, 0, nothing);
    perform tenantry.set_privileges(target, conf.app_role, app_wanted);
    perform tenantry.set_privileges(target, conf.platform_role, platform_wanted);

    for part in select tenantry.with_partitions(target) except select target loop
        perform tenantry.set_privileges(part, 0, nothing);
        perform tenantry.set_privileges(part, conf.app_role, nothing);
        perform tenantry.set_privileges(part, conf.platform_role, nothing);
    end loop;

    for owned_sequence in select tenantry.owned_sequences(target) loop
        perform tenantry.set_privileges(owned_sequence, conf.app_role,
            case when 'INSERT' = any (app_wanted) then array['USAGE'] else nothing end);
        perform tenantry.set_privileges(owned_sequence, conf.platform_role,
            case when 'INSERT' = any (platform_wanted) then array['USAGE'] else nothing end);
    end loop;

    if cardinality(app_wanted) > 0 then
        select quote_ident(n.nspname) into schema_name
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.oid = target;
        for role_name in
            select r.rolname
            from pg_roles r
            where r.oid in (conf.app_role, conf.platform_role)
                and not has_schema_privilege(r.oid, schema_name::regnamespace, 'USAGE')
        loop
            execute format('grant usage on schema %s to %I', schema_name, role_name);
        end loop;
    end if;
end
$$;

-- Raises if `target` is not a table that the owner role owns, or is a partition.
create or replace function tenantry.require_table(target regclass) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
    relation pg_class;
    part record;
begin
    select * into relation from pg_class where oid = target;
    if not found then
        raise exception using
            errcode = 'TN002',
            message = 'there is no such table',
            hint = 'create the table before, in the same migration or an earlier one';
    end if;
    if relation.relispartition then
        raise exception using
            errcode = 'TN012',
            message = format('%s is a partition', target),
            hint = format('name the partitioned table, whose partitions follow: %s', (
                select root from pg_partition_root(target) root)),
            table = target::text;
    end if;
    for part in
        select p::regclass as name, c.relkind, c.relpersistence, c.relowner
        from tenantry.with_partitions(target) p
        join pg_class c on c.oid = p
    loop
        if part.relkind not in ('r', 'p') or part.relpersistence = 't' then
            raise exception using
                errcode = 'TN002',
                message = format('%s is a %s, not a table', part.name, case
                    when part.relkind = 'v' then 'view'
                    when part.relkind = 'm' then 'materialized view'
                    when part.relkind = 'f' then 'foreign table'
                    when part.relkind = 'S' then 'sequence'
                    when part.relpersistence = 't' then 'temporary table'
                    else 'relation of another kind'
                end),
                hint = 'row-level security holds on tables and partitioned tables alone',
                table = part.name::text;
        end if;
        if part.relowner <> conf.owner_role then
            raise exception using
                errcode = 'TN003',
                message = format('table %s belongs to role %s', part.name, pg_get_userbyid(part.relowner)),
                hint = format('run the migrations as %1$s, and for this table: alter table %2$s owner to %1$s',
                    conf.owner_role, part.name),
                table = part.name::text;
        end if;
    end loop;
end
$$;

-- Builds wall two around a table that holds tenants' rows: the app role sees and writes the rows
-- of the tenant of its transaction alone. Changes nothing if the wall stands, mends it if not.
create or replace function tenantry.protect(target regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    part regclass;
    trouble record;
    relation pg_class;
    not_nil record;
    full_access constant text[] := array['DELETE', 'INSERT', 'SELECT', 'UPDATE'];
    was_protected boolean;
begin
    perform tenantry.require_table(target);
    -- Keeps other schema changes out between the look and the change; readers and writers go on.
    execute format('lock table %s in share update exclusive mode', target);

    -- All of it goes with `unprotect`; what is left of a wall that was broken counts as well.
    was_protected := exists (
        select from pg_policy
        where polrelid = target and polname in ('tenantry_wall', 'tenantry_access', 'tenantry_platform')
    ) or exists (
        select from pg_constraint where conrelid = target and conname = 'tenantry_not_nil'
    );

    for part in select tenantry.with_partitions(target) loop
        select * into trouble from tenantry.shape_problems(part) limit 1;
        if found then
            raise exception using
                errcode = trouble.code,
                message = format('table %s cannot be protected: %s', part, trouble.problem),
                hint = trouble.fix,
                table = part::text;
        end if;
    end loop;

    -- The nil tenant is nobody's. On a partitioned table the partitions inherit the check.
    select convalidated, pg_get_expr(conbin, conrelid) as expression into not_nil
    from pg_constraint
    where conrelid = target and conname = 'tenantry_not_nil';
    if found and not_nil.expression <> '(tenant_id <> ''00000000-0000-0000-0000-000000000000''::uuid)' then
        execute format('alter table %s drop constraint tenantry_not_nil', target);
        not_nil := null;
    end if;
    if not_nil is null then
        execute format(
            'alter table %s add constraint tenantry_not_nil'
            ' check (tenant_id <> ''00000000-0000-0000-0000-000000000000''::uuid)',
            target);
    elsif not not_nil.convalidated then
        execute format('alter table %s validate constraint tenantry_not_nil', target);
    end if;

    for part in select tenantry.with_partitions(target) loop
        if tenantry.wall_of(part) is distinct from tenantry.wall_of('tenantry.wall_template') then
            perform tenantry.write_wall(part);
        end if;
        select * into relation from pg_class where oid = part;
        if not relation.relrowsecurity then
            execute format('alter table %s enable row level security', part);
        end if;
        -- Without FORCE the owner's views and SECURITY DEFINER functions would show every row.
        if not relation.relforcerowsecurity then
            execute format('alter table %s force row level security', part);
        end if;
    end loop;

    -- No TRUNCATE, which row-level security does not see, no REFERENCES, no TRIGGER.
    if was_protected then
        perform tenantry.narrow_access(target, full_access, full_access);
    else
        perform tenantry.set_access(target, full_access, full_access);
    end if;
end
$$;

-- Takes the wall down again and shuts the table for the app role and the platform role.
create or replace function tenantry.unprotect(target regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    part regclass;
begin
    perform tenantry.require_table(target);
    if exists (select from pg_policy where polrelid = target and polname = 'tenantry_shared') then
        raise exception using
            errcode = 'TN013',
            message = format('table %s is shared, not protected', target),
            hint = format('run: select tenantry.unshare(%L)', target),
            table = target::text;
    end if;

    -- First the privileges, so that no moment leaves the rows open.
    perform tenantry.set_access(target, '{}', '{}');
    for part in select tenantry.with_partitions(target) loop
        execute format('drop policy if exists tenantry_wall on %s', part);
        execute format('drop policy if exists tenantry_access on %s', part);
        execute format('drop policy if exists tenantry_platform on %s', part);
        execute format('alter table %s no force row level security', part);
        if not exists (select from pg_policy where polrelid = part) then
            execute format('alter table %s disable row level security', part);
        end if;
    end loop;
    execute format('alter table %s drop constraint if exists tenantry_not_nil', target);
end
$$;

-- Declares a table of the platform, without tenants: the app role may read it, the platform role
-- may write it. The policy is the mark, so it goes with the table through renames and dumps.
create or replace function tenantry.share(target regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
begin
    perform tenantry.require_table(target);
    if exists (
        select from pg_attribute where attrelid = target and attname = 'tenant_id' and not attisdropped
    ) then
        raise exception using
            errcode = 'TN013',
            message = format('table %s has a column tenant_id: it holds tenants'' rows', target),
            hint = format('run: select tenantry.protect(%L)', target),
            table = target::text;
    end if;

    if tenantry.shared_problem(target) is not null then
        execute format('drop policy if exists tenantry_shared on %s', target);
        execute format('drop policy if exists tenantry_platform on %s', target);
        execute format('create policy tenantry_shared on %s for select to %s using (true)', target, conf.app_role);
        execute format('create policy tenantry_platform on %s for all to %s using (true) with check (true)',
            target, conf.platform_role);
        execute format('alter table %s enable row level security', target);
        -- Not forced: migrations fill such tables as the owner.
        execute format('alter table %s no force row level security', target);
    end if;

    perform tenantry.set_access(target, array['SELECT'], array['DELETE', 'INSERT', 'SELECT', 'UPDATE']);
end
$$;

-- Takes the declaration back and shuts the table for the app role and the platform role.
create or replace function tenantry.unshare(target regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
begin
    perform tenantry.require_table(target);
    if exists (select from pg_policy where polrelid = target and polname = 'tenantry_wall') then
        raise exception using
            errcode = 'TN013',
            message = format('table %s is protected, not shared', target),
            hint = format('run: select tenantry.unprotect(%L)', target),
            table = target::text;
    end if;

    perform tenantry.set_access(target, '{}', '{}');
    execute format('drop policy if exists tenantry_shared on %s', target);
    execute format('drop policy if exists tenantry_platform on %s', target);
    if not exists (select from pg_policy where polrelid = target) then
        execute format('alter table %s disable row level security', target);
    end if;
end
$$;

-- Returns what is wrong with the declaration of a shared table, or null.
create or replace function tenantry.shared_problem(target regclass) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select case
        when not c.relrowsecurity then 'row-level security is off'
        when c.relforcerowsecurity then 'row-level security is forced, which keeps migrations from filling it'
        when not exists (
            select from pg_policy p
            where p.polrelid = c.oid and p.polname = 'tenantry_shared' and p.polpermissive
                and p.polcmd = 'r' and p.polroles = array[conf.app_role::oid]
                and pg_get_expr(p.polqual, p.polrelid) = 'true'
        ) then 'its policy tenantry_shared was changed'
        when not exists (
            select from pg_policy p
            where p.polrelid = c.oid and p.polname = 'tenantry_platform' and p.polpermissive
                and p.polcmd = '*' and p.polroles = array[conf.platform_role::oid]
                and pg_get_expr(p.polqual, p.polrelid) = 'true'
                and pg_get_expr(p.polwithcheck, p.polrelid) = 'true'
        ) then 'its policy tenantry_platform is missing or was changed'
    end
    from pg_class c, tenantry.settings conf
    where c.oid = target;
end;

-- In a migration: goes over to the platform role, until as_owner() or the end of the transaction,
-- to change the rows of all tenants.
create or replace function tenantry.as_platform() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
begin
    perform set_config('role', pg_get_userbyid(conf.platform_role), true);
    perform set_config('row_security', 'on', true);
end
$$;

-- In a migration: comes back from as_platform().
create or replace function tenantry.as_owner() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    conf constant tenantry.settings := tenantry.current_settings();
begin
    perform set_config('role', pg_get_userbyid(conf.owner_role), true);
    perform set_config('row_security', 'off', true);
end
$$;
