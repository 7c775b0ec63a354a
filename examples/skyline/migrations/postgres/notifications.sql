create table notifications (
    tenant_id  uuid        not null,
    id         uuid        not null,
    title      text        not null,
    body       text        not null,
    attachment text,
    state      text        not null check (state in ('new', 'read')),
    trace      text,
    created_at timestamptz not null,
    version    bigint      not null,
    primary key (tenant_id, id)
);

select tenantry.protect('notifications');
