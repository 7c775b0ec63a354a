-- Files of tenants that lie in blobs: what is known of them, and whether they count.
create table artifacts (
    tenant_id    blob    not null,
    id           blob    not null,
    blob         text    not null,
    state        text    not null,
    content_type text    not null,
    length       integer,
    sha256       text,
    policy       text    not null,
    expires_at   text,
    held         integer not null,
    created_at   text    not null,
    version      integer not null,
    primary key (tenant_id, id)
) strict;

create index artifacts_by_state on artifacts (tenant_id, state, expires_at);
create index artifacts_by_age on artifacts (tenant_id, state, created_at);
