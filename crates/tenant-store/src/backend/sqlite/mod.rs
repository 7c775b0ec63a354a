//! The SQLite backend: wall one, embedded.

mod arguments;
mod audit;
mod error;
#[cfg(feature = "guard")]
mod guard;
mod migrate;
mod probe;
mod row;
mod schema;
mod session;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection as _, Sqlite, SqlitePool, Transaction};
use tenantry_core::{Error, ErrorKind, Result};

use super::{Access, Backend, Begin, Dialect, Each, PING, Session, Statement};
use crate::platform::PlatformStore;
use crate::store::{StoreSettings, TenantStore};

pub use audit::{LibraryFacts, audit};
#[cfg(feature = "guard")]
pub use guard::{GuardedSqlite, UnguardedSqlite};
pub use migrate::{migrate, pending_migrations};
pub use probe::{FileProbe, probe};
pub use settings::SqliteSettings;

#[cfg(feature = "guard")]
pub(crate) use error::{driver_error, kind_of};
use session::{Connection, SqliteSession};

impl TenantStore {
    /// Opens an SQLite database, and creates it if it is not there.
    ///
    /// SQLite has wall one only: every statement carries the tenant, but there is no row-level
    /// security behind it.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the file cannot be opened, `Locked`, `Corrupt`, `ReadOnly`, `StorageFull`,
    /// `InvalidSettings`.
    pub async fn sqlite(settings: SqliteSettings) -> Result<Self> {
        let backend = SqliteBackend::open(&settings).await?;
        Ok(Self::new(
            Box::new(backend),
            StoreSettings {
                clock: settings.clock,
                cursor_key: settings.cursor_key,
                schema: None,
                statement_timeout: settings.statement_timeout,
                system: SYSTEM,
                #[cfg(feature = "guard")]
                declared: crate::guard::Declared {
                    trusted_functions: Vec::new(),
                    shared_tables: settings.shared_tables,
                },
            },
        ))
    }
}

impl PlatformStore {
    /// Opens an SQLite database across tenants; SQLite has no roles, so that nothing but the type
    /// stands between.
    ///
    /// # Errors
    ///
    /// As [`TenantStore::sqlite`].
    pub async fn sqlite(settings: SqliteSettings) -> Result<Self> {
        TenantStore::sqlite(settings).await.map(Self::new)
    }
}

/// The value of `db.system.name` in the semantic conventions.
const SYSTEM: &str = "sqlite";

/// SQLite takes one writer at a time: the others wait here, in order, and not in the file's lock,
/// which knows no order.
pub(crate) struct SqliteBackend {
    writer: SqlitePool,
    readers: SqlitePool,
    max_readers: u32,
    /// Whether a statement was dropped while it ran, so that its limit may still be on a connection.
    left_behind: Arc<AtomicBool>,
    /// Keeps what goes with its last owner: a temporary folder, a database in memory.
    settings: SqliteSettings,
}

