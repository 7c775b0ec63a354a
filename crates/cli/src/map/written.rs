//! What is written: columns for people, JSON for programs.

use std::io::{self, Write};

use chrono::SecondsFormat;
use serde_json::{Value, json};
use tenantry_core::StoreDescriptor;

use super::Mapped;
use crate::blobs::written_json;
use crate::figures::Table;
use crate::output::columns;

/// Writes a line for each store.
pub(super) fn plain(stores: &[Mapped], out: &mut impl Write) -> io::Result<()> {
    let rows = stores.iter().map(|Mapped { descriptor: it, .. }| {
        [
            it.store.to_string(),
            it.backend.to_string(),
            it.owners.to_string(),
            it.retention.to_string(),
            it.notes.to_owned(),
        ]
    });
    let heads = ["store", "backend", "owner", "retention", ""].map(str::to_owned);
    columns(std::iter::once(heads).chain(rows), out)
}

/// Writes a line for each store, with its tables below it, and last the tables of which nobody knows where they
/// belong.
pub(super) fn with_figures(
    stores: &[Mapped],
    unassigned: &[Table],
    out: &mut impl Write,
) -> io::Result<()> {
    let heads = [
        "store",
        "backend",
        "owner",
        "retention",
        "size",
        "rows",
        "oldest row",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    for Mapped { descriptor, tables } in stores {
        let it = descriptor;
        let sum = Sum::of(tables);
        rows.push([
            it.store.to_string(),
            it.backend.to_string(),
            it.owners.to_string(),
            it.retention.to_string(),
            sum.as_ref().map_or_else(String::new, |it| size(it.bytes)),
            sum.as_ref()
                .map_or_else(String::new, |it| number(it.rows, it.is_estimate)),
            String::new(),
        ]);
        rows.extend(tables.iter().map(line));
    }
    if !unassigned.is_empty() {
        let mut head: [String; 7] = Default::default();
        "of no store: --table TABLE=STORE".clone_into(&mut head[0]);
        rows.push(head);
        rows.extend(unassigned.iter().map(line));
    }
    columns(rows, out)
}

fn line(table: &Table) -> [String; 7] {
    let oldest = match (&table.oldest, &table.time_column) {
        (Some(oldest), _) => oldest.to_rfc3339_opts(SecondsFormat::Secs, true),
        (None, Some(_)) if table.rows != Some(0) => "?".to_owned(),
        _ => "-".to_owned(),
    };
    [
        format!("  {}", table.name),
        String::new(),
        String::new(),
        String::new(),
        size(table.bytes),
        number(table.rows, table.is_estimate),
        oldest,
    ]
}

/// What the tables of a store have together; unknown where it is of one.
struct Sum {
    bytes: Option<u64>,
    rows: Option<u64>,
    is_estimate: bool,
}

impl Sum {
    fn of(tables: &[Table]) -> Option<Self> {
        (!tables.is_empty()).then(|| Self {
            bytes: tables.iter().map(|it| it.bytes).sum(),
            rows: tables.iter().map(|it| it.rows).sum(),
            is_estimate: tables.iter().any(|it| it.is_estimate),
        })
    }
}

/// Writes a number of bytes as people read it.
fn size(bytes: Option<u64>) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let Some(bytes) = bytes else {
        return "?".to_owned();
    };
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

fn number(rows: Option<u64>, is_estimate: bool) -> String {
    match (rows, is_estimate) {
        (None, _) => "?".to_owned(),
        (Some(rows), true) => format!("~{rows}"),
        (Some(rows), false) => rows.to_string(),
    }
}

/// Writes one object; what a database tells is there if one was looked at.
pub(super) fn json(
    stores: &[Mapped],
    unassigned: Option<&[Table]>,
    out: &mut impl Write,
) -> io::Result<()> {
    let shown: Vec<_> = stores
        .iter()
        .map(|it| {
            let mut store = shown(it.descriptor);
            if unassigned.is_some() {
                let sum = Sum::of(&it.tables);
                let oldest = it.tables.iter().filter_map(|it| it.oldest).min();
                store["tables"] = json!(it.tables);
                store["bytes"] = json!(sum.as_ref().and_then(|it| it.bytes));
                store["rows"] = json!(sum.as_ref().and_then(|it| it.rows));
                store["oldest"] = json!(oldest);
            }
            store
        })
        .collect();
    let mut map = json!({ "stores": shown });
    if let Some(unassigned) = unassigned {
        map["unassigned"] = json!(unassigned);
    }
    written_json(out, &map)
}

fn shown(it: &StoreDescriptor) -> Value {
    json!({
        "store": it.store.as_str(),
        "backend": it.backend.as_str(),
        "owner": it.owners.to_string(),
        "access": it.access.as_str(),
        "retention": it.retention.to_string(),
        "notes": it.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_the_unit_that_people_read() {
        for (bytes, text) in [
            (Some(0), "0 B"),
            (Some(1_023), "1023 B"),
            (Some(1_536), "1.5 KiB"),
            (Some(8_192), "8.0 KiB"),
            (Some(5 << 30), "5.0 GiB"),
            (Some(u64::MAX), "16777215.9 TiB"),
            (None, "?"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
