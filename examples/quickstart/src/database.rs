//! The database: embedded SQLite with nothing installed, or PostgreSQL under a URL.

use std::path::Path;
use std::sync::Arc;

use tenantry::core::Secret;
use tenantry::prelude::*;
use tenantry::store::{postgres, sqlite};
use tenantry::{Migrations, PostgresSettings, SqliteSettings};
use uuid::Uuid;

use crate::Result;
use crate::flight::Flight;

/// Opens an SQLite database in a folder, or in one that is removed at the end.
pub(crate) async fn open_embedded(folder: Option<&Path>) -> Result<Storage> {
    let settings = match folder {
        None => {
            println!("database   SQLite in a temporary folder, removed at the end");
            SqliteSettings::temporary()
        }
        Some(folder) => {
            println!(
                "database   SQLite in {}, which stays there",
                folder.display()
            );
            Storage::embedded_settings(folder)?
        }
    };
    let flights = include_str!("../migrations/sqlite/0001_flights.sql");
    sqlite::migrate(&settings, &Migrations::embedded(&[(1, "flights", flights)])).await?;

    let storage = Storage::sqlite(settings).await?;
    // Compares struct and table now, and not at the first request.
    storage.verify::<Flight>().await?;
    Ok(storage)
}

/// Prepares a PostgreSQL database as its administrator, and connects as a role that is under
/// row-level security.
///
/// In production these are three steps of three parties: an administrator runs the bootstrap, a
/// deployment runs the migrations, and the service knows the password of the app role alone.
pub(crate) async fn open_postgres(admin_url: &str) -> Result<Storage> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| admin_url.starts_with(scheme))
    {
        return Err("--database: write postgres://admin:password@host:port/database".into());
    }

    // 1. As the administrator: the roles, the schema `tenantry` and its functions. The passwords
    //    are new in each run and stay in this process.
    let (owner_password, app_password) = (random_password(), random_password());
    postgres::Bootstrap::new(admin_url)
        .with_owner_role(OWNER, Some(Arc::clone(&owner_password)))
        .with_app_role(APP, Some(Arc::clone(&app_password)))
        .with_platform_role(PLATFORM, None)
        .run()
        .await?;
    println!("database   PostgreSQL, as role {APP}; what stays there: table flights, schema");
    println!("           tenantry, roles {OWNER}, {APP} and {PLATFORM}");

    // 2. As the owner: the tables. `tenantry.protect('flights')` in there puts up the wall.
    let flights = include_str!("../migrations/postgres/0001_flights.sql");
    let migrations = Migrations::embedded(&[(1, "flights", flights)]);
    let owner = PostgresSettings::new(admin_url)
        .with_role(OWNER)
        .with_password(owner_password);
    postgres::migrate(owner, &migrations).await?;

    // 3. As the service. A superuser, the owner of a table, or a table without the wall would be
    //    refused here.
    let service = PostgresSettings::new(admin_url)
        .with_role(APP)
        .with_password(app_password);
    let storage = Storage::postgres(service).await?;
    storage.verify::<Flight>().await?;
    Ok(storage)
}

/// Roles belong to the whole server, so these have names of their own.
const OWNER: &str = "quickstart_owner";
const APP: &str = "quickstart_app";
const PLATFORM: &str = "quickstart_platform";

fn random_password() -> Arc<Secret> {
    Arc::new(Secret::new(Uuid::new_v4().simple().to_string()))
}
