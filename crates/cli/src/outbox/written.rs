//! What is written: lines for people, JSON for programs.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tenantry_outbox::{DeadLetter, DeadLetterGroup, OutboxStatus};

use crate::blobs::written_end;
use crate::output::one_line;

pub(super) fn status(status: &OutboxStatus, json: bool, out: &mut impl Write) -> io::Result<()> {
    let oldest = status.oldest_unsent.map(shown);
    if json {
        let status = json!({
            "database": status.database,
            "cluster": status.cluster,
            "workers": status.workers,
            "backlog": status.backlog,
            "oldest_unsent": oldest,
            "waiting": status.waiting,
            "blocked": status.blocked,
            "dead": status.dead,
            "dead_tuples": status.dead_tuples,
            "oldest_kept": status.oldest_kept.map(shown),
            "bytes": status.bytes,
        });
        return object(&status, out);
    }
    let kept = status.oldest_kept.map(shown);
    let bytes = status.bytes.map(|it| it.to_string());
    for (name, value) in [
        ("workers", status.workers.to_string()),
        ("not sent", status.backlog.to_string()),
        ("oldest of them", oldest.unwrap_or_else(|| "-".to_owned())),
        ("parked, tried again", status.waiting.to_string()),
        ("given up, key blocked", status.blocked.to_string()),
        ("given up, passed by", status.dead.to_string()),
        ("rows to clean up", status.dead_tuples.to_string()),
        ("oldest row", kept.unwrap_or_else(|| "-".to_owned())),
        ("bytes of the log", bytes.unwrap_or_else(|| "-".to_owned())),
    ] {
        writeln!(out, "{name:22} {value}")?;
    }
    Ok(())
}

pub(super) fn letters(
    letters: &[DeadLetter],
    is_cut: bool,
    json: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    if json {
        let letters = letters.iter().map(|letter| {
            json!({
                "id": letter.id.to_string(),
                "tenant": letter.tenant.to_string(),
                "type": letter.event_type,
                "key": letter.key,
                "occurred_at": shown(letter.occurred_at),
                "failed_at": shown(letter.failed_at),
                "attempts": letter.attempts,
                "is_blocking": letter.is_blocking,
                "reason": letter.reason,
                "detail": letter.detail,
                "bytes": letter.payload_bytes,
            })
        });
        let letters: Vec<_> = letters.collect();
        return object(&json!({ "dead": letters, "is_complete": !is_cut }), out);
    }
    for letter in letters {
        writeln!(
            out,
            "{}  {}  {}  key {}  tenant {}",
            shown(letter.failed_at),
            letter.id,
            one_line(&letter.event_type),
            one_line(&letter.key),
            letter.tenant,
        )?;
        let then = if letter.is_blocking {
            "blocks its key"
        } else {
            "was passed by"
        };
        writeln!(
            out,
            "{:22}{then} after {} attempts, {}: {}",
            "",
            letter.attempts,
            one_line(&letter.reason),
            one_line(&letter.detail)
        )?;
    }
    match is_cut {
        true => written_end(out, true),
        false => writeln!(out, "{} given up", letters.len()),
    }
}

pub(super) fn groups(
    groups: &[DeadLetterGroup],
    json: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    if json {
        let groups = groups.iter().map(|group| {
            json!({
                "type": group.event_type,
                "reason": group.reason,
                "is_blocking": group.is_blocking,
                "count": group.count,
                "tenants": group.tenants,
                "oldest": shown(group.oldest),
            })
        });
        let groups: Vec<_> = groups.collect();
        return object(&json!({ "groups": groups }), out);
    }
    for group in groups {
        let then = if group.is_blocking {
            "block their keys"
        } else {
            "passed by"
        };
        writeln!(
            out,
            "{:>8}  {}  {}, {then}, of {} tenants, since {}",
            group.count,
            one_line(&group.event_type),
            one_line(&group.reason),
            group.tenants,
            shown(group.oldest)
        )?;
    }
    let count: u64 = groups.iter().map(|group| group.count).sum();
    writeln!(out, "{count} given up")
}

pub(super) fn changed(what: &str, count: u64, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        return object(&json!({ what: count }), out);
    }
    writeln!(out, "{count} {what}")
}

fn object(value: &Value, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
