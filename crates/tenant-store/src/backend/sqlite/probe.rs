use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tenantry_core::Result;

use super::error::driver_error;
use super::settings::SqliteSettings;

const OPERATION: &str = "probe database";

/// What is known of a file once it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileProbe {
    /// The version of SQLite, such as `3.50.2`.
    pub sqlite_version: String,
    /// How it keeps its journal: `wal` with one that Tenantry made.
    pub journal_mode: String,
    /// Its tables, by name.
    pub tables: Vec<String>,
    /// Whether migrations were ever run.
    pub has_history: bool,
}

/// Opens a file and tells what it is; it must be there, and nothing is written to it.
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
/// let probe = sqlite::probe(&settings).await?;
/// assert_eq!(probe.tables, ["notes"]);
/// assert!(probe.has_history);
/// # Ok(())
/// # }
/// ```
pub async fn probe(settings: &SqliteSettings) -> Result<FileProbe> {
    settings.check(OPERATION)?;
    let mut connection = settings
        .existing_options()
        .connect()
        .await
        .map_err(|error| driver_error(OPERATION, &error))?;
    let outcome = read(&mut connection).await;
    // What was found out stays so, however the file is closed.
    let _ = connection.close().await;
    outcome.map_err(|error| driver_error(OPERATION, &error))
}

async fn read(connection: &mut SqliteConnection) -> Result<FileProbe, sqlx::Error> {
    let sqlite_version = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut *connection)
        .await?;
    let journal_mode = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let mut tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         ORDER BY name",
    )
    .fetch_all(&mut *connection)
    .await?;
    let all = tables.len();
    tables.retain(|table| table != "_sqlx_migrations");
    Ok(FileProbe {
        sqlite_version,
        journal_mode,
        has_history: tables.len() < all,
        tables,
    })
}
