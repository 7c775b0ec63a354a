//! Everything that a service has open.

#[cfg(feature = "blob")]
mod blobs;
#[cfg(feature = "cache")]
mod caches;
mod close;
mod health;
#[cfg(feature = "outbox")]
mod messages;
mod open;
#[cfg_attr(
    not(all(feature = "cache", feature = "blob", feature = "secrets")),
    allow(dead_code, reason = "the database is of every service")
)]
mod ownership;
mod parts;
#[cfg(feature = "secrets")]
mod secrets;
#[cfg(feature = "testkit")]
mod testkit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tenantry_core::{Service, TenantId};
use tenantry_store::{
    Aggregate, CommitListener, Migrations, PlatformStore, Result, TenantScope, TenantStore,
};

pub use self::close::{ShutdownReport, Unfinished};
pub use self::health::{Health, PartHealth, StoragePart};
pub use self::parts::{DatabaseSettings, Parts};
use crate::settings::{DatabaseKind, Settings};

/// All stores of a service, opened once and closed together; cheap to clone.
///
/// The tenant store is there in any case. What else the [`Settings`] name has an accessor each, which answers
/// what to add where they do not: [`platform`](Self::platform) and, with their features, `cache`,
/// `rate_limiter`, `sessions`, `blobs`, `outbox`, `inbox`, `publisher` and `secrets`.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # mod example {
/// use tenantry::prelude::*;
/// use tenantry::{Migrations, Settings, SqliteSettings};
///
/// #[derive(Debug, Clone, PartialEq, Aggregate)]
/// #[aggregate(table = "tags")]
/// pub struct Tag {
///     #[aggregate(id)]
///     pub name: String,
/// }
///
/// const TAGS: &str = "create table tags (
///     tenant_id blob not null, name text not null, primary key (tenant_id, name)
/// ) strict";
///
/// # #[tokio::main(flavor = "current_thread")]
/// # pub async fn main() -> Result<()> {
/// // At start: the tables, the database, and whether both fit the structs.
/// let settings = Settings::from(SqliteSettings::temporary());
/// Storage::migrate(&settings, &Migrations::embedded(&[(1, "tags", TAGS)])).await?;
/// let storage = Storage::open(&settings).await?;
/// storage.verify::<Tag>().await?;
///
/// // For each request: its tenant.
/// let tags = storage.tenant(TenantId::generate()).repository::<Tag>();
/// tags.insert(&mut Tag { name: "urgent".to_owned() }).await?;
///
/// // At the end: what is open may end first.
/// storage.close().await;
/// # Ok(())
/// # }
/// # }
/// # #[cfg(feature = "sqlite")]
/// # example::main().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Storage {
    store: TenantStore,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Whose stores these are; `None` where nobody says it, and all may be used.
    service: Option<Service>,
    /// What spans and metrics call the database.
    system: &'static str,
    platform: Option<PlatformStore>,
    #[cfg(feature = "cache")]
    caches: caches::Caches,
    #[cfg(feature = "blob")]
    blobs: Option<blobs::Blobs>,
    #[cfg(feature = "outbox")]
    messages: messages::Messages,
    #[cfg(feature = "secrets")]
    secrets: Option<tenantry_secrets::Secrets>,
    is_closed: AtomicBool,
}

impl Storage {
    /// Runs the migrations that the database of the settings has not seen yet, and returns their
    /// numbers.
    ///
    /// On PostgreSQL the settings are those of the owner role; on SQLite those of the service.
    ///
    /// # Errors
    ///
    /// As `store::postgres::migrate` and `store::sqlite::migrate`, and the kinds of a vault that does not give
    /// the password.
    pub async fn migrate(settings: &Settings, migrations: &Migrations) -> Result<Vec<i64>> {
        let passwords = open::Passwords::of(settings).await?;
        match passwords.given_to(&settings.database)? {
            #[cfg(feature = "postgres")]
            DatabaseKind::Postgres(settings) => {
                tenantry_store::postgres::migrate(settings, migrations).await
            }
            #[cfg(feature = "sqlite")]
            DatabaseKind::Sqlite(settings) => {
                tenantry_store::sqlite::migrate(&settings, migrations).await
            }
        }
    }

    /// Opens everything inside one folder, with nothing installed: what [`Settings::embedded`] says. The
    /// database is `tenants.db` there, an SQLite file.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the folder cannot be made; otherwise as [`open`](Self::open).
    #[cfg(feature = "sqlite")]
    pub async fn embedded(folder: impl AsRef<std::path::Path>) -> Result<Self> {
        let settings = Settings::embedded(folder)?;
        Self::open(&settings).await
    }

    /// Returns the settings of the database of [`embedded`](Self::embedded), for its migrations;
    /// makes the folder if it is not there.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the folder cannot be made.
    #[cfg(feature = "sqlite")]
    pub fn embedded_settings(
        folder: impl AsRef<std::path::Path>,
    ) -> Result<tenantry_store::SqliteSettings> {
        crate::settings::embedded_database(folder.as_ref())
    }

    /// Opens an SQLite database, and nothing beside it.
    ///
    /// # Errors
    ///
    /// As `TenantStore::sqlite`.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(settings: tenantry_store::SqliteSettings) -> Result<Self> {
        Self::open(&settings.into()).await
    }

    /// Opens a PostgreSQL database, as the app role, and nothing beside it.
    ///
    /// # Errors
    ///
    /// As `TenantStore::postgres`.
    #[cfg(feature = "postgres")]
    pub async fn postgres(settings: tenantry_store::PostgresSettings) -> Result<Self> {
        Self::open(&settings.into()).await
    }

    /// Returns the scope of a tenant: the only way to a repository.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantScope {
        self.store.tenant(tenant)
    }

    /// Compares the table of an aggregate with the struct, at start-up rather than at first use.
    ///
    /// # Errors
    ///
    /// `UnknownTable`, `UnprotectedTable`, `SchemaMismatch`, `Unavailable`.
    pub async fn verify<A: Aggregate>(&self) -> Result<()> {
        self.store.verify::<A>().await
    }

    /// Lets a listener hear of every transaction that is committed from now on.
    pub fn on_commit(&self, listener: Arc<dyn CommitListener>) {
        self.store.on_commit(listener);
    }

    /// Returns the tenant store.
    #[must_use]
    pub const fn tenant_store(&self) -> &TenantStore {
        &self.store
    }

    /// Returns the way across tenants: for operators, and for what works in the background.
    ///
    /// # Isolation
    ///
    /// It sees every tenant: hand it to what needs it, and the storage to nobody who handles requests without
    /// need of it.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if the settings name no role for it.
    pub fn platform(&self) -> Result<&PlatformStore> {
        self.inner.platform.as_ref().ok_or_else(|| {
            ownership::missing(
                "platform",
                "add a section [platform] with the url of the role for work across tenants to the \
                 settings, or Settings::with_platform",
            )
        })
    }

    /// Returns which service it was opened for, if that was said.
    #[must_use]
    pub fn service(&self) -> Option<Service> {
        self.inner.service
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed.load(Ordering::Acquire)
    }
}
