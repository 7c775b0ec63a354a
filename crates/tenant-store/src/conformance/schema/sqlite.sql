create table specimens (
    tenant_id blob not null,
    id blob not null,
    label text not null,
    remark text,
    flag integer not null,
    small integer not null,
    medium integer not null,
    big integer not null,
    rank integer,
    ratio real not null,
    amount text not null,
    payload blob not null,
    link blob,
    seen_at text not null,
    due text,
    progress text not null,
    notes text not null,
    version integer not null,
    primary key (tenant_id, id)
) strict;
create index specimens_seen_at on specimens (tenant_id, seen_at, id);

create table tracked (
    tenant_id blob not null,
    id blob not null,
    name text not null,
    version integer not null,
    created_at text not null,
    created_by text not null,
    modified_at text not null,
    modified_by text not null,
    trace_id text,
    deleted_at text,
    deleted_by text,
    primary key (tenant_id, id),
    unique (tenant_id, name)
) strict;

create table settings (
    tenant_id blob not null,
    key text not null,
    value text not null check (value <> 'forbidden'),
    primary key (tenant_id, key)
) strict;

create table "order" (
    tenant_id blob not null,
    "select" integer not null,
    "from" integer not null,
    primary key (tenant_id, "select")
) strict;
