//! What is new to a position, and whether there is something.

/// What is new, up to a snapshot: the first row tells that snapshot, the highest position it shows, and the server.
///
/// $1 the snapshot before, $2 the one up to which is read, if it is known, $3 the position of the last row
/// that was read, $4 the highest position that $1 shows, $5 the parts, NULL for all, $6 how many rows, $7 the transactions
/// that $1 names as under way, $8 the first one that it does not know the end of, $9 one that began after it, or one that none reaches,
/// $10 and $11 whose rows, $12 the highest position that is looked at.
///
/// The first branches are scans of the index of positions, one for each generation: there it brings the rows in
/// their order, so that the scan ends with the last row that is wanted, whatever the server reckons of how many there are.
/// Rows below come of transactions that were under way already: those that $1 names, and those that it does not
/// name since none behind them had ended, which lie between $8 and $9. All of them come before the first branches, so
/// that the others are looked at only at the beginning. No index of positions serves there (pairs, and `+ 0`): it would lead
/// over all that has left, and all that waits in lanes.
///
/// What no transaction of this cluster can have written is left where it is: see [`ARRIVED`](super::brought::ARRIVED).
///
/// It wants a plan that is kept and goes by indexes: to make one takes as long as to read some hundred rows, and where
/// the server takes a generation for empty, or a range for narrow, it would look through all of it. Such a plan would
/// read the text of a snapshot for each row, were that not a query of its own.
pub(super) const READ_POSTGRES: &str = "with now as materialized (\
        select pg_current_snapshot()::text as snapshot, coalesce((\
            select position from {schema}outbox_messages order by position desc limit 1), 0) as highest\
    ) \
    select snapshot, highest, null::uuid, null::uuid, {server}::text, null, null::timestamptz, null, null::bytea, \
        null, null, null, null::uuid, null, null from now \
    union all \
    select null, {columns} from ({new}) new";

/// What is new, by the arguments of [`READ_POSTGRES`].
pub(super) const NEW_POSTGRES: &str = "{in_generation 0} union all {in_generation 1} union all {in_generation 2} \
        union all \
        (select {columns} from unnest($7::text::xid8[]) straggler cross join lateral (\
            select {columns} from {schema}outbox_messages \
            where (xid, position) > (straggler, $3::bigint) and (xid, position) <= (straggler, $4::bigint) \
                and ($2::text is null or pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))) \
                and {of_parts $5} and {of_share $10 $11} \
            order by xid, position limit $6::bigint) late \
            where $3::bigint < $4::bigint order by position limit $6::bigint) \
        union all \
        (select {columns} from {schema}outbox_messages \
            where $3::bigint < $4::bigint \
                and xid >= $8::text::xid8 and xid < $9::text::xid8 and xid < {next_xid} \
                and position + 0 > $3::bigint and position + 0 <= $4::bigint \
                and ($2::text is null or pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))) \
                and {of_parts $5} and {of_share $10 $11} \
            order by position + 0 limit $6::bigint) \
        order by position limit $6::bigint";

/// What lies ahead of a position in one generation, by the same arguments.
pub(super) const IN_GENERATION: &str = "(select {columns} from {schema}outbox_messages \
            where generation = {generation} \
                and position > greatest($3::bigint, $4::bigint) and position <= $12::bigint \
                and not pg_visible_in_snapshot(xid, (select $1::text::pg_snapshot)) \
                and ($2::text is null or pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))) \
                and xid < {next_xid} and {of_parts $5} and {of_share $10 $11} \
            order by position limit $6::bigint)";

/// The same where positions alone tell what is new: every snapshot is as good as another.
pub(super) const READ_SQLITE: &str = "select '0:0:', (select coalesce(max(position), 0) from outbox_messages), \
        null, null, null, null, null, null, null, null, null, null, null, null, null \
    union all \
    select null, {columns} from ({new}) new";

/// What is new, by the first six arguments of [`READ_POSTGRES`], $7 and $8 whose rows, and $9 the highest position that is
/// looked at.
pub(super) const NEW_SQLITE: &str = "select {columns} from outbox_messages \
    where position > max(?3, ?4) and position <= ?9 and {of_parts $5} and {of_share $7 $8} \
    order by position limit ?6";

