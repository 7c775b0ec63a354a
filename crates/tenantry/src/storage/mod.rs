use std::sync::Arc;

use tenantry_core::TenantId;
use tenantry_store::{Aggregate, CommitListener, Migrations, Result, TenantScope, TenantStore};

use crate::settings::{Database, Settings};

/// All stores of a service, opened once and closed together; cheap to clone.
///
/// For now that is the tenant store; cache, blobs, secrets and outbox join it here.
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
}

impl Storage {
    /// Opens what the settings name.
    ///
    /// # Errors
    ///
    /// As `TenantStore::postgres` and `TenantStore::sqlite`.
    pub async fn open(settings: &Settings) -> Result<Self> {
        let store = match settings.database.clone() {
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => TenantStore::postgres(settings).await?,
            #[cfg(feature = "sqlite")]
            Database::Sqlite(settings) => TenantStore::sqlite(settings).await?,
        };
        Ok(Self { store })
    }

    /// Runs the migrations that the database of the settings has not seen yet, and returns their
    /// numbers.
    ///
    /// On PostgreSQL the settings are those of the owner role; on SQLite those of the service.
    ///
    /// # Errors
    ///
    /// As `store::postgres::migrate` and `store::sqlite::migrate`.
    pub async fn migrate(settings: &Settings, migrations: &Migrations) -> Result<Vec<i64>> {
        match &settings.database {
            #[cfg(feature = "postgres")]
            Database::Postgres(settings) => {
                tenantry_store::postgres::migrate(settings, migrations).await
            }
            #[cfg(feature = "sqlite")]
            Database::Sqlite(settings) => {
                tenantry_store::sqlite::migrate(settings, migrations).await
            }
        }
    }

    /// Opens everything inside one folder, with nothing installed: the database is
    /// `tenants.db` there, an SQLite file.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the folder cannot be made; otherwise as `TenantStore::sqlite`.
    #[cfg(feature = "sqlite")]
    pub async fn embedded(folder: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::sqlite(Self::embedded_settings(folder)?).await
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
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|error| {
            tenantry_store::Error::new(tenantry_store::ErrorKind::Unavailable, "open")
                .with_subject(folder.display().to_string())
                .with_detail("the folder cannot be made")
                .with_source(error)
        })?;
        Ok(tenantry_store::SqliteSettings::file(
            folder.join("tenants.db"),
        ))
    }

    /// Opens an SQLite database.
    ///
    /// # Errors
    ///
    /// As `TenantStore::sqlite`.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(settings: tenantry_store::SqliteSettings) -> Result<Self> {
        Self::open(&settings.into()).await
    }

    /// Opens a PostgreSQL database, as the app role.
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

    /// Puts a cache in front of the repositories: what is committed from now on ends what is kept.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](tenantry_core::ErrorKind::InvalidSettings): the cache is in front of another
    ///   store already.
    #[cfg(feature = "cache")]
    pub fn cached(&self, cache: &tenantry_cache::Cache) -> Result<tenantry_cache::CachedStore> {
        tenantry_cache::CachedStore::new(&self.store, cache)
    }

    /// Returns the tenant store.
    #[must_use]
    pub const fn tenant_store(&self) -> &TenantStore {
        &self.store
    }

    /// Closes all connections, and waits without limit for those in use.
    ///
    /// New work is refused, as `Unavailable`; units of work and streams that are open go on to
    /// their end. Bound the wait by `tokio::time::timeout(limit, storage.close())`; what a dropped
    /// future leaves behind is told at [`TenantStore::close`].
    pub async fn close(&self) {
        self.store.close().await;
    }
}
