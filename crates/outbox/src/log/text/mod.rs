//! The statements, as texts.
//!
//! Most are the same on both databases: `$1` is written `?1` for SQLite, `{now}` is the database's clock in
//! milliseconds, `{lock}` locks the rows where there is more than one writer, `{among $1}` looks in a list
//! of numbers, `{verdicts $1}` is `v`, what became of messages, `{keys $1}` selects keys, and `{of_share $1 $2}` tells whether a row is one of the tenants $1, or if $2 is false, of any other.

mod brought;
mod read;
mod written;

use std::sync::Arc;

use tenantry_store::own::Engine;

use self::brought::{APPEND_ANEW, RENUMBER_PARKED};
use self::read::{
    AWAITED, DUE_IN_PARTS, DUE_OF_KEYS, NEW_POSTGRES, NEW_SQLITE, PARKED_DUE, READ_POSTGRES,
    READ_SQLITE, THEIRS, THEIRS_SQLITE,
};
use self::written::written;

/// The columns of a message, in the order in which rows are read.
pub(crate) const COLUMNS: &str = "position, tenant_id, id, event_type, ordering_key, occurred_at, content_type, \
    payload, project, module, correlation_id, causation_id, trace, trace_state";

/// A snapshot in which a generation has rows, if it has: $1 the generation.
const FILLED: &str = "select pg_current_snapshot()::text \
    where exists (select from {schema}outbox_messages where generation = $1)";

/// Whether a generation has rows of some tenants that have not left: $1 the generation, $2 the parts, $3 the tenants,
/// $4 the snapshot that shows what has left, $5 the one up to which is read, $6 how far that is done, and $7 whether those of
/// the tenants or of all others.
///
/// From the newest transaction on: what has not left is at that end, so that the look at a long backlog is short.
const UNSENT: &str = "select exists (select from (\
    select from {schema}outbox_messages m \
    where m.generation = $1 and m.partition_id {among_parts $2} and {of_share $3 $7} \
        and m.xid >= (select pg_snapshot_xmin($4::text::pg_snapshot)) \
        and not pg_visible_in_snapshot(m.xid, (select $4::text::pg_snapshot)) \
        and not (m.position <= $6 \
            and pg_visible_in_snapshot(m.xid, (select $5::text::pg_snapshot))) \
    order by m.xid desc, m.position desc limit 1) newest)";

/// Whether rows have come to a generation since a snapshot: $1 the generation, $2 the snapshot, $3 the
/// transactions that it names.
const NEWER: &str = "select exists (\
    select from {schema}outbox_messages \
    where generation = $1 and (xid >= pg_snapshot_xmax($2::text::pg_snapshot) \
        or xid = any($3::text::xid8[])))";

#[derive(Debug)]
pub(crate) struct Texts {
    pub(super) claim: Arc<str>,
    pub(super) renew: Arc<str>,
    pub(super) claims: Arc<str>,
    pub(super) lock_dead: Arc<str>,
    pub(super) free: Arc<str>,
    pub(super) unclaim: Arc<str>,
    pub(super) take: Arc<str>,
    pub(super) hold: Arc<str>,
    pub(super) save_main: Arc<str>,
    pub(super) save_side: Arc<str>,
    pub(super) merge: Arc<str>,
    pub(super) release: Arc<str>,
    pub(super) read: Arc<str>,
    pub(super) awaited: Arc<str>,
    pub(super) delete: Arc<str>,
    pub(super) park: Arc<str>,
    pub(super) fail: Arc<str>,
    pub(super) parked_keys: Arc<str>,
    pub(super) due_in_parts: Arc<str>,
    pub(super) due_of_keys: Arc<str>,
    pub(super) bring_forward: Arc<str>,
    pub(super) firsts: Arc<str>,
    pub(super) unpark: Arc<str>,
    pub(super) positions: Arc<str>,
    pub(super) unsent: Arc<str>,
    pub(super) parked_counts: Arc<str>,
    pub(super) current_generation: Arc<str>,
    pub(super) inbox_to_empty: Arc<str>,
    pub(super) forget_inbox: Arc<str>,
    pub(super) clock: Arc<str>,
    pub(super) filled: Arc<str>,
    pub(super) unsent_in: Arc<str>,
    pub(super) newer: Arc<str>,
    pub(super) wait_little: Arc<str>,
    pub(super) truncate: [Arc<str>; 3],
    pub(super) lock_generation: [Arc<str>; 3],
    pub(super) first_cluster: Arc<str>,
    pub(super) is_in_cluster: Arc<str>,
    pub(super) all_positions: Arc<str>,
    pub(super) delete_left: Arc<str>,
    pub(super) has_arrived: Arc<str>,
    pub(super) delete_parked: Arc<str>,
    pub(super) renumber_parked: Arc<str>,
    pub(super) append_anew: Arc<str>,
    pub(super) adopt: Arc<str>,
    pub(super) forget_positions: Arc<str>,
    pub(super) forget_claims: Arc<str>,
    pub(super) enter_cluster: Arc<str>,
}

