//! The statements, as texts.
//!
//! Most are the same on both databases: `$1` is written `?1` for SQLite, `{now}` is the database's clock in
//! milliseconds, `{lock}` locks the rows where there is more than one writer, `{among $1}` looks in a list
//! of numbers, `{verdicts $1}` is `v`, what became of messages, and `{of_share $1 $2}` tells whether a row is one of the tenants $1, or if $2 is false, of any other.

use std::sync::Arc;

use tenantry_store::own::Engine;

/// The columns of a message, in the order in which rows are read.
pub(crate) const COLUMNS: &str = "position, tenant_id, id, event_type, ordering_key, occurred_at, content_type, \
    payload, project, module, correlation_id, causation_id, trace, trace_state";

/// What is new, up to a snapshot: the first row tells that snapshot and the highest position it shows.
///
/// $1 the snapshot before, $2 the one up to which is read, if it is known, $3 the position of the last row
/// that was read, $4 the highest position that $1 shows, $5 the parts, $6 how many rows, $7 the transactions
/// that $1 names as under way, $8 the first one that it does not know the end of, $9 one that began after it, if one is known,
/// $10 and $11 whose rows, $12 the highest position that is looked at.
///
/// The first branch is a scan of the index of positions. Rows below come of transactions that were under way
/// already: those that $1 names, and those that it does not name since none behind them had ended, which
/// lie between $8 and $9. All of them come before the first branch, so that the others are looked at only at the beginning.
/// No index of positions serves there (`+ 0`): it would lead over all that has left.
///
/// What no transaction of this cluster can have written is left where it is: see [`ARRIVED`].
///
/// `{new}` is [`NEW_POSTGRES`].
const READ_POSTGRES: &str = "with now as materialized (\
        select pg_current_snapshot()::text as snapshot, coalesce((\
            select position from {schema}outbox_messages order by position desc limit 1), 0) as highest\
    ) \
    select snapshot, highest, null::uuid, null::uuid, null, null, null::timestamptz, null, null::bytea, \
        null, null, null, null::uuid, null, null from now \
    union all \
    select null, {columns} from ({new}) new";

/// What is new, by the arguments of [`READ_POSTGRES`].
const NEW_POSTGRES: &str = "(select {columns} from {schema}outbox_messages \
            where position > greatest($3::bigint, $4::bigint) and position <= $12::bigint \
                and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot) \
                and ($2::text is null or pg_visible_in_snapshot(xid, $2::text::pg_snapshot)) \
                and xid < {next_xid} and partition_id = any($5::text::smallint[]) and {of_share $10 $11} \
            order by position limit $6::bigint) \
        union all \
        (select {columns} from unnest($7::text::xid8[]) straggler cross join lateral (\
            select {columns} from {schema}outbox_messages \
            where xid = straggler and position > $3::bigint and position <= $4::bigint \
                and ($2::text is null or pg_visible_in_snapshot(xid, $2::text::pg_snapshot)) \
                and partition_id = any($5::text::smallint[]) and {of_share $10 $11} \
            order by position limit $6::bigint) late \
            where $3::bigint < $4::bigint order by position limit $6::bigint) \
        union all \
        (select {columns} from {schema}outbox_messages \
            where $3::bigint < $4::bigint \
                and xid >= $8::text::xid8 and xid < coalesce($9::text::xid8, {next_xid}) \
                and position + 0 > $3::bigint and position + 0 <= $4::bigint \
                and ($2::text is null or pg_visible_in_snapshot(xid, $2::text::pg_snapshot)) \
                and partition_id = any($5::text::smallint[]) and {of_share $10 $11} \
            order by position limit $6::bigint) \
        order by position limit $6::bigint";

/// The same where positions alone tell what is new: every snapshot is as good as another.
const READ_SQLITE: &str = "select '0:0:', (select coalesce(max(position), 0) from outbox_messages), \
        null, null, null, null, null, null, null, null, null, null, null, null, null \
    union all \
    select null, {columns} from ({new}) new";

/// What is new, by the first six arguments of [`READ_POSTGRES`], $7 and $8 whose rows, and $9 the highest position that is
/// looked at.
const NEW_SQLITE: &str = "select {columns} from outbox_messages \
    where position > max(?3, ?4) and position <= ?9 and partition_id in (select value from json_each(?5)) \
        and {of_share $7 $8} \
    order by position limit ?6";

/// Whether there is something to do: new messages, or parked ones that stand behind none that is blocked. The arguments
/// are those of [`READ_POSTGRES`].
const AWAITED: &str = "select exists (select 1 from ({new}) new) or {arrived} or exists (\
    select 1 from {schema}outbox_parked p \
    where p.state = 'waiting' and p.partition_id {among_parts $5} and not exists (\
        select 1 from {schema}outbox_parked b \
        where b.partition_id = p.partition_id and b.tenant_id = p.tenant_id \
            and b.ordering_key = p.ordering_key and b.position < p.position and b.state = 'blocked'))";

