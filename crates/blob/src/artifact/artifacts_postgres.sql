-- Files of tenants that lie in blobs: what is known of them, and whether they count.
create table artifacts (
    tenant_id    uuid        not null,
    id           uuid        not null,
    blob         text        not null,
    state        text        not null,
    content_type text        not null,
    length       bigint,
    sha256       text,
    policy       text        not null,
    expires_at   timestamptz,
    held         boolean     not null,
    created_at   timestamptz not null,
    version      bigint      not null,
    primary key (tenant_id, id)
);

create index artifacts_by_state on artifacts (tenant_id, state, expires_at);
create index artifacts_by_age on artifacts (tenant_id, state, created_at);

select tenantry.protect('artifacts');