/// Whether there is something to do: new messages, or parked ones that stand behind none that is blocked. The arguments
/// are those of [`READ_POSTGRES`].
pub(super) const AWAITED: &str = "select exists (select 1 from ({new}) new) or {arrived} or {left_behind} or exists (\
    select 1 from {schema}outbox_parked p \
    where p.state = 'waiting' and {of_parts $5} and not exists (\
        select 1 from {schema}outbox_parked b \
        where b.partition_id = p.partition_id and b.tenant_id = p.tenant_id \
            and b.ordering_key = p.ordering_key and b.position < p.position and b.state = 'blocked'))";

/// Whether nobody has a part that is not as far as the snapshot $1: who had it has died, or gave it back with messages left.
pub(super) const LEFT_BEHIND: &str = "exists (\
    select 1 from (\
        select coalesce(p.position, c.position, '') as position \
        from {schema}outbox_partitions p left join {schema}outbox_claims c on c.token = p.token \
        where c.token is null or c.expires_at < {now}) free \
    where case when position = '' or position like '%~%' or split_part(position, '|', 2) <> '' then true \
        else split_part(position, '|', 1) <> $1 \
            and split_part(position, ':', 2)::numeric <= split_part($1, ':', 2)::numeric end)";

/// The same where what has left is deleted.
pub(super) const LEFT_BEHIND_SQLITE: &str = "exists (select 1 from outbox_messages)";

/// The messages of parked keys whose turn it is, $1 where these are looked for, $2 how many, $3 of how many bytes: of the keys
/// that have waited longest, each in order. Whatever a key has, no more is looked at of it than may come.
pub(super) const PARKED_DUE: &str = "with {due}, \
    theirs as materialized (\
        select p.position, p.tenant_id, p.ordering_key, due.next_at, \
            length(p.payload) as bytes \
        {theirs} \
        order by due.next_at, p.tenant_id, p.ordering_key, p.position limit $2), \
    counted as materialized (\
        select position, next_at, sum(bytes) over (\
            order by next_at, tenant_id, ordering_key, position) - bytes as ahead \
        from theirs) \
    select {p.columns}, p.state, p.attempts \
    from counted join {schema}outbox_parked p on p.position = counted.position \
    where counted.ahead < $3 \
    order by counted.next_at, p.tenant_id, p.ordering_key, p.position";

/// The keys of some parts that are due. Of one that has many, all are looked at, for each of them may be the first.
pub(super) const DUE_IN_PARTS: &str = "due as materialized (\
        select p.partition_id, p.tenant_id, p.ordering_key, p.next_at \
        from {schema}outbox_parked p \
        where p.state = 'waiting' and p.next_at <= {now} \
            and p.partition_id {among_parts $1} and not exists (\
            select 1 from {schema}outbox_parked b \
            where b.partition_id = p.partition_id and b.tenant_id = p.tenant_id \
                and b.ordering_key = p.ordering_key and b.position < p.position \
                and b.state <> 'dead') \
        order by p.next_at, p.position limit 100)";

/// Those of some keys that are due: of each the first message is looked at.
pub(super) const DUE_OF_KEYS: &str = "keys as materialized ({keys $1}), \
    firsts as materialized (\
        select partition_id, tenant_id, ordering_key, (\
            select p.position from {schema}outbox_parked p \
            where p.partition_id = keys.partition_id and p.tenant_id = keys.tenant_id \
                and p.ordering_key = keys.ordering_key and p.state <> 'dead' \
            order by p.position limit 1) as first \
        from keys), \
    due as materialized (\
        select firsts.partition_id, firsts.tenant_id, firsts.ordering_key, p.next_at \
        from firsts join {schema}outbox_parked p on p.position = firsts.first \
        where p.state = 'waiting' and p.next_at <= {now} \
        order by p.next_at, p.position limit 100)";

/// What the keys that are due have, by the index of keys.
pub(super) const THEIRS: &str = "from due cross join lateral (\
        select position, tenant_id, ordering_key, payload from {schema}outbox_parked \
        where partition_id = due.partition_id and tenant_id = due.tenant_id \
            and ordering_key = due.ordering_key and state <> 'dead' \
        order by position limit $2) p";

/// The same where nothing is lateral.
pub(super) const THEIRS_SQLITE: &str = "from due join {schema}outbox_parked p on p.position in (\
        select position from {schema}outbox_parked \
        where partition_id = due.partition_id and tenant_id = due.tenant_id \
            and ordering_key = due.ordering_key and state <> 'dead' \
        order by position limit $2)";
