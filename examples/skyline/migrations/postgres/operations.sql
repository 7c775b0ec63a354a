create table flights (
    tenant_id           uuid        not null,
    id                  uuid        not null,
    number              integer     not null,
    tail_number         text,
    origin              text        not null,
    destination         text        not null,
    scheduled_departure timestamptz not null,
    departure_delay     integer,
    is_cancelled        boolean     not null,
    version             bigint      not null,
    primary key (tenant_id, id)
);

create index flights_by_departure on flights (tenant_id, scheduled_departure, id);
create index flights_by_delay on flights (tenant_id, departure_delay, id);

select tenantry.protect('flights');
