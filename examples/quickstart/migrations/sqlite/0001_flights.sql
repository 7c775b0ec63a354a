-- The key begins with the tenant: two airlines may use one id and never meet.
create table flights (
    tenant_id           blob    not null,
    id                  blob    not null,
    number              integer not null,
    tail_number         text,
    origin              text    not null,
    destination         text    not null,
    scheduled_departure text    not null,
    departure_delay     integer,
    arrival_delay       integer,
    distance            integer not null,
    status              text    not null check (status in ('departed', 'cancelled')),
    version             integer not null,
    primary key (tenant_id, id)
) strict;

-- For lists of one airline in the order of their delay.
create index flights_by_delay on flights (tenant_id, departure_delay, id);