impl Texts {
    pub(super) fn new(engine: Engine, place: impl Fn(&str) -> Arc<str>) -> Self {
        let text = |text: &str| place(&written(engine, text));
        let on_each = |postgres: &str, sqlite: &str| match engine {
            Engine::Postgres => text(postgres),
            _ => text(sqlite),
        };
        let new = match engine {
            Engine::Postgres => NEW_POSTGRES,
            _ => NEW_SQLITE,
        };
        let theirs = match engine {
            Engine::Postgres => THEIRS,
            _ => THEIRS_SQLITE,
        };
        let due = |of: &str| {
            let all = PARKED_DUE.replace("{due}", of);
            text(&all.replace("{theirs}", theirs))
        };
        let of_generation = |text: &str| {
            [0, 1, 2]
                .map(|generation| place(&format!("{text} {{schema}}outbox_messages_{generation}")))
        };
        Self {
            claim: text(
                "insert into {schema}outbox_claims (worker, expires_at, lease) \
                 values ($1, {now} + $2, $2) returning token, {server}",
            ),
            renew: text(
                "update {schema}outbox_claims set expires_at = {now} + $2 \
                 where token = $1 {and_on_server $3}",
            ),
            claims: text(
                "select token, expires_at < {now}, expires_at > {now} + lease, expires_at, lease \
                 from {schema}outbox_claims",
            ),
            lock_dead: text(
                "select token from {schema}outbox_claims \
                 where token = $1 and expires_at = $2 {lock}",
            ),
            free: text(
                "update {schema}outbox_partitions set token = null, position = coalesce(position, \
                     (select c.position from {schema}outbox_claims c where c.token = $1)) \
                 where token = $1",
            ),
            unclaim: text("delete from {schema}outbox_claims where token = $1"),
            take: text(
                "with free as materialized (\
                     select partition_id from {schema}outbox_partitions \
                     where (token is null or token = $1) and not partition_id {among_parts $3} \
                     order by partition_id limit $2 {lock}) \
                 update {schema}outbox_partitions set token = $1, position = coalesce(position, \
                     (select position from {schema}outbox_claims c \
                         where c.token = outbox_partitions.token), '') \
                 where partition_id in (select partition_id from free) \
                 returning partition_id, position",
            ),
            hold: text(
                "select token from {schema}outbox_claims where token = $1 {and_on_server $2} {keep}",
            ),
            save_main: text(
                "update {schema}outbox_claims set position = {with_horizon $2} \
                 where token = $1 {and_on_server $3} returning position",
            ),
            save_side: text(
                "update {schema}outbox_partitions set position = {with_horizon $2} \
                 where token = $1 and partition_id {among_parts $3} {and_on_server $4} \
                 returning position",
            ),
            merge: text(
                "update {schema}outbox_partitions set position = nullif($2, '') \
                 where token = $1 and partition_id {among_parts $3} {and_on_server $4}",
            ),
            release: text(
                "update {schema}outbox_partitions set token = null, position = {with_horizon $2} \
                 where token = $1 and partition_id {among_parts $3} {and_on_server $4}",
            ),
            read: on_each(
                &READ_POSTGRES.replace("{new}", new),
                &READ_SQLITE.replace("{new}", new),
            ),
            awaited: text(&AWAITED.replace("{new}", new)),
            delete: text("delete from {schema}outbox_messages where position {among $1}"),
            park: text(
                "insert into {schema}outbox_parked ({columns}, partition_id, state) \
                 select {columns}, partition_id, 'waiting' from {schema}outbox_messages \
                 where position {among $1} \
                 on conflict (tenant_id, id, position) do nothing",
            ),
            fail: text(
                "update {schema}outbox_parked set state = v.state, attempts = attempts + v.counts, \
                     next_at = {now} + v.wait, failed_at = {now}, reason = v.reason, detail = v.detail \
                 from {verdicts $1} where outbox_parked.position = v.position",
            ),
            parked_keys: text(
                "select tenant_id, ordering_key, \
                     max(case when state = 'waiting' and next_at > {now} + $2 then 1 else 0 end) = 1, \
                     partition_id \
                 from {schema}outbox_parked \
                 where state <> 'dead' and partition_id {among_parts $1} \
                 group by partition_id, tenant_id, ordering_key",
            ),
            due_in_parts: due(DUE_IN_PARTS),
            due_of_keys: due(DUE_OF_KEYS),
            bring_forward: text(
                "update {schema}outbox_parked set next_at = {now} \
                 where state = 'waiting' and partition_id {among_parts $1} and next_at > {now} + $2",
            ),
            firsts: text(
                "select tenant_id, min(position) from {schema}outbox_messages \
                 where position > $1 and position <= $2 and {of_share $3 $4} group by tenant_id",
            ),
            unpark: text("delete from {schema}outbox_parked where position {among $1}"),
            positions: text(
                "select p.position from {schema}outbox_partitions p where p.position is not null \
                 union select c.position from {schema}outbox_claims c \
                 where c.token in (select token from {schema}outbox_partitions where position is null)",
            ),
            unsent: on_each(
                "select (select occurred_at from {schema}outbox_messages \
                     where position > $1 and not pg_visible_in_snapshot(xid, $2::text::pg_snapshot) \
                     order by position limit 1), \
                 coalesce((select position from {schema}outbox_messages \
                     order by position desc limit 1), 0) - $1, \
                 (select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_all_tables \
                     where relid in (select relid from pg_partition_tree('{schema}outbox_messages'))), \
                 (select count(*) from {schema}outbox_claims \
                     where expires_at between {now} and {now} + lease), \
                 current_database() || '|' || (select relnamespace::regnamespace::text from pg_class \
                     where oid = '{schema}outbox_messages'::regclass), \
                 (select system_identifier::text from pg_control_system()), \
                 (select occurred_at from {schema}outbox_messages order by position limit 1), \
                 (select sum(pg_total_relation_size(relid))::bigint \
                     from pg_partition_tree('{schema}outbox_messages'))",
                "select (select occurred_at from outbox_messages order by position limit 1), \
                 (select count(*) from outbox_messages), 0, \
                 (select count(*) from outbox_claims \
                     where expires_at between {now} and {now} + lease), \
                 (select file from pragma_database_list where name = 'main'), null, \
                 (select occurred_at from outbox_messages order by position limit 1), null",
            ),
            parked_counts: text("select state, count(*) from {schema}outbox_parked group by state"),
            current_generation: text("select (extract(epoch from now())::bigint / 60) % 3"),
            inbox_to_empty: text(
                "select message_id from {schema}outbox_inbox where generation = $1 limit 1",
            ),
            forget_inbox: match engine {
                Engine::Postgres => place("truncate table only {schema}outbox_inbox_"),
                _ => text(
                    "delete from outbox_inbox where (tenant_id, message_id, consumer) in (\
                         select tenant_id, message_id, consumer from outbox_inbox \
                         where generation = $1 limit 2000)",
                ),
            },
            clock: text("select {now}"),
            filled: text(FILLED),
            unsent_in: text(UNSENT),
            newer: text(NEWER),
            wait_little: text("set local lock_timeout = 20"),
            truncate: of_generation("truncate table only"),
            lock_generation: of_generation("lock table only"),
            first_cluster: text(
                "insert into {schema}outbox_cluster (cluster) \
                 select system_identifier from pg_control_system() on conflict do nothing",
            ),
            is_in_cluster: text(
                "select cluster = (select system_identifier::text from pg_control_system()) \
                 from {schema}outbox_cluster for update",
            ),
            all_positions: text(
                "select p.partition_id, coalesce(p.position, c.position, '') \
                 from {schema}outbox_partitions p \
                 left join {schema}outbox_claims c on c.token = p.token",
            ),
            delete_left: text(
                "delete from {schema}outbox_messages where partition_id {among_parts $5} \
                     and {of_share $6 $7} and ($8::boolean or xid < {next_xid}) and (\
                     position <= $4 and pg_visible_in_snapshot(xid, $1::text::pg_snapshot) \
                     or position <= $3 and pg_visible_in_snapshot(xid, $2::text::pg_snapshot))",
            ),
            has_arrived: text("select {arrived}"),
            delete_parked: text(
                "delete from {schema}outbox_messages m using {schema}outbox_parked p \
                 where p.tenant_id = m.tenant_id and p.id = m.id \
                     and (p.position = m.position \
                         or m.xid = (9223372036854775808 + p.position)::text::xid8)",
            ),
            renumber_parked: text(RENUMBER_PARKED),
            append_anew: text(APPEND_ANEW),
            adopt: text("update {schema}outbox_messages set xid = pg_current_xact_id()"),
            forget_positions: text(
                "update {schema}outbox_partitions set token = null, position = ''",
            ),
            forget_claims: text("delete from {schema}outbox_claims"),
            enter_cluster: text(
                "update {schema}outbox_cluster \
                 set cluster = (select system_identifier::text from pg_control_system())",
            ),
        }
    }
}