impl SqliteBackend {
    pub(super) async fn open(settings: &SqliteSettings) -> Result<Self> {
        if settings.max_readers == 0 {
            return Err(Error::new(ErrorKind::InvalidSettings, "open")
                .with_detail("max_readers must be at least 1"));
        }
        settings.check("open")?;
        let created = settings.create().await;
        created.map_err(|cause| {
            error::driver_error("open", &cause)
                .with_subject(settings.location().display().to_string())
        })?;
        let write = settings.connect_options();
        let read = write.clone().pragma("query_only", "ON");
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(settings.acquire_timeout.min(LONGEST))
                .test_before_acquire(false)
                // After some errors, a full disk or an interrupted write among them, SQLite rolls
                // back by itself (https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction).
                // The driver still counts a transaction then, and would refuse every other.
                .before_acquire(|connection, _| {
                    let at_rest = !connection.is_in_transaction();
                    Box::pin(async move { Ok(at_rest) })
                })
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writers = pool(1);
        #[cfg(feature = "guard")]
        let writers = writers.after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query(session::ROW_OF_NOBODY)
                    .execute(connection)
                    .await
                    .map(drop)
            })
        });
        Ok(Self {
            writer: writers.connect_lazy_with(write),
            readers: pool(settings.max_readers).connect_lazy_with(read),
            max_readers: settings.max_readers,
            left_behind: Arc::default(),
            settings: settings.clone(),
        })
    }

    async fn acquire(
        &self,
        operation: &'static str,
        access: Access,
    ) -> Result<PoolConnection<Sqlite>> {
        let (pool, what, size) = match access {
            Access::Write | Access::WriteIndexed => (&self.writer, "the one writer is", 1),
            Access::Read | Access::ReadOne | Access::ReadIndexed => {
                (&self.readers, "all readers are", self.max_readers)
            }
        };
        let started = Instant::now();
        match pool.acquire().await {
            Ok(connection) => Ok(connection),
            Err(sqlx::Error::PoolTimedOut) => Err(Error::new(ErrorKind::PoolExhausted, operation)
                .with_detail(format!(
                    "waited {} ms; {what} in use ({size} of {size}): end units of work sooner",
                    started.elapsed().as_millis()
                ))),
            Err(cause) => Err(error::driver_error(operation, &cause)
                .with_subject(self.settings.location().display().to_string())),
        }
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn begin(&self, begin: &Begin) -> Result<Box<dyn Session>> {
        let connection = self.acquire(begin.operation, begin.access).await?;
        let statement = match begin.access {
            // A single statement is a transaction by itself.
            Access::ReadOne | Access::ReadIndexed => None,
            Access::Read => Some("BEGIN"),
            // Taking the write lock at the start avoids the deadlock of two readers that both
            // want to write (https://www.sqlite.org/lang_transaction.html#immediate).
            Access::Write | Access::WriteIndexed => Some("BEGIN IMMEDIATE"),
        };
        let connection = match statement {
            None => Connection::Plain(connection),
            Some(statement) => {
                // A begin that is dropped half way is rolled back by the driver's worker.
                let begun =
                    Transaction::begin(connection, Some(sqlx::SqlSafeStr::into_sql_str(statement)));
                let transaction = begun
                    .await
                    .map_err(|cause| error::driver_error(begin.operation, &cause))?;
                Connection::Transaction(transaction)
            }
        };
        let mut session = SqliteSession::new(connection, begin.access == Access::Write);
        match begin.statement_timeout {
            Some(timeout) => session.limit_statements(timeout, &self.left_behind).await?,
            None if self.left_behind.load(Ordering::Relaxed) => session.lift_limits().await?,
            None => {}
        }
        Ok(Box::new(session))
    }

    async fn read(
        &self,
        begin: &Begin,
        statement: &Statement<'_>,
        each: &mut Each<'_>,
    ) -> Result<()> {
        self.begin(begin).await?.fetch(statement, each).await
    }

    /// Reads the first page of the file, which a connection that rests does not look at.
    async fn ping(&self) -> Result<()> {
        let mut connection = self.acquire(PING, Access::ReadOne).await?;
        sqlx::query("select count(*) from sqlite_schema")
            .fetch_one(&mut *connection)
            .await
            .map(drop)
            .map_err(|cause| {
                error::driver_error(PING, &cause)
                    .with_subject(self.settings.location().display().to_string())
            })
    }

    async fn close(&self) {
        // Together: either refuses new work from its first poll on.
        tokio::join!(self.readers.close(), self.writer.close());
    }
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBackend")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How many steps of SQLite's machine pass between two looks at the clock: some 10 microseconds.
const STEPS_PER_LOOK: i32 = 10_000;

/// The longest time that is waited for anything: the driver panics where it reckons with more than
/// a clock or SQLite can hold.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time a statement can be given.
const SHORTEST: Duration = Duration::from_millis(1);
