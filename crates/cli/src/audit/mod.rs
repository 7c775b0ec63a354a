//! `tenantry audit`: every way round the walls, for people and for CI.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::postgres;
use tenantry_store::{AuditReport, Finding, Severity};

use crate::Verdict;
use crate::database::{Database, Place};
use crate::output::{self, Roles};

const AUDIT: &str = "audit database";

/// Lists every way in which tenants of a database could reach each other, and what closes it.
///
/// Connect as the role that the services connect as. The URL is taken from TENANTRY_DATABASE_URL
/// where there is no --url, and the password from TENANTRY_DATABASE_PASSWORD: other users of the
/// machine can read the arguments of a command.
///
/// Exits with 0 if there is no error, with 1 if there is one, and with 2 if the database could not
/// be audited.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    database: Database,
    /// What the role is for; PostgreSQL only
    #[arg(long, value_enum, default_value_t = Role::App)]
    role: Role,
    /// Writes one JSON object, with facts and findings
    #[arg(long)]
    json: bool,
    /// Exits with 1 for warnings as well
    #[arg(long, value_enum)]
    deny: Option<Deny>,
    /// Leaves out warnings of this code, which have been decided on; may be given again
    #[arg(long, value_name = "CODE")]
    allow: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// The services: one tenant at a time
    App,
    /// Work across tenants
    Platform,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Whatever is found
    Warnings,
}

/// Audits the database of the options, and writes what was found.
///
/// # Errors
///
/// The kinds of `audit` of either backend; `InvalidSettings` if there is no URL, or none that is
/// known; `Unavailable` if nobody takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let settings = match options.database.place(AUDIT)? {
        Place::Server(settings) => *settings,
        Place::File(path) => return on_sqlite(options, &path, out).await,
    };
    let role = match options.role {
        Role::App => postgres::Role::App,
        Role::Platform => postgres::Role::Platform,
    };
    let report = postgres::audit(settings, role).await?;
    conclude(options, Roles::OfTheServer, &report, out)
}

#[cfg(feature = "sqlite")]
async fn on_sqlite(options: &Options, path: &str, out: &mut impl Write) -> Result<Verdict> {
    use tenantry_store::{SqliteSettings, sqlite};

    let report = sqlite::audit(&SqliteSettings::file(path)).await?;
    conclude(options, Roles::None, &report, out)
}

#[cfg(not(feature = "sqlite"))]
#[allow(clippy::unused_async, reason = "with the feature it waits")]
async fn on_sqlite(_options: &Options, _path: &str, _out: &mut impl Write) -> Result<Verdict> {
    Err(crate::database::without_sqlite(AUDIT))
}

fn conclude<F: Serialize>(
    options: &Options,
    roles: Roles,
    report: &AuditReport<F>,
    out: &mut impl Write,
) -> Result<Verdict> {
    check_allowed(options, report.findings())?;
    let findings: Vec<_> = report
        .findings()
        .iter()
        .filter(|finding| !is_allowed(options, finding))
        .collect();
    let written = if options.json {
        output::json(report.facts(), &findings, out)
    } else {
        let allowed = report.findings().len() - findings.len();
        output::table(roles, &findings, allowed, out)
    };
    written
        .map_err(|cause| Error::new(ErrorKind::Unavailable, "write findings").with_source(cause))?;
    let denies_warnings = options.deny == Some(Deny::Warnings);
    let counts = |finding: &&Finding| denies_warnings || finding.severity == Severity::Error;
    Ok(Verdict::of(
        findings.into_iter().any(|finding| counts(&finding)),
    ))
}

/// Refuses to leave out what is no code, and what lets tenants reach each other.
fn check_allowed(options: &Options, findings: &[Finding]) -> Result<()> {
    for code in &options.allow {
        let is_code = code.strip_prefix("TN").is_some_and(|number| {
            number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        let is_error =
            |finding: &Finding| finding.code == *code && finding.severity == Severity::Error;
        let wrong = match (is_code, findings.iter().any(is_error)) {
            (false, _) => "it is no code of a finding: write it as TN061",
            (true, true) => "it is an error, and errors cannot be left out",
            (true, false) => continue,
        };
        return Err(invalid(wrong).with_subject(format!("--allow {code}")));
    }
    Ok(())
}

fn is_allowed(options: &Options, finding: &Finding) -> bool {
    finding.severity == Severity::Warning && options.allow.contains(&finding.code)
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, AUDIT).with_detail(detail)
}
