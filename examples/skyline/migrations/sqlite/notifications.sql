create table notifications (
    tenant_id  blob    not null,
    id         blob    not null,
    title      text    not null,
    body       text    not null,
    attachment text,
    state      text    not null check (state in ('new', 'read')),
    trace      text,
    created_at text    not null,
    version    integer not null,
    primary key (tenant_id, id)
) strict;
