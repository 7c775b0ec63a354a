//! The conformance suite on SQLite.

#![cfg(all(feature = "sqlite", feature = "conformance"))]

use tenantry_store::conformance::SQLITE_SCHEMA;
use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};

async fn open() -> TenantStore {
    let settings = SqliteSettings::temporary()
        .with_max_readers(2)
        .with_relaxed_durability();
    let migrations = Migrations::embedded(&[(1, "conformance", SQLITE_SCHEMA)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    TenantStore::sqlite(settings).await.unwrap()
}

tenantry_store::conformance_suite!(open);
