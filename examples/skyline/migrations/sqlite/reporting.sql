create table report_definitions (
    tenant_id      blob    not null,
    id             blob    not null,
    name           text    not null,
    least_minutes  integer not null,
    format         text    not null check (format in ('csv', 'parquet')),
    runs_by_itself integer not null,
    retention_days integer not null,
    version        integer not null,
    primary key (tenant_id, id)
) strict;

create table report_runs (
    tenant_id     blob    not null,
    id            blob    not null,
    definition    blob    not null,
    name          text    not null,
    least_minutes integer not null,
    format        text    not null check (format in ('csv', 'parquet')),
    retention_days integer not null,
    state         text    not null check (state in ('queued', 'running', 'done', 'failed')),
    lease_until   text,
    attempts      integer not null,
    artifact      blob,
    lines         integer not null,
    trace         text,
    requested_by  text    not null,
    requested_at  text    not null,
    version       integer not null,
    primary key (tenant_id, id)
) strict;

create index report_runs_to_do on report_runs (tenant_id, requested_at, id) where state in ('queued', 'running');

-- What Reporting has heard of delays: the flights themselves are out of its reach.
create table delay_facts (
    tenant_id           blob    not null,
    id                  blob    not null,
    number              integer not null,
    origin              text    not null,
    destination         text    not null,
    scheduled_departure text    not null,
    minutes             integer not null,
    version             integer not null,
    primary key (tenant_id, id)
) strict;

create index delay_facts_by_minutes on delay_facts (tenant_id, minutes, id);
