create table flights (
    tenant_id           blob    not null,
    id                  blob    not null,
    number              integer not null,
    tail_number         text,
    origin              text    not null,
    destination         text    not null,
    scheduled_departure text    not null,
    departure_delay     integer,
    is_cancelled        integer not null,
    version             integer not null,
    primary key (tenant_id, id)
) strict;

create index flights_by_departure on flights (tenant_id, scheduled_departure, id);
create index flights_by_delay on flights (tenant_id, departure_delay, id);
