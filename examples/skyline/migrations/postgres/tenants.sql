-- A row of the registry belongs to the tenant that it tells of.
create table tenants (
    tenant_id   uuid        not null,
    id          uuid        not null,
    slug        text        not null,
    name        text        not null,
    carrier     text,
    status      text        not null check (status in ('provisioning', 'active', 'suspended')),
    flights     bigint      not null,
    access_code text        not null,
    version     bigint      not null,
    created_at  timestamptz not null,
    created_by  text        not null,
    modified_at timestamptz not null,
    modified_by text        not null,
    trace_id    text,
    primary key (tenant_id, id)
);

select tenantry.protect('tenants');
