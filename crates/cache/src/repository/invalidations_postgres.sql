-- What a transaction has changed and caches may still hold; empty but for the last moment.
create table cache_invalidations (
    tenant_id uuid  not null,
    id        uuid  not null,
    over      jsonb not null,
    primary key (tenant_id, id)
);

select tenantry.protect('cache_invalidations');
