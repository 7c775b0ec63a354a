-- The outbox: messages that were committed and have not left yet, who hands them over, and those that
-- could not be handed over. Run once, as the owner role.

-- Appended and read, never changed: a generation is emptied as a whole when all of it has left. What is wide stands
-- before what is narrow, so that a row has no gaps.
create table outbox_messages (
    -- Before the position: no transaction draws a number that has no id yet, so that whatever commits
    -- after a snapshot has a higher number than all it shows, or was among those that it names.
    xid            xid8        not null default pg_current_xact_id(),
    position       bigint      not null generated always as identity (cache 1),
    -- What RFC 3339 can say: the server knows times that no worker can read.
    occurred_at    timestamptz not null constraint outbox_messages_time check (
        occurred_at >= '0001-01-01 00:00:00+00 BC' and occurred_at < '10000-01-01 00:00:00+00'),
    tenant_id      uuid        not null,
    id             uuid        not null,
    causation_id   uuid,
    -- By the clock of the server, so that no process has to be told; which one a row goes to matters to nobody
    -- but who empties them.
    generation     smallint    not null default ((extract(epoch from now())::bigint / 60) % 3),
    -- Nobody hands over what is in no part.
    partition_id   smallint    not null check (partition_id between 0 and 63),
    event_type     text        not null,
    ordering_key   text        not null,
    project        text,
    module         text,
    correlation_id text,
    trace          text,
    trace_state    text,
    content_type   text        not null,
    payload        bytea       not null,
    primary key (tenant_id, id, generation)
) partition by list (generation);

create table outbox_messages_0 partition of outbox_messages for values in (0);
create table outbox_messages_1 partition of outbox_messages for values in (1);
create table outbox_messages_2 partition of outbox_messages for values in (2);

create index outbox_messages_position on outbox_messages (position);
create index outbox_messages_xid on outbox_messages (xid, position);

-- Rows that were appended elsewhere, by a dump of the data alone or by replication, bear numbers of there, by which
-- nobody can tell here what has left. They get a transaction that none of a cluster reaches, with their number in it,
-- by which a worker finds them and appends them anew in their order.
create function outbox_note_arrival() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    new.xid := (9223372036854775808 + new.position)::text::xid8;
    new.position := nextval(format('%I.outbox_messages_position_seq', tg_table_schema)::regclass);
    return new;
end
$$;
create trigger outbox_messages_arrival before insert on outbox_messages
    for each row when (new.xid <> pg_current_xact_id()) execute function outbox_note_arrival();
-- What replication writes as well.
alter table outbox_messages enable always trigger outbox_messages_arrival;

-- The processes that hand messages over. What one has done stands in one row, whatever it has claimed.
create table outbox_claims (
    token      bigint primary key generated always as identity,
    worker     text   not null unique,
    -- Milliseconds of Unix time, by the clock of the server.
    expires_at bigint not null,
    -- For how long it is claimed at a time, in milliseconds.
    lease      bigint not null,
    position   text   not null default ''
) with (fillfactor = 50);

-- Which process hands over which part of the keys, and how far that is done where it is not as far as
-- the process is with the rest.
create table outbox_partitions (
    partition_id smallint primary key,
    token        bigint,
    position     text default ''
) with (fillfactor = 50);
insert into outbox_partitions (partition_id) select generate_series(0, 63);

-- The cluster that the transaction ids belong to.
create table outbox_cluster (
    only_row boolean primary key default true check (only_row),
    cluster  text    not null
);
-- Before there is a message: a dump may be taken before the first worker runs.
insert into outbox_cluster (cluster) select system_identifier from pg_control_system();

-- Messages of keys that stand still after a failure, and those that were given up.
create table outbox_parked (
    position       bigint      not null,
    occurred_at    timestamptz not null,
    tenant_id      uuid        not null,
    id             uuid        not null,
    causation_id   uuid,
    partition_id   smallint    not null,
    event_type     text        not null,
    ordering_key   text        not null,
    project        text,
    module         text,
    correlation_id text,
    trace          text,
    trace_state    text,
    content_type   text        not null,
    payload        bytea       not null,
    -- 'waiting' for its turn, 'blocked' with its key behind it, 'dead' and passed by.
    state          text        not null check (state in ('waiting', 'blocked', 'dead')),
    attempts       integer     not null default 0,
    next_at        bigint      not null default 0,
    failed_at      bigint,
    reason         text,
    detail         text,
    -- One may come that has the id of one which stands here.
    primary key (tenant_id, id, position)
);
create index outbox_parked_key on outbox_parked (partition_id, tenant_id, ordering_key, position);
create index outbox_parked_position on outbox_parked (position);
create index outbox_parked_due on outbox_parked (partition_id, next_at) where state = 'waiting';

-- What consumers have handled, by the time that the identifier of the message itself tells: the same
-- message is always looked for in the same generation, so that its key is unique over all of them.
create table outbox_inbox (
    generation smallint not null,
    tenant_id  uuid     not null,
    message_id uuid     not null,
    consumer   text     not null,
    primary key (tenant_id, message_id, consumer, generation)
) partition by list (generation);

do $$
begin
    for generation in 0..15 loop
        execute format(
            'create table outbox_inbox_%s partition of outbox_inbox for values in (%1$s)', generation);
    end loop;
end
$$;

select tenantry.protect('outbox_messages');
select tenantry.protect('outbox_parked');
select tenantry.protect('outbox_inbox');
select tenantry.set_access(own, '{}', array['DELETE', 'INSERT', 'SELECT', 'UPDATE'])
from unnest(array['outbox_claims', 'outbox_partitions', 'outbox_cluster']::regclass[]) own;

