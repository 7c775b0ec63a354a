//! A database in a file.

use tenantry_core::ErrorKind;
use tenantry_store::{Finding, Severity, SqliteSettings, sqlite};

use super::check::Sheet;
use super::{Plan, folder, tables};

/// The tables of an outbox on SQLite.
const OUTBOX: [&str; 5] = [
    "outbox_messages",
    "outbox_claims",
    "outbox_partitions",
    "outbox_parked",
    "outbox_inbox",
];

pub(super) async fn look(sheet: &mut Sheet, settings: &SqliteSettings, is_app: bool, plan: &Plan) {
    let Some(path) = settings.path() else {
        return sheet.warning(
            "connection",
            "the database is in memory, and gone with the process",
            "let the url lead to a file: sqlite:/var/lib/<service>/tenants.db",
        );
    };
    let place = path.display().to_string();
    let is_there = {
        let path = path.to_owned();
        sheet.answer(folder::blocking(move || path.is_file())).await
    };
    if let Ok(false) = is_there {
        return sheet.failure(
            "connection",
            format!("there is no file {place}"),
            format!(
                "tenantry migrate --url sqlite:{place} --migrations migrations, or correct the url"
            ),
        );
    }
    let Some(probe) = sheet.ask("connection", sqlite::probe(settings)).await else {
        return;
    };
    sheet.ok(
        "connection",
        format!("{place}, SQLite {}", probe.sqlite_version),
    );
    if !is_app {
        return;
    }
    if probe.journal_mode != "wal" {
        sheet.warning(
            "journal",
            format!(
                "it is kept as {}, so that who reads waits for who writes",
                probe.journal_mode
            ),
            format!("sqlite3 {place} 'pragma journal_mode = wal'"),
        );
    }
    // The journal is made beside the file.
    if let Some(above) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        folder::look(sheet, "folder", above.to_owned(), false).await;
    }
    if let Some(report) = sheet.ask("isolation", sqlite::audit(settings)).await {
        let findings = report.findings().iter();
        let findings: Vec<_> = findings.filter(|it| !is_of_outbox(it)).collect();
        if findings.is_empty() {
            let count = report.facts().tenant_tables;
            sheet.ok(
                "isolation",
                format!("{count} tables hold rows of tenants, each with its tenant"),
            );
        }
        for finding in findings {
            let found = format!("{} {}: {}", finding.code, finding.object, finding.problem);
            let fix = finding.fix.text().to_owned();
            match finding.severity {
                Severity::Warning => sheet.warning("isolation", found, fix),
                _ => sheet.failure("isolation", found, fix),
            }
        }
    }
    history(sheet, settings, probe.has_history, &place, plan).await;
    tables::outbox(sheet, &probe.tables, OUTBOX.into_iter(), plan);
}

/// Returns whether a finding is of a table that Tenantry made as it is: its numbers are drawn for all tenants, and a
/// worker goes by them.
fn is_of_outbox(finding: &Finding) -> bool {
    let is_known = matches!(&*finding.code, "TN006" | "TN015");
    is_known && OUTBOX.contains(&&*finding.object)
}

async fn history(
    sheet: &mut Sheet,
    settings: &SqliteSettings,
    has_history: bool,
    place: &str,
    plan: &Plan,
) {
    match (has_history, &plan.migrations) {
        (false, _) => sheet.failure(
            "migrations",
            "none was ever run",
            format!("tenantry migrate --url sqlite:{place} --migrations migrations"),
        ),
        (true, None) => sheet.ok(
            "migrations",
            "some have run; --migrations FOLDER compares them",
        ),
        (true, Some(migrations)) => {
            let pending = sqlite::pending_migrations(settings, migrations);
            match sheet.answer(pending).await {
                Ok(pending) => tables::pending(sheet, migrations, &pending),
                Err(error) if error.kind() == ErrorKind::SchemaMismatch => {
                    tables::not_compared(sheet, &error);
                }
                Err(error) => sheet.failed("migrations", &error),
            }
        }
    }
}
