-- A row of the registry belongs to the tenant that it tells of.
create table tenants (
    tenant_id   blob    not null,
    id          blob    not null,
    slug        text    not null,
    name        text    not null,
    carrier     text,
    status      text    not null check (status in ('provisioning', 'active', 'suspended')),
    flights     integer not null,
    access_code text    not null,
    version     integer not null,
    created_at  text    not null,
    created_by  text    not null,
    modified_at text    not null,
    modified_by text    not null,
    trace_id    text,
    primary key (tenant_id, id)
) strict;
