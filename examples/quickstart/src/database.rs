//! The database: embedded SQLite with nothing installed, or PostgreSQL under a URL.

use std::fs;
use std::path::Path;

use url::Url;
use uuid::Uuid;

use crate::Result;
use crate::flight::Flight;
use crate::tenantry::prelude::*;
use crate::tenantry::{Secret, TenantStore, postgres, sqlite};

/// Opens an SQLite database in a folder, or in one that is removed at the end.
pub(crate) async fn open_embedded(folder: Option<&Path>) -> Result<TenantStore> {
    let settings = match folder {
        None => {
            println!("database   SQLite in a temporary folder, removed at the end");
            sqlite::SqliteSettings::temporary()
        }
        Some(folder) => {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            let file = folder.join("flights.db");
            println!("database   SQLite in {}", file.display());
            sqlite::SqliteSettings::file(file)
        }
    };
    let migrations = Migrations::embedded(&[(
        1,
        "flights",
        include_str!("../migrations/sqlite/0001_flights.sql"),
    )]);
    sqlite::migrate(&settings, &migrations).await?;

    let store = TenantStore::sqlite(settings).await?;
    // Compares struct and table now, not at the first request.
    store.verify::<Flight>().await?;
    Ok(store)
}

/// Prepares a PostgreSQL database as its administrator, and connects as a role that is under the
/// wall of row-level security.
///
/// In production these are three steps of three parties: an administrator runs the bootstrap once,
/// a deployment the migrations, and the service knows the password of the app role alone.
pub(crate) async fn open_postgres(admin_url: &str) -> Result<TenantStore> {
    let admin_url = Url::parse(admin_url)
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .ok_or("--database: write postgres://admin:password@host:port/database")?;

    // 1. As the administrator: roles, the schema `tenantry`, its functions. The passwords are new
    //    in each run and stay in this process.
    let (owner_password, app_password) = (random_password(), random_password());
    let report = postgres::Bootstrap::new(admin_url.as_str())
        .with_owner_role(OWNER, Some(Secret::new(owner_password.expose())))
        .with_app_role(APP, Some(Secret::new(app_password.expose())))
        .with_platform_role(PLATFORM, None)
        .run()
        .await?;
    let place = admin_url.path().trim_start_matches('/');
    println!("database   PostgreSQL, {place}; made for this: table flights, schema tenantry, and");
    println!(
        "           roles {OWNER}, {APP}, {PLATFORM} ({} new)",
        report.created_roles.len()
    );

    // 2. As the owner: the tables. `tenantry.protect('flights')` in there puts up the wall.
    let mut owner_url = as_role(&admin_url, OWNER);
    owner_url
        .query_pairs_mut()
        .append_pair("password", owner_password.expose());
    let migrations = Migrations::embedded(&[(
        1,
        "flights",
        include_str!("../migrations/postgres/0001_flights.sql"),
    )]);
    postgres::migrate(owner_url.as_str(), &migrations).await?;

    // 3. As the service. A superuser, the owner of a table, or a table without a wall would be
    //    refused here.
    let settings =
        postgres::PostgresSettings::new(as_role(&admin_url, APP)).with_password(app_password);
    let store = TenantStore::postgres(settings).await?;
    store.verify::<Flight>().await?;
    Ok(store)
}

/// Roles belong to the whole server, so these have names of their own.
const OWNER: &str = "quickstart_owner";
const APP: &str = "quickstart_app";
const PLATFORM: &str = "quickstart_platform";

fn random_password() -> Secret {
    Secret::new(Uuid::new_v4().simple().to_string())
}

/// Returns the URL for another role; what stands last in a URL counts.
fn as_role(admin_url: &Url, role: &str) -> Url {
    let mut url = admin_url.clone();
    url.query_pairs_mut().append_pair("user", role);
    url
}
