-- What the roles may do in this database, and the end of the lent membership. Run by the
-- administrator.
do $grants$
declare
    wanted constant jsonb := current_setting('tenantry.bootstrap')::jsonb;
    owner_name constant text := wanted #>> '{owner,name}';
    app_name constant text := wanted #>> '{app,name}';
    platform_name constant text := wanted #>> '{platform,name}';
begin
    if (select pg_has_role(datdba, 'USAGE') from pg_catalog.pg_database where datname = current_database()) then
        execute format('grant connect on database %I to %I, %I, %I',
            current_database(), owner_name, app_name, platform_name);
        execute format('grant create, temporary on database %I to %I', current_database(), owner_name);
    elsif not (has_database_privilege(owner_name, current_database(), 'CONNECT')
        and has_database_privilege(owner_name, current_database(), 'CREATE')
        and has_database_privilege(app_name, current_database(), 'CONNECT')
        and has_database_privilege(platform_name, current_database(), 'CONNECT'))
    then
        raise exception using
            errcode = 'TN022',
            message = format('role %s does not own database %s', current_user, current_database()),
            hint = format(
                'bootstrap as its owner, or let the owner run: grant connect on database %1$I to %2$I, %3$I, %4$I; grant create on database %1$I to %2$I',
                current_database(), owner_name, app_name, platform_name);
    end if;

    if to_regnamespace('public') is not null then
        begin
            revoke create on schema public from public;
            execute format('revoke create on schema public from %I, %I', app_name, platform_name);
            execute format('grant usage on schema public to %I, %I', app_name, platform_name);
            execute format('grant usage, create on schema public to %I', owner_name);
        exception when insufficient_privilege then
            null; -- What is missing is named below.
        end;
        if has_schema_privilege(app_name, 'public', 'CREATE')
            or has_schema_privilege(platform_name, 'public', 'CREATE')
            or not has_schema_privilege(app_name, 'public', 'USAGE')
            or not has_schema_privilege(platform_name, 'public', 'USAGE')
            or not has_schema_privilege(owner_name, 'public', 'USAGE')
            or not has_schema_privilege(owner_name, 'public', 'CREATE')
        then
            raise exception using
                errcode = 'TN022',
                message = format('role %s may not change the privileges on schema public', current_user),
                hint = format(
                    'let its owner run: revoke create on schema public from public; grant usage on schema public to %2$I, %3$I; grant usage, create on schema public to %1$I',
                    owner_name, app_name, platform_name);
        end if;
    end if;

    if current_setting('tenantry.bootstrap_lent', true) = 'yes' then
        execute format('revoke %I from current_user', owner_name);
    end if;
end
$grants$;