/// Whether there are rows that were appended elsewhere: those of a transaction that none which has ended here can be, as
/// the table writes it, or with a number that nobody has drawn here.
const ARRIVED: &str = "(coalesce((\
        select xid from {schema}outbox_messages order by xid desc limit 1) >= {next_xid}, false) \
    or greatest(\
        (select position from {schema}outbox_messages order by position desc limit 1), \
        (select position from {schema}outbox_parked order by position desc limit 1), 0) \
    > coalesce(pg_sequence_last_value('{schema}outbox_messages_position_seq'), 0))";

/// Gives parked messages numbers of here, in their order.
const RENUMBER_PARKED: &str = "with numbered as materialized (\
        select tenant_id, id, position as before, \
            nextval('{schema}outbox_messages_position_seq') as number \
        from (select tenant_id, id, position from {schema}outbox_parked order by position) in_order) \
    update {schema}outbox_parked p set position = number from numbered n \
    where p.tenant_id = n.tenant_id and p.id = n.id and p.position = n.before";

/// Appends all that stands anew: first what was appended elsewhere, then what was here, each in its order.
const APPEND_ANEW: &str = "with standing as (\
        delete from {schema}outbox_messages returning generation, xid, position, {content}, partition_id) \
    insert into {schema}outbox_messages (generation, {content}, partition_id) \
    select generation, {content}, partition_id from standing \
    order by xid >= {next_xid} desc, \
        case when xid >= '9223372036854775808' then xid end, position";

