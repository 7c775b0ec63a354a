-- The key begins with the tenant: two airlines may use one id and never meet.
create table flights (
    tenant_id           uuid        not null,
    id                  uuid        not null,
    number              integer     not null,
    tail_number         text,
    origin              text        not null,
    destination         text        not null,
    scheduled_departure timestamptz not null,
    departure_delay     integer,
    arrival_delay       integer,
    distance            integer     not null,
    status              text        not null check (status in ('departed', 'cancelled')),
    version             bigint      not null,
    primary key (tenant_id, id)
);

-- For lists of one airline in the order of their delay.
create index flights_by_delay on flights (tenant_id, departure_delay, id);

-- The second wall: from here on the server itself shows each tenant its own rows only.
select tenantry.protect('flights');
