-- The tables of the schema `tenantry`. Run as the owner role.
create table if not exists tenantry.settings (
    singleton boolean primary key default true check (singleton),
    owner_role regrole not null,
    app_role regrole not null,
    platform_role regrole not null
);

comment on table tenantry.settings is 'The roles that tenantry.protect() and tenantry.share() work for';

-- Nothing is ever stored here. It carries the policies that every protected table must have, as
-- this server prints them, for protect() and audit() to compare with.
create table if not exists tenantry.wall_template (tenant_id uuid primary key);

comment on table tenantry.wall_template is 'Empty; its policies are the model of every protected table';

do $settings$
declare
    wanted constant jsonb := current_setting('tenantry.bootstrap')::jsonb;
    stored tenantry.settings;
begin
    insert into tenantry.settings (owner_role, app_role, platform_role)
    values (
        quote_ident(wanted #>> '{owner,name}')::regrole,
        quote_ident(wanted #>> '{app,name}')::regrole,
        quote_ident(wanted #>> '{platform,name}')::regrole
    )
    on conflict do nothing;

    select * into strict stored from tenantry.settings;
    if pg_get_userbyid(stored.owner_role) <> wanted #>> '{owner,name}'
        or pg_get_userbyid(stored.app_role) <> wanted #>> '{app,name}'
        or pg_get_userbyid(stored.platform_role) <> wanted #>> '{platform,name}'
    then
        raise exception using
            errcode = 'TN021',
            message = format(
                'this database was bootstrapped with the roles %s (owner), %s (app) and %s (platform)',
                pg_get_userbyid(stored.owner_role),
                pg_get_userbyid(stored.app_role),
                pg_get_userbyid(stored.platform_role)),
            hint = 'bootstrap with these names; to change one, use ALTER ROLE … RENAME';
    end if;
end
$settings$;
