//! `tenantry migrate`: runs the migrations of a folder that a database has not seen yet.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{Migrations, postgres};

use crate::Verdict;
use crate::database::{Database, Place};

const MIGRATE: &str = "migrate database";

/// Runs the migrations of a folder that the database has not seen yet.
///
/// Connect as the owner role. The URL is taken from TENANTRY_DATABASE_URL where there is no --url, and
/// the password from TENANTRY_DATABASE_PASSWORD: other users of the machine can read the arguments of a
/// command. Several at once do no harm: one runs, the others wait.
///
/// Exits with 0 when the database has all of them, and with 2 if one failed: those before it have run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    database: Database,
    /// The folder with `0001_customers.sql`, `0002_invoices.sql` and so on
    #[arg(long, value_name = "FOLDER", default_value = "migrations")]
    migrations: PathBuf,
    /// Writes one JSON object, with the numbers of those that were run
    #[arg(long)]
    json: bool,
}

/// Runs them, and writes which.
///
/// # Errors
///
/// The kinds of `migrate` of either backend; `InvalidSettings` if there is no URL or no migration;
/// `Unavailable` if nobody takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let place = options.database.place(MIGRATE)?;
    let migrations = Migrations::from_dir(&options.migrations).await?;
    let run = match place {
        Place::Server(settings) => postgres::migrate(*settings, &migrations).await?,
        Place::File(path) => on_sqlite(&path, &migrations).await?,
    };
    let written = match (options.json, run.as_slice()) {
        (true, run) => serde_json::to_writer_pretty(&mut *out, &json!({ "run": run }))
            .map_err(Into::into)
            .and_then(|()| writeln!(out)),
        (false, []) => writeln!(
            out,
            "nothing to run: the database has all {}",
            migrations.versions().count()
        ),
        (false, run) => run
            .iter()
            .try_for_each(|number| writeln!(out, "ran {number:04}")),
    };
    written.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "write migrations").with_source(cause)
    })?;
    Ok(Verdict::Clean)
}

#[cfg(feature = "sqlite")]
async fn on_sqlite(path: &str, migrations: &Migrations) -> Result<Vec<i64>> {
    use tenantry_store::{SqliteSettings, sqlite};

    sqlite::migrate(&SqliteSettings::file(path), migrations).await
}

#[cfg(not(feature = "sqlite"))]
#[allow(clippy::unused_async, reason = "with the feature it waits")]
async fn on_sqlite(_path: &str, _migrations: &Migrations) -> Result<Vec<i64>> {
    Err(crate::database::without_sqlite(MIGRATE))
}
