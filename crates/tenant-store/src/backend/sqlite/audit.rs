use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tenantry_core::Result;

use super::error::driver_error;
use super::schema::accepts;
use super::schema::isolation::{all_foreign_key_problems, own_problems};
use super::settings::SqliteSettings;
use crate::audit::{AuditReport, Finding, Fix, Severity};
use crate::statement::TENANT;
use crate::value::ColumnType;

const OPERATION: &str = "audit database";

/// The tables, and of their column of the tenant the declared type, whether it may be null, whether
/// an index begins with it, and whether the table is virtual.
const TABLES: &str = "SELECT s.name, upper(c.type), c.\"notnull\" = 0 AND c.pk = 0, \
     EXISTS (SELECT 1 FROM pragma_index_list(s.name) AS i, pragma_index_info(i.name) AS k \
         WHERE NOT i.partial AND k.seqno = 0 AND k.name = c.name COLLATE NOCASE) \
         OR (SELECT p.name FROM pragma_table_xinfo(s.name) AS p WHERE p.pk = 1) \
             = c.name COLLATE NOCASE, \
     EXISTS (SELECT 1 FROM pragma_table_list AS l \
         WHERE l.schema = 'main' AND l.name = s.name AND l.type = 'virtual') \
     FROM sqlite_schema AS s, pragma_table_xinfo(s.name) AS c \
     WHERE s.type = 'table' AND c.name = 'tenant_id' COLLATE NOCASE ORDER BY s.name";

/// The indexes of a table that do not begin with the tenant, but for unique ones without it, which are
/// told of as such.
const INDEXES_ASTRAY: &str = "SELECT i.name FROM pragma_index_list($1) AS i \
     WHERE i.origin = 'c' \
     AND NOT EXISTS (SELECT 1 FROM pragma_index_info(i.name) AS k \
         WHERE k.seqno = 0 AND k.name = 'tenant_id' COLLATE NOCASE) \
     AND (NOT i.\"unique\" OR EXISTS (SELECT 1 FROM pragma_index_info(i.name) AS k \
         WHERE k.name = 'tenant_id' COLLATE NOCASE)) ORDER BY i.name";

/// What is known of an SQLite database after its audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LibraryFacts {
    /// The version of SQLite, such as `3.50.2`.
    pub sqlite_version: String,
    /// How many tables hold tenants' rows.
    pub tenant_tables: usize,
}

/// Looks for every way in which the tables of a file let tenants reach each other, whichever
/// aggregates a service has.
///
/// Tables without `tenant_id` are taken for shared by all tenants. Triggers and views are not
/// looked at. The file must be there, and nothing is written to it.
///
/// # Errors
///
/// `Unavailable` if the file is not there, and the kinds of opening one.
///
/// # Cancel safety
///
/// Dropped, it closes its connection; it changes nothing.
///
/// # Examples
///
/// ```
/// use tenantry_store::{Migrations, SqliteSettings, sqlite};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_store::Result<()> {
/// const NOTES: &str = "create table notes (tenant_id blob not null, id integer primary key) strict";
///
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "notes", NOTES)])).await?;
/// let report = sqlite::audit(&settings).await?;
/// let codes: Vec<_> = report.findings().iter().map(|finding| &*finding.code).collect();
/// assert_eq!(codes, ["TN006", "TN009"]);
/// # Ok(())
/// # }
/// ```
pub async fn audit(settings: &SqliteSettings) -> Result<AuditReport<LibraryFacts>> {
    settings.check(OPERATION)?;
    let mut connection = settings
        .existing_options()
        .connect()
        .await
        .map_err(|error| driver_error(OPERATION, &error))?;
    let outcome = inspect(&mut connection).await;
    // What was found out stays so, however the file is closed.
    let _ = connection.close().await;
    outcome.map_err(|error| driver_error(OPERATION, &error))
}

async fn inspect(
    connection: &mut SqliteConnection,
) -> Result<AuditReport<LibraryFacts>, sqlx::Error> {
    let sqlite_version = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut *connection)
        .await?;
    let tables: Vec<(String, String, bool, bool, bool)> =
        sqlx::query_as(TABLES).fetch_all(&mut *connection).await?;
    let mut findings = Vec::new();
    let mut problems = all_foreign_key_problems(connection).await?;
    for (table, column_type, is_nullable, has_index, is_virtual) in &tables {
        let mut find = |code, problem: String, fix| {
            findings.push(Finding::new(Severity::Error, code, table, problem, fix));
        };
        if *is_virtual {
            // It has neither types nor keys nor indexes that could be right or wrong.
            find(
                "TN057",
                "it is virtual: what its module tells of its rows keeps to no tenant, and \
                 hand-written SQL on it is refused"
                    .to_owned(),
                Fix::Advice("keep tenants' rows in a plain table".to_owned()),
            );
            continue;
        }
        if !accepts(ColumnType::Uuid, column_type) {
            find(
                "TN004",
                format!("its column {TENANT} is {column_type}, which would convert what is stored"),
                Fix::Advice("declare it blob not null".to_owned()),
            );
        }
        if *is_nullable {
            find(
                "TN005",
                format!("its column {TENANT} may be null"),
                Fix::Advice("declare it not null".to_owned()),
            );
        }
        if !has_index {
            let quoted = table.replace('"', "\"\"");
            find(
                "TN009",
                format!("no index of it begins with {TENANT}"),
                Fix::Owner(format!(
                    "create index \"{quoted}_{TENANT}\" on \"{quoted}\" ({TENANT})"
                )),
            );
        }
        let astray: Vec<String> = sqlx::query_scalar(INDEXES_ASTRAY)
            .bind(table)
            .fetch_all(&mut *connection)
            .await?;
        findings.extend(astray.into_iter().map(|index| {
            Finding::new(
                Severity::Warning,
                "TN015",
                table,
                format!(
                    "its index {index} does not begin with {TENANT}: SQLite would check what it \
                     holds before the tenant, so that the guard refuses functions in conditions \
                     that can fail"
                ),
                Fix::Advice(format!("make the index anew, with {TENANT} first")),
            )
        }));
        problems.extend(own_problems(connection, table).await?);
    }
    findings.extend(problems.into_iter().map(|problem| {
        Finding::new(
            Severity::Error,
            problem.code,
            problem.table,
            problem.text,
            Fix::Advice(problem.fix),
        )
    }));
    let facts = LibraryFacts {
        sqlite_version,
        tenant_tables: tables.len(),
    };
    Ok(AuditReport::new(facts, findings))
}
