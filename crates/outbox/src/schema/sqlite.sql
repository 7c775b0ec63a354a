-- The outbox: messages that were committed and have not left yet, who hands them over, and those that
-- could not be handed over. SQLite has one writer at a time, so that numbers are drawn in the order of
-- the commits, and rows that have left are deleted.

create table outbox_messages (
    position       integer primary key autoincrement,
    occurred_at    text    not null,
    tenant_id      blob    not null,
    id             blob    not null,
    causation_id   blob,
    partition_id   integer not null,
    event_type     text    not null,
    ordering_key   text    not null,
    project        text,
    module         text,
    correlation_id text,
    trace          text,
    trace_state    text,
    content_type   text    not null,
    payload        blob    not null,
    unique (tenant_id, id)
) strict;

create table outbox_claims (
    token      integer primary key autoincrement,
    worker     text    not null unique,
    expires_at integer not null,
    lease      integer not null,
    position   text    not null default ''
) strict;

create table outbox_partitions (
    partition_id integer primary key,
    token        integer,
    position     text default ''
) strict;
insert into outbox_partitions (partition_id)
with recursive ids (id) as (select 0 union all select id + 1 from ids where id < 63)
select id from ids;

create table outbox_parked (
    position       integer not null,
    occurred_at    text    not null,
    tenant_id      blob    not null,
    id             blob    not null,
    causation_id   blob,
    partition_id   integer not null,
    event_type     text    not null,
    ordering_key   text    not null,
    project        text,
    module         text,
    correlation_id text,
    trace          text,
    trace_state    text,
    content_type   text    not null,
    payload        blob    not null,
    state          text    not null check (state in ('waiting', 'blocked', 'dead')),
    attempts       integer not null default 0,
    next_at        integer not null default 0,
    failed_at      integer,
    reason         text,
    detail         text,
    -- One may come that has the id of one which stands here.
    primary key (tenant_id, id, position)
) strict;
create index outbox_parked_key on outbox_parked (partition_id, tenant_id, ordering_key, position);
create index outbox_parked_position on outbox_parked (position);
create index outbox_parked_due on outbox_parked (partition_id, next_at) where state = 'waiting';

create table outbox_inbox (
    generation integer not null,
    tenant_id  blob    not null,
    message_id blob    not null,
    consumer   text    not null,
    primary key (tenant_id, message_id, consumer)
) strict, without rowid;
create index outbox_inbox_generation on outbox_inbox (generation);
