create table report_definitions (
    tenant_id      uuid    not null,
    id             uuid    not null,
    name           text    not null,
    least_minutes  integer not null,
    format         text    not null check (format in ('csv', 'parquet')),
    runs_by_itself boolean not null,
    retention_days integer not null,
    version        bigint  not null,
    primary key (tenant_id, id)
);

create table report_runs (
    tenant_id      uuid        not null,
    id             uuid        not null,
    definition     uuid        not null,
    name           text        not null,
    least_minutes  integer     not null,
    format         text        not null check (format in ('csv', 'parquet')),
    retention_days integer     not null,
    state          text        not null check (state in ('queued', 'running', 'done', 'failed')),
    lease_until    timestamptz,
    attempts       integer     not null,
    artifact       uuid,
    lines          bigint      not null,
    trace          text,
    requested_by   text        not null,
    requested_at   timestamptz not null,
    version        bigint      not null,
    primary key (tenant_id, id)
);

create index report_runs_to_do on report_runs (tenant_id, requested_at, id) where state in ('queued', 'running');

-- What Reporting has heard of delays: the flights themselves are out of its reach.
create table delay_facts (
    tenant_id           uuid        not null,
    id                  uuid        not null,
    number              integer     not null,
    origin              text        not null,
    destination         text        not null,
    scheduled_departure timestamptz not null,
    minutes             integer     not null,
    version             bigint      not null,
    primary key (tenant_id, id)
);

create index delay_facts_by_minutes on delay_facts (tenant_id, minutes, id);

select tenantry.protect('report_definitions');
select tenantry.protect('report_runs');
select tenantry.protect('delay_facts');
