use sqlx::{ConnectOptions as _, Connection as _};
use tenantry_core::Result;

use super::error::{driver_error, migration_error};
use super::settings::SqliteSettings;
use crate::migrations::Migrations;

/// Runs the migrations that this database has not seen yet, and creates its file if it is not
/// there; returns the numbers of those that it ran.
///
/// # Errors
///
/// `InvalidInput` if a migration is no SQL, or names what is not there; `SchemaMismatch` if a migration was changed after it had been run, or the database has run one
/// that is not among these; `InvalidSettings` if two have one number, or the file's name is
/// none; the kinds of opening a file
/// and of a statement that fails.
pub async fn migrate(settings: &SqliteSettings, migrations: &Migrations) -> Result<Vec<i64>> {
    settings.check("migrate")?;
    let created = settings.create().await;
    created.map_err(|error| driver_error("migrate", &error))?;
    let mut connection = settings
        .connect_options()
        .connect()
        .await
        .map_err(|error| driver_error("migrate", &error))?;
    let outcome = migrations
        .run(&mut connection, |error| migration_error("migrate", &error))
        .await;
    let closed = connection
        .close()
        .await
        .map_err(|error| driver_error("migrate", &error));
    closed.and(outcome)
}
