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

/// Returns the numbers of the migrations that this database has not seen yet, and runs none; the file must be
/// there.
///
/// # Errors
///
/// `SchemaMismatch` as [`migrate`]; `Unavailable` if the file is not there, and the kinds of opening one.
///
/// # Cancel safety
///
/// Dropped, it closes its connection; it changes nothing.
pub async fn pending_migrations(
    settings: &SqliteSettings,
    migrations: &Migrations,
) -> Result<Vec<i64>> {
    settings.check("migrate")?;
    let mut connection = settings
        .existing_options()
        .connect()
        .await
        .map_err(|error| driver_error("migrate", &error))?;
    let outcome = async {
        let has_history = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(|error| driver_error("migrate", &error))?;
        migrations
            .pending(&mut connection, has_history, |error| {
                migration_error("migrate", &error)
            })
            .await
    }
    .await;
    // What was found out stays so, however the file is closed.
    let _ = connection.close().await;
    outcome
}
