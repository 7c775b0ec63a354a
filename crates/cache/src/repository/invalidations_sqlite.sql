-- What a transaction has changed and caches may still hold; empty but for the last moment.
create table cache_invalidations (
    tenant_id blob not null,
    id        blob not null,
    over      text not null,
    primary key (tenant_id, id)
) strict;
