//! The check at connect: is this a role that the wall holds, and does the wall stand?

use std::fmt::Write as _;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tenantry_core::{Error, ErrorKind, Result};

use super::audit::{Role, ServerFacts, inspect};
use super::connect::{CHECK_LIMIT, answered, connect_with};
use super::settings::{BootAudit, PostgresSettings};
use crate::audit::{Finding, Severity};

const OPERATION: &str = "check database";

/// So many problems are told in one error.
const SHOWN: usize = 20;

/// Checks a database as a service does when it connects, over a single connection.
///
/// For a deployment that wants to know before the first request; [`audit`](super::audit()) tells the
/// same and the warnings as data. Everything is read in one transaction and without named
/// statements, so a pooler in transaction mode may stand in between. `select * from
/// tenantry.audit('tenantry_app')` shows the same in SQL.
///
/// # Errors
///
/// The first of these that applies, with all problems in its text, each with what mends it:
///
/// - [`ErrorKind::Unsupported`]: the server is older than PostgreSQL 14.
/// - [`ErrorKind::UnsafeRole`]: the role could get round the wall, or is not the one expected.
/// - [`ErrorKind::SchemaMismatch`]: the schema `tenantry` is missing, older or newer.
/// - [`ErrorKind::InvalidSettings`]: a tenant is set outside any transaction, or row-level security
///   is switched off, by a default of role, database or connection.
/// - [`ErrorKind::UnprotectedTable`]: a table within reach is neither protected nor shared.
/// - the kinds of a connection that fails.
pub async fn verify(
    settings: impl Into<PostgresSettings> + Send,
    role: Role,
) -> Result<ServerFacts> {
    let settings = settings.into().with_boot_audit(BootAudit::Refuse);
    let options = settings.connect_options().await?;
    let mut connection = connect_with(OPERATION, &options, settings.acquire_timeout).await?;
    let outcome = check(OPERATION, &mut connection, &options, &settings, role).await;
    // What was found out stays so, however the server takes the farewell.
    let _ = sqlx::Connection::close(connection).await;
    outcome
}

/// Does what [`verify`] does, on a connection of the caller's, outside any transaction, and as
/// strictly as the settings say. What does not stop the connection is logged.
pub(super) async fn check(
    operation: &'static str,
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    settings: &PostgresSettings,
    role: Role,
) -> Result<ServerFacts> {
    let inspected = inspect(OPERATION, connection, role, &settings.schema);
    let report = answered(operation, options, CHECK_LIMIT, inspected).await?;
    let (facts, findings) = report.into_parts();
    let (refused, let_be): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| stops(finding, settings.boot_audit));
    if !refused.is_empty() {
        return Err(refuse(refused));
    }
    for finding in let_be {
        tracing::warn!(
            target: "tenantry::store",
            code = finding.code,
            severity = %finding.severity,
            object = finding.object,
            fix = %finding.fix,
            "{}",
            finding.problem
        );
    }
    Ok(facts)
}

/// A role that gets round the wall has none, and settings that name a tenant name it for everybody:
/// these are never let be.
fn stops(finding: &Finding, boot_audit: BootAudit) -> bool {
    finding.severity == Severity::Error
        && (boot_audit == BootAudit::Refuse || kind(finding) != ErrorKind::UnprotectedTable)
}

fn kind(finding: &Finding) -> ErrorKind {
    if finding.code.starts_with("TN03") {
        ErrorKind::UnsafeRole
    } else if finding.code.starts_with("TN04") {
        ErrorKind::InvalidSettings
    } else {
        ErrorKind::UnprotectedTable
    }
}

/// Puts all problems into one error, whose kind is that of the gravest, which is told first.
fn refuse(mut findings: Vec<Finding>) -> Error {
    findings.sort_by_key(|finding| match kind(finding) {
        ErrorKind::UnsafeRole => 0,
        ErrorKind::InvalidSettings => 1,
        _ => 2,
    });
    let kind = findings.first().map_or(ErrorKind::Unexpected, kind);
    let mut detail = String::new();
    for (number, finding) in findings.iter().take(SHOWN).enumerate() {
        let separator = if number == 0 { "" } else { "; " };
        let Finding {
            code,
            object,
            problem,
            fix,
            ..
        } = finding;
        // Writing to a String does not fail.
        let _ = write!(detail, "{separator}{code} {object}: {problem} (fix: {fix})");
    }
    if let Some(more) = findings.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = write!(detail, "; and {more} more");
    }
    Error::new(kind, OPERATION).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Fix;

    fn finding(severity: Severity, code: &str, object: impl Into<String>) -> Finding {
        let object = object.into();
        let fix = Fix::Owner(format!("select tenantry.protect('{object}')"));
        Finding::new(severity, code, object, "row-level security is off", fix)
    }

    #[test]
    fn the_gravest_problem_gives_the_kind_and_the_list_is_bounded() {
        let table = |number| finding(Severity::Error, "TN050", format!("t{number}"));
        let mut problems: Vec<_> = (0..30).map(table).collect();
        assert_eq!(refuse(problems.clone()).kind(), ErrorKind::UnprotectedTable);
        problems.push(finding(Severity::Error, "TN033", "app"));
        let error = refuse(problems);
        assert_eq!(error.kind(), ErrorKind::UnsafeRole);
        let text = error.to_string();
        assert!(
            text.contains("TN033 app: ")
                && text.contains(
                    "t18: row-level security is off (fix: select tenantry.protect('t18'))"
                )
        );
        assert!(
            text.ends_with("; and 11 more") && !text.contains("t19"),
            "{text}"
        );
    }

    #[test]
    fn only_tables_are_let_be() {
        for (severity, code, refuses, warns) in [
            (Severity::Error, "TN030", true, true),
            (Severity::Error, "TN040", true, true),
            (Severity::Error, "TN050", true, false),
            (Severity::Error, "TN006", true, false),
            (Severity::Warning, "TN063", false, false),
        ] {
            let finding = finding(severity, code, "t");
            assert_eq!(stops(&finding, BootAudit::Refuse), refuses, "{code}");
            assert_eq!(stops(&finding, BootAudit::Warn), warns, "{code}");
        }
    }
}
