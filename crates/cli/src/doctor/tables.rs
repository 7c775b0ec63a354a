//! What is the same on both databases: migrations, and the tables of the outbox.

use tenantry_core::{Error, ErrorKind};
use tenantry_store::Migrations;

use super::Plan;
use super::check::Sheet;

/// Tells which migrations have not run.
pub(super) fn pending(sheet: &mut Sheet, migrations: &Migrations, pending: &[i64]) {
    if pending.is_empty() {
        let all = migrations.versions().count();
        return sheet.ok("migrations", format!("all {all} have run"));
    }
    let numbers: Vec<_> = pending
        .iter()
        .map(|number| format!("{number:04}"))
        .collect();
    sheet.failure(
        "migrations",
        format!("not run yet: {}", numbers.join(", ")),
        "as owner: tenantry migrate --migrations <the same folder>",
    );
}

/// Tells why migrations could not be compared, or differ.
pub(super) fn not_compared(sheet: &mut Sheet, error: &Error) {
    match error.kind() {
        // The text names the migration, and what became of it.
        ErrorKind::SchemaMismatch => sheet.failure(
            "migrations",
            error.to_string(),
            "take the migrations of the version that runs here, and never change one that has run",
        ),
        _ => sheet.failed("migrations", error),
    }
}

/// Tells whether the tables of the outbox are there, and returns it.
pub(super) fn outbox<'t>(
    sheet: &mut Sheet,
    tables: &[String],
    expected: impl Iterator<Item = &'t str>,
    plan: &Plan,
) -> bool {
    let missing: Vec<_> = expected
        .filter(|expected| !tables.iter().any(|table| table == expected))
        .collect();
    let is_there = tables.iter().any(|table| table == "outbox_messages");
    match (is_there, plan.has_broker) {
        (true, _) if missing.is_empty() => sheet.ok("outbox tables", "all are there"),
        (true, _) => sheet.failure(
            "outbox tables",
            format!("an older outbox: {} missing", missing.join(", ")),
            "run the migrations of the outbox's newer tables, as the changelog tells them",
        ),
        (false, true) => sheet.failure(
            "outbox tables",
            "the settings name a broker, and there is no table outbox_messages",
            "put OUTBOX_POSTGRES or OUTBOX_SQLITE of tenantry-outbox into a migration, and run `tenantry migrate`",
        ),
        (false, false) => {}
    }
    is_there
}
