//! Rows that were brought from another cluster by themselves.

/// Whether there are rows that were appended elsewhere: those of a transaction that none which has ended here can be, as
/// the table writes it, or with a number that nobody has drawn here.
pub(super) const ARRIVED: &str = "(coalesce((\
        select xid from {schema}outbox_messages order by xid desc limit 1) >= {next_xid}, false) \
    or greatest(\
        (select position from {schema}outbox_messages order by position desc limit 1), \
        (select position from {schema}outbox_parked order by position desc limit 1), 0) \
    > coalesce(pg_sequence_last_value('{schema}outbox_messages_position_seq'), 0))";

/// Gives parked messages numbers of here, in their order.
pub(super) const RENUMBER_PARKED: &str = "with numbered as materialized (\
        select tenant_id, id, position as before, \
            nextval('{schema}outbox_messages_position_seq') as number \
        from (select tenant_id, id, position from {schema}outbox_parked order by position) in_order) \
    update {schema}outbox_parked p set position = number from numbered n \
    where p.tenant_id = n.tenant_id and p.id = n.id and p.position = n.before";

/// Appends all that stands anew: first what was appended elsewhere, then what was here, each in its order.
pub(super) const APPEND_ANEW: &str = "with standing as (\
        delete from {schema}outbox_messages returning generation, xid, position, {content}, partition_id) \
    insert into {schema}outbox_messages (generation, {content}, partition_id) \
    select generation, {content}, partition_id from standing \
    order by xid >= {next_xid} desc, \
        case when xid >= '9223372036854775808' then xid end, position";
