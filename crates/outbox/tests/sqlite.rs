//! The outbox on SQLite: what it does on every database, and what is of this one alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use tenantry_core::{ErrorKind, TenantId};
use tenantry_outbox::conformance::{SUITE_SQLITE, Subject};
use tenantry_outbox::{NewMessage, Outbox, SCHEMA_SQLITE};
use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};

struct OnSqlite {
    store: TenantStore,
    platform: PlatformStore,
}

impl OnSqlite {
    async fn open() -> Self {
        let settings = SqliteSettings::temporary().with_relaxed_durability();
        let migrations =
            Migrations::embedded(&[(1, "outbox", SCHEMA_SQLITE), (2, "suite", SUITE_SQLITE)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        Self {
            store: TenantStore::sqlite(settings.clone()).await.unwrap(),
            platform: PlatformStore::sqlite(settings).await.unwrap(),
        }
    }
}

impl Subject for OnSqlite {
    fn store(&self) -> &TenantStore {
        &self.store
    }

    fn platform(&self) -> &PlatformStore {
        &self.platform
    }
}

tenantry_outbox::conformance_suite!(OnSqlite::open);

#[tokio::test]
async fn a_unit_of_work_of_another_store_is_refused() {
    let (subject, other) = (OnSqlite::open().await, OnSqlite::open().await);
    let outbox = Outbox::new(&other.store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        let refused = outbox.append_message(&work, NewMessage::new("a", "k"));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        work.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_without_the_tables_is_told_of() {
    let store = TenantStore::sqlite(SqliteSettings::temporary())
        .await
        .unwrap();
    let outbox = Outbox::new(&store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = store.tenant(tenant).begin().await.unwrap();
        outbox
            .append_message(&work, NewMessage::new("a", "k"))
            .unwrap();
        let error = work.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownTable);
        assert!(error.detail().contains("migration"), "{error}");
    }
}
