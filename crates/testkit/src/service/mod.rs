//! A database as a service has it, and what a test takes from it.

use std::fmt;
use std::process::Termination;
use std::sync::Arc;

#[cfg(feature = "sqlite")]
use tenantry_store::SqliteSettings;
use tenantry_store::{Migrations, PlatformStore, PostgresSettings, TenantStore};

use crate::{Error, PostgresServer, Result, Roles, TestDatabase};

/// A new database with the tables of a service, as the service finds it: what [`test`](macro@crate::test) runs a test on.
///
/// Clones are the same database. It is dropped with the last of them, and with it all that is in there: whoever keeps a store
/// that is open keeps the value as well.
///
/// # Examples
///
/// ```no_run
/// use tenantry_store::{Migrations, TenantStore};
/// use tenantry_testkit::{FromServiceDatabase, ServiceDatabase};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let migrations = Migrations::from_dir("migrations/postgres").await?;
/// let database = ServiceDatabase::postgres(&migrations).await?;
/// let store = TenantStore::from_service_database(&database).await?;
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceDatabase(Kind);

#[derive(Clone)]
enum Kind {
    Postgres(Arc<(TestDatabase, Roles)>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteSettings),
}

impl ServiceDatabase {
    /// Creates a database on [`PostgresServer::shared`], with roles of its own, and runs the migrations as the owner.
    ///
    /// # Errors
    ///
    /// When there is no server, which [`Error::is_missing`] tells, or a migration fails.
    pub async fn postgres(migrations: &Migrations) -> Result<Self> {
        Self::postgres_on(PostgresServer::shared().await?, migrations).await
    }

    /// The same on a server of the caller's.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses a statement, or a migration fails.
    pub async fn postgres_on(server: &PostgresServer, migrations: &Migrations) -> Result<Self> {
        let database = TestDatabase::create(server).await?;
        let roles = database.bootstrap().await?;
        roles.migrate(migrations).await?;
        Ok(Self(Kind::Postgres(Arc::new((database, roles)))))
    }

    /// Creates a file in the folder for temporary files, and runs the migrations. What is committed survives the process, and
    /// not a failure of the machine.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, or a migration fails.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(migrations: &Migrations) -> Result<Self> {
        let settings = SqliteSettings::temporary().with_relaxed_durability();
        let done = tenantry_store::sqlite::migrate(&settings, migrations).await;
        done.map_err(|error| Error::because("the migrations of a test fail", error))?;
        Ok(Self(Kind::Sqlite(settings)))
    }

    /// Returns the settings by which a service connects as the app role, where this is PostgreSQL.
    #[must_use]
    pub fn postgres_settings(&self) -> Option<PostgresSettings> {
        let (_, roles) = self.on_postgres()?;
        Some(PostgresSettings::new(roles.app.url()))
    }

    /// Returns the settings by which a service opens the file, where this is SQLite.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite_settings(&self) -> Option<SqliteSettings> {
        match &self.0 {
            Kind::Sqlite(settings) => Some(settings.clone()),
            Kind::Postgres(_) => None,
        }
    }

    /// Returns the database and its roles, where this is PostgreSQL: for statements past all walls, or as another role.
    #[must_use]
    pub fn on_postgres(&self) -> Option<(&TestDatabase, &Roles)> {
        match &self.0 {
            Kind::Postgres(on) => Some((&on.0, &on.1)),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(_) => None,
        }
    }
}

impl fmt::Debug for ServiceDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Postgres(on) => f.debug_tuple("Postgres").field(&on.0).finish(),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(settings) => f.debug_tuple("Sqlite").field(settings).finish(),
        }
    }
}

/// What a test may take from its database as a parameter.
///
/// A service implements it for what it puts around its stores, and its tests take that.
///
/// # Examples
///
/// ```
/// use tenantry_store::TenantStore;
/// use tenantry_testkit::{FromServiceDatabase, Result, ServiceDatabase};
///
/// /// What the handlers of a service share.
/// struct Billing {
///     store: TenantStore,
/// }
///
/// impl FromServiceDatabase for Billing {
///     async fn from_service_database(database: &ServiceDatabase) -> Result<Self> {
///         let store = TenantStore::from_service_database(database).await?;
///         Ok(Self { store })
///     }
/// }
/// ```
pub trait FromServiceDatabase: Sized {
    /// Makes the value.
    ///
    /// # Errors
    ///
    /// When it cannot be made; the test fails with the error.
    fn from_service_database(
        database: &ServiceDatabase,
    ) -> impl Future<Output = Result<Self>> + Send;
}

/// The database itself.
impl FromServiceDatabase for ServiceDatabase {
    async fn from_service_database(database: &ServiceDatabase) -> Result<Self> {
        Ok(database.clone())
    }
}

/// A store as the service has it: on PostgreSQL under row-level security.
impl FromServiceDatabase for TenantStore {
    async fn from_service_database(database: &ServiceDatabase) -> Result<Self> {
        Ok(match &database.0 {
            Kind::Postgres(on) => Self::postgres(PostgresSettings::new(on.1.app.url())).await?,
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(settings) => Self::sqlite(settings.clone()).await?,
        })
    }
}

/// A store that sees all tenants: on PostgreSQL as the platform role.
impl FromServiceDatabase for PlatformStore {
    async fn from_service_database(database: &ServiceDatabase) -> Result<Self> {
        Ok(match &database.0 {
            Kind::Postgres(on) => {
                Self::postgres(PostgresSettings::new(on.1.platform.url())).await?
            }
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(settings) => Self::sqlite(settings.clone()).await?,
        })
    }
}

/// Reads the migrations of a folder, for a test.
///
/// # Panics
///
/// When it holds none.
pub async fn migrations_in(folder: &str) -> Migrations {
    made(
        Migrations::from_dir(folder)
            .await
            .map_err(|error| Error::because("the migrations of a test cannot be read", error)),
    )
}

/// Returns what was made, for a test.
///
/// # Panics
///
/// With the error, if there is one.
#[expect(
    clippy::panic,
    reason = "a test that cannot have its database has failed"
)]
pub fn made<T>(outcome: Result<T>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Returns what a test takes.
///
/// # Panics
///
/// When it cannot be made.
pub async fn taken<T: FromServiceDatabase>(database: &ServiceDatabase) -> T {
    made(T::from_service_database(database).await)
}

/// Runs a test to its end.
///
/// # Panics
///
/// When there can be no runtime, and as the test.
pub fn run<T: Termination>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::because("there is no runtime for a test", error));
    made(runtime).block_on(test)
}
