//! What is written: columns for people, JSON for programs.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::found::{Listed, Shown};
use crate::blobs::{written_end, written_json};
use crate::figures::Count;
use crate::output::{columns, counted, one_line};

pub(super) fn list(listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    let heads = ["tenant", "rows", "tables", "blobs"].map(str::to_owned);
    let rows = listed.tenants.iter().map(|(tenant, it)| {
        let blobs = if it.has_blobs { "yes" } else { "-" };
        [
            tenant.to_string(),
            number(it.rows()),
            it.tables.len().to_string(),
            blobs.to_owned(),
        ]
    });
    columns(std::iter::once(heads).chain(rows), out)?;
    for table in &listed.unknown {
        writeln!(
            out,
            "not looked at, for it took too long: {}",
            one_line(table)
        )?;
    }
    match listed.is_complete {
        true => writeln!(out, "{}", counted(listed.tenants.len(), "tenant")),
        false => written_end(out, true),
    }
}

pub(super) fn list_json(listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    let tenants = listed.tenants.iter().map(|(tenant, it)| {
        let tables = it.tables.iter();
        let tables: Map<_, _> = tables
            .map(|(name, count)| (name.clone(), shown_count(*count)))
            .collect();
        json!({ "tenant": tenant.to_string(), "tables": tables, "has_blobs": it.has_blobs })
    });
    let tenants: Vec<_> = tenants.collect();
    let answer = json!({
        "tenants": tenants, "is_complete": listed.is_complete, "unknown": listed.unknown,
    });
    written_json(out, &answer)
}

pub(super) fn shown(shown: &Shown, out: &mut impl Write) -> io::Result<()> {
    let mut rows = vec![["tenant".to_owned(), shown.tenant.to_string()]];
    for (table, count) in &shown.tables {
        let count = count.map_or_else(|| "?".to_owned(), number);
        rows.push([format!("rows of {table}"), count]);
    }
    for (state, count) in shown.artifacts.iter().flatten() {
        rows.push([format!("artifacts, {state}"), count.to_string()]);
    }
    for (state, count) in shown.parked.iter().flatten() {
        let state = match state.as_str() {
            "waiting" => "tried again",
            "blocked" => "given up, key blocked",
            "dead" => "given up, passed by",
            other => other,
        };
        rows.push([format!("messages, {state}"), count.to_string()]);
    }
    if let Some(blobs) = &shown.blobs {
        let more = if blobs.is_cut { "+" } else { "" };
        rows.push(["blobs".to_owned(), format!("{}{more}", blobs.count)]);
        rows.push([
            "bytes of blobs".to_owned(),
            format!("{}{more}", blobs.bytes),
        ]);
    }
    columns(rows, out)
}

pub(super) fn shown_json(shown: &Shown, out: &mut impl Write) -> io::Result<()> {
    let tables: Map<_, _> = shown
        .tables
        .iter()
        .map(|(name, count)| (name.clone(), count.map_or(Value::Null, shown_count)))
        .collect();
    let states = |counts: &Option<Vec<(String, u64)>>| {
        counts.as_ref().map(|counts| {
            let counts = counts.iter();
            let counts: Map<_, _> = counts
                .map(|(state, count)| (state.clone(), json!(count)))
                .collect();
            counts
        })
    };
    let blobs = shown
        .blobs
        .as_ref()
        .map(|it| json!({ "count": it.count, "bytes": it.bytes, "is_cut": it.is_cut }));
    let answer = json!({
        "tenant": shown.tenant.to_string(),
        "tables": tables,
        "artifacts": states(&shown.artifacts),
        "messages": states(&shown.parked),
        "blobs": blobs,
    });
    written_json(out, &answer)
}

fn shown_count(count: Count) -> Value {
    json!({ "rows": count.rows, "is_cut": count.is_cut })
}

/// Writes a count, which may be of more than were counted.
fn number(Count { rows, is_cut }: Count) -> String {
    match is_cut {
        true => format!("{rows}+"),
        false => rows.to_string(),
    }
}
