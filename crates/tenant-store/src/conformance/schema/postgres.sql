-- Another collation than the order of code points, whatever the server's default is: what sorts
-- and compares right here does so everywhere.
create table specimens (
    tenant_id uuid not null,
    id uuid not null,
    label text collate "und-x-icu" not null,
    remark text collate "und-x-icu",
    flag boolean not null,
    small smallint not null,
    medium integer not null,
    big bigint not null,
    rank bigint,
    ratio double precision not null,
    amount numeric not null,
    payload bytea not null,
    link uuid,
    seen_at timestamptz not null,
    due date,
    progress text collate "und-x-icu" not null,
    notes jsonb not null,
    version bigint not null,
    primary key (tenant_id, id)
);
create index specimens_seen_at on specimens (tenant_id, seen_at, id);
select tenantry.protect('specimens');

create table tracked (
    tenant_id uuid not null,
    id uuid not null,
    name text not null,
    version bigint not null,
    created_at timestamptz not null,
    created_by text not null,
    modified_at timestamptz not null,
    modified_by text not null,
    trace_id text,
    deleted_at timestamptz,
    deleted_by text,
    primary key (tenant_id, id),
    unique (tenant_id, name)
);
select tenantry.protect('tracked');

create table settings (
    tenant_id uuid not null,
    key text not null,
    value text not null check (value <> 'forbidden'),
    primary key (tenant_id, key)
);
select tenantry.protect('settings');

create table "order" (
    tenant_id uuid not null,
    "select" bigint not null,
    "from" bigint not null,
    primary key (tenant_id, "select")
);
select tenantry.protect('"order"');