/// Whether all rows of a generation are shown by every snapshot up to which all has left: $1 the
/// generation, $2 those snapshots. Answers the highest position, if there are rows and all have left.
const PRUNABLE: &str = "select max(position), pg_current_snapshot()::text \
    from {schema}outbox_messages m \
    where generation = $1 \
    having count(*) > 0 and not exists (\
        select from {schema}outbox_messages m, unnest($2::text::pg_snapshot[]) done \
        where generation = $1 and xid >= pg_snapshot_xmin(done)::text::xid8 \
            and not pg_visible_in_snapshot(xid, done))";

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
    pub(super) parked_due: Arc<str>,
    pub(super) unpark: Arc<str>,
    pub(super) positions: Arc<str>,
    pub(super) unsent: Arc<str>,
    pub(super) parked_counts: Arc<str>,
    pub(super) current_generation: Arc<str>,
    pub(super) inbox_to_empty: Arc<str>,
    pub(super) forget_inbox: Arc<str>,
    pub(super) clock: Arc<str>,
    pub(super) prunable: Arc<str>,
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
        let of_generation = |text: &str| {
            [0, 1, 2]
                .map(|generation| place(&format!("{text} {{schema}}outbox_messages_{generation}")))
        };
        Self {
            claim: text(
                "insert into {schema}outbox_claims (worker, expires_at, lease) \
                 values ($1, {now} + $2, $2) returning token",
            ),
            renew: text(
                "update {schema}outbox_claims set expires_at = {now} + $2 where token = $1",
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
                     select partition_id from {schema}outbox_partitions where token is null \
                     order by partition_id limit $2 {lock}) \
                 update {schema}outbox_partitions \
                 set token = $1, position = coalesce(position, '') \
                 where partition_id in (select partition_id from free) \
                 returning partition_id, position",
            ),
            hold: text("select token from {schema}outbox_claims where token = $1 {keep}"),
            save_main: text(
                "update {schema}outbox_claims set position = {with_horizon $2} where token = $1 \
                 returning position",
            ),
            save_side: text(
                "update {schema}outbox_partitions set position = {with_horizon $2} \
                 where token = $1 and partition_id {among_parts $3} returning position",
            ),
            merge: text(
                "update {schema}outbox_partitions set position = nullif($2, '') \
                 where token = $1 and partition_id {among_parts $3}",
            ),
            release: text(
                "update {schema}outbox_partitions set token = null, position = {with_horizon $2} \
                 where token = $1 and partition_id {among_parts $3}",
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
                "select distinct tenant_id, ordering_key from {schema}outbox_parked \
                 where state <> 'dead' and partition_id {among_parts $1}",
            ),
            parked_due: text(
                "with due as materialized (\
                     select p.partition_id, p.tenant_id, p.ordering_key, p.next_at \
                     from {schema}outbox_parked p \
                     where p.state = 'waiting' and p.next_at <= {now} \
                         and p.partition_id {among_parts $1} and not exists (\
                         select 1 from {schema}outbox_parked b \
                         where b.partition_id = p.partition_id and b.tenant_id = p.tenant_id \
                             and b.ordering_key = p.ordering_key and b.position < p.position \
                             and b.state <> 'dead') \
                     order by p.next_at, p.position limit 100), \
                 theirs as materialized (\
                     select p.position, p.tenant_id, p.ordering_key, due.next_at, \
                         length(p.payload) as bytes \
                     from due join {schema}outbox_parked p on p.partition_id = due.partition_id \
                         and p.tenant_id = due.tenant_id and p.ordering_key = due.ordering_key \
                     where p.state <> 'dead' \
                     order by due.next_at, p.tenant_id, p.ordering_key, p.position limit $2), \
                 counted as materialized (\
                     select position, next_at, sum(bytes) over (\
                         order by next_at, tenant_id, ordering_key, position) - bytes as ahead \
                     from theirs) \
                 select {p.columns}, p.state, p.attempts \
                 from counted join {schema}outbox_parked p on p.position = counted.position \
                 where counted.ahead < $3 \
                 order by counted.next_at, p.tenant_id, p.ordering_key, p.position",
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
                "select 1 from {schema}outbox_inbox where generation = $1 limit 1",
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
            prunable: text(PRUNABLE),
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

/// Writes a text as the database takes it.
fn written(engine: Engine, text: &str) -> String {
    let p_columns: Vec<_> = COLUMNS
        .split(", ")
        .map(|column| format!("p.{column}"))
        .collect();
    let text = text
        .replace("{columns}", COLUMNS)
        .replace("{content}", COLUMNS.trim_start_matches("position, "))
        .replace("{p.columns}", &p_columns.join(", "));
    match engine {
        Engine::Postgres => {
            let text = text
                .replace("{arrived}", ARRIVED)
                // All that have ended are below.
                .replace(
                    "{next_xid}",
                    "(select pg_snapshot_xmax(pg_current_snapshot()))",
                )
                .replace(
                    "{now}",
                    "(extract(epoch from clock_timestamp()) * 1000)::bigint",
                )
                .replace("{lock}", "for update skip locked")
                .replace("{keep}", "for update");
            // A number that no transaction had when the snapshot of the position was taken.
            let horizon = |text: &str| format!("replace({text}, '?', pg_current_xact_id()::text)");
            let text = among(&text, "{with_horizon ", horizon);
            let text = among(&text, "{of_share ", |arguments| {
                let (tenants, theirs) = arguments.split_once(' ').unwrap_or_default();
                format!("(tenant_id = any({tenants}::text::uuid[])) = {theirs}::boolean")
            });
            let text = among(&text, "{among_parts ", |list| {
                format!("= any({list}::text::smallint[])")
            });
            let text = among(&text, "{verdicts ", |verdicts| {
                format!(
                    "json_to_recordset({verdicts}::text::json) as v(position bigint, state text, \
                     counts integer, wait bigint, reason text, detail text)"
                )
            });
            among(&text, "{among ", |list| {
                format!("= any({list}::text::bigint[])")
            })
        }
        _ => {
            let text = text
                .replace("{arrived}", "false")
                .replace("{now}", "cast(unixepoch('subsec') * 1000 as integer)")
                .replace("{lock}", "")
                .replace("{keep}", "")
                .replace('$', "?");
            let text = among(&text, "{with_horizon ", str::to_owned);
            let text = among(&text, "{of_share ", |arguments| {
                let (tenants, theirs) = arguments.split_once(' ').unwrap_or_default();
                format!("(hex(tenant_id) in (select value from json_each({tenants}))) = {theirs}")
            });
            let text = among(&text, "{verdicts ", |verdicts| {
                let fields = ["position", "state", "counts", "wait", "reason", "detail"];
                let fields = fields.map(|field| format!("value ->> '{field}' as {field}"));
                format!(
                    "(select {} from json_each({verdicts})) as v",
                    fields.join(", ")
                )
            });
            let listed = |list: &str| format!("in (select value from json_each({list}))");
            among(&among(&text, "{among_parts ", listed), "{among ", listed)
        }
    }
}

fn among(text: &str, token: &str, list: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(token);
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (argument, rest) = part.split_once('}').unwrap_or((part, ""));
        written.push_str(&list(argument));
        written.push_str(rest);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_for_each_database() {
        let text = "update t set a = {now} + $1 where p {among_parts $2} and n {among $3} {keep}";
        assert_eq!(
            written(Engine::Postgres, text),
            "update t set a = (extract(epoch from clock_timestamp()) * 1000)::bigint + $1 \
             where p = any($2::text::smallint[]) and n = any($3::text::bigint[]) for update"
        );
        assert_eq!(
            written(Engine::Sqlite, text),
            "update t set a = cast(unixepoch('subsec') * 1000 as integer) + ?1 \
             where p in (select value from json_each(?2)) and n in (select value from json_each(?3)) "
        );
    }
}
