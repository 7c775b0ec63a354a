-- The three roles of the cluster. Run by the administrator; names and password verifiers come in
-- `tenantry.bootstrap`, a JSON object, because a DO block takes no parameters.
--
-- An existing role is used as it is: one that is too strong is refused, never weakened, since it
-- may be somebody's only superuser.
do $roles$
declare
    wanted constant jsonb := current_setting('tenantry.bootstrap')::jsonb;
    owner_name constant text := wanted #>> '{owner,name}';
    app_name constant text := wanted #>> '{app,name}';
    platform_name constant text := wanted #>> '{platform,name}';
    -- Since PostgreSQL 16 each membership says whether it inherits; before, the member says it.
    modern constant boolean := current_setting('server_version_num')::integer >= 160000;
    purpose text;
    role_name text;
    existing record;
    outer_name text;
begin
    foreach purpose in array array['owner', 'app', 'platform'] loop
        role_name := wanted #>> array[purpose, 'name'];
        select * into existing from pg_catalog.pg_roles where rolname = role_name;
        if not found then
            -- The owner is a member of the platform role for data migrations, and must not inherit
            -- from it: else its views and its SECURITY DEFINER functions would see every tenant.
            execute format(
                'create role %I login nosuperuser nobypassrls nocreatedb nocreaterole noreplication %s',
                role_name,
                case purpose when 'owner' then 'noinherit' else 'inherit' end
            );
        elsif existing.rolsuper or existing.rolbypassrls
            or (purpose <> 'owner' and (existing.rolcreaterole or existing.rolreplication))
        then
            raise exception using
                errcode = 'TN020',
                message = format('role %s is too strong to be the %s role', role_name, purpose),
                detail = concat_ws(', ',
                    case when existing.rolsuper then 'superuser' end,
                    case when existing.rolbypassrls then 'bypassrls' end,
                    case when existing.rolcreaterole then 'createrole' end,
                    case when existing.rolreplication then 'replication' end),
                hint = format(
                    'name another role, or run: alter role %I nosuperuser nobypassrls nocreaterole noreplication',
                    role_name);
        elsif purpose = 'owner' and existing.rolinherit and not modern then
            execute format('alter role %I noinherit', role_name);
        end if;

        if wanted #>> array[purpose, 'verifier'] is not null then
            execute format(
                'alter role %I password %L', role_name, wanted #>> array[purpose, 'verifier']);
        end if;
    end loop;

    for role_name, outer_name in
        select member, roof
        from (values
            (app_name, owner_name), (app_name, platform_name),
            (platform_name, owner_name), (platform_name, app_name),
            (owner_name, app_name)
        ) as forbidden (member, roof)
        where pg_has_role(member, roof, 'MEMBER')
    loop
        raise exception using
            errcode = 'TN020',
            message = format('role %s is a member of role %s', role_name, outer_name),
            hint = format('run: revoke %I from %I', outer_name, role_name);
    end loop;

    if not exists (
        select
        from pg_catalog.pg_auth_members m
        where m.roleid = (select oid from pg_catalog.pg_roles where rolname = platform_name)
            and m.member = (select oid from pg_catalog.pg_roles where rolname = owner_name)
            -- The columns are named only where they are known.
            and (not modern
                or not (to_jsonb(m) ->> 'inherit_option')::boolean
                    and (to_jsonb(m) ->> 'set_option')::boolean)
    ) then
        execute format('grant %I to %I %s', platform_name, owner_name,
            case when modern then 'with inherit false, set true' end);
    end if;

    -- The owner is under the wall as well. Without this a forgotten UPDATE in a migration changes
    -- no row in silence, and a new foreign key counts as validated without a look at the rows;
    -- with it, both are errors.
    if not exists (
        select
        from pg_catalog.pg_db_role_setting
        where setdatabase = 0
            and setrole = (select oid from pg_catalog.pg_roles where rolname = owner_name)
            and 'row_security=off' = any (setconfig)
    ) then
        execute format('alter role %I set row_security = off', owner_name);
    end if;

    -- Who is not a superuser has to be a member to act as the owner. The membership is lent for
    -- this transaction.
    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user)
        and not pg_has_role(owner_name, case when modern then 'SET' else 'MEMBER' end)
    then
        execute format('grant %I to current_user %s', owner_name,
            case when modern then 'with inherit false, set true' end);
        perform set_config('tenantry.bootstrap_lent', 'yes', true);
    end if;

    if not exists (select from pg_catalog.pg_namespace where nspname = 'tenantry') then
        execute format('create schema tenantry authorization %I', owner_name);
    elsif not exists (
        select
        from pg_catalog.pg_namespace
        where nspname = 'tenantry' and pg_get_userbyid(nspowner) = owner_name
    ) then
        raise exception using
            errcode = 'TN021',
            message = format('schema tenantry belongs to role %s, not to %s',
                (select pg_get_userbyid(nspowner) from pg_catalog.pg_namespace where nspname = 'tenantry'),
                owner_name),
            hint = 'bootstrap with the role names of the first time';
    end if;
end
$roles$;
