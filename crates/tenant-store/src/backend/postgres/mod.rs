//! The PostgreSQL backend: both walls.

mod arguments;
mod boot_check;
mod bootstrap;
mod connect;
mod error;
mod migrate;
mod row;
mod schema;
mod session;
mod settings;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgPool, Postgres, SqlSafeStr as _};
use sqlx::{SqlStr, Transaction};

use super::{Access, Backend, Begin, Dialect, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::PlatformStore;
use crate::store::{StoreSettings, TenantStore};
use crate::work::Isolation;

pub use boot_check::{Role, ServerFacts, verify};
pub use bootstrap::{Bootstrap, BootstrapReport, bootstrap};
pub use migrate::migrate;
pub use settings::{Pooler, PostgresSettings};

use session::PostgresSession;

impl TenantStore {
    /// Connects to PostgreSQL as the app role.
    ///
    /// Before the first connection is handed out, the role and the schema are checked: a role
    /// that could walk around row-level security, or a table within its reach that is not
    /// protected, is refused with a message that tells the fix.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `AuthenticationFailed`, `TlsFailed`, `InvalidSettings`; `UnsafeRole`,
    /// `UnprotectedTable`, `SchemaMismatch`, `Unsupported` from the check.
    pub async fn postgres(settings: PostgresSettings) -> Result<Self> {
        open(settings, Role::App).await
    }
}

impl PlatformStore {
    /// Connects to PostgreSQL as the platform role, which row-level security lets see all tenants.
    ///
    /// # Errors
    ///
    /// As [`TenantStore::postgres`].
    pub async fn postgres(settings: PostgresSettings) -> Result<Self> {
        open(settings, Role::Platform).await.map(Self::new)
    }
}

async fn open(settings: PostgresSettings, role: Role) -> Result<TenantStore> {
    let backend = PostgresBackend::connect(&settings, role).await?;
    Ok(TenantStore::new(
        Box::new(backend),
        StoreSettings {
            clock: settings.clock,
            cursor_key: settings.cursor_key,
            schema: Some(settings.schema),
            statement_timeout: settings.statement_timeout,
            system: SYSTEM,
        },
    ))
}

/// The value of `db.system.name` in the semantic conventions.
const SYSTEM: &str = "postgresql";

pub(crate) struct PostgresBackend {
    pool: PgPool,
    max_connections: u32,
    schema: Arc<str>,
    persistent: bool,
}

impl PostgresBackend {
    async fn connect(settings: &PostgresSettings, role: Role) -> Result<Self> {
        let options = settings.connect_options()?;
        Self::check(&options, settings, role).await?;
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            // The message that begins the transaction finds a dead connection as well as a ping.
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            max_connections: settings.max_connections,
            schema: settings.schema.as_str().into(),
            persistent: settings.pooler.keeps_statements(),
        })
    }

    async fn check(
        options: &PgConnectOptions,
        settings: &PostgresSettings,
        role: Role,
    ) -> Result<()> {
        let limit = settings.acquire_timeout;
        let mut connection = connect::connect_with("connect", options, limit).await?;
        let mut outcome = boot_check::check(&mut connection, role).await.map(drop);
        if outcome.is_ok() && settings.pooler == Pooler::None {
            outcome = connect::refuse_hidden_pooler(&mut connection, options, limit).await;
        }
        // What was found out stays so, however the server takes the farewell.
        let _ = connection.close().await;
        outcome
    }

    async fn acquire(&self, operation: &'static str) -> Result<PoolConnection<Postgres>> {
        let started = Instant::now();
        match self.pool.acquire().await {
            Ok(connection) => Ok(connection),
            Err(sqlx::Error::PoolTimedOut) => Err(self.timed_out(operation, started.elapsed())),
            Err(cause) => Err(error::driver_error(operation, cause)),
        }
    }

    /// The pool answers alike when all connections are in use and when none can be opened.
    fn timed_out(&self, operation: &'static str, waited: Duration) -> Error {
        let size = self.pool.size();
        let waited = waited.as_millis();
        if size < self.max_connections {
            return Error::new(ErrorKind::Unavailable, operation).with_detail(format!(
                "the server took no new connection within {waited} ms"
            ));
        }
        let idle = self.pool.num_idle();
        Error::new(ErrorKind::PoolExhausted, operation).with_detail(format!(
            "waited {waited} ms; {} of {} connections are in use: end units of work sooner, or \
             raise max_connections",
            usize::try_from(size)
                .unwrap_or(usize::MAX)
                .saturating_sub(idle),
            self.max_connections,
        ))
    }
}

#[async_trait]
impl Backend for PostgresBackend {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn begin(&self, begin: &Begin) -> Result<Box<dyn Session>> {
        let statement = begin_statement(begin);
        // After a restart of the server every idle connection is dead, and one that has just been
        // opened is not: so many failures in a row mean that the server is gone.
        let mut attempts_left = self.max_connections;
        let mut left_open = false;
        loop {
            let mut connection = self.acquire(begin.operation).await?;
            if left_open {
                // If that fails, so does the opening after it, with the same cause.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            }
            match Opening::new(connection, statement.clone()).await {
                Ok(transaction) => {
                    return Ok(Box::new(PostgresSession::new(
                        transaction,
                        self.pool.clone(),
                        Arc::clone(&self.schema),
                        self.persistent,
                    )));
                }
                Err(cause) if error::is_connection_loss(&cause) && attempts_left > 0 => {
                    attempts_left -= 1;
                }
                // A begin that the server refused half way: the driver counts a transaction only
                // after the answer, and did not roll it back.
                Err(cause) if error::is_left_open(&cause) && attempts_left > 0 => {
                    left_open = true;
                    attempts_left -= 1;
                }
                Err(cause) => return Err(error::driver_error(begin.operation, cause)),
            }
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBackend")
            .field("schema", &self.schema)
            .field("connections", &self.pool.size())
            .finish_non_exhaustive()
    }
}

/// Writes the one message that begins a transaction and names its tenant.
///
/// A UUID formatted by us holds nothing but hexadecimal digits and hyphens.
fn begin_statement(begin: &Begin) -> SqlStr {
    let mut text = String::with_capacity(128);
    text.push_str("BEGIN");
    match begin.isolation {
        None => {}
        Some(Isolation::ReadCommitted) => text.push_str(" ISOLATION LEVEL READ COMMITTED"),
        Some(Isolation::RepeatableRead) => text.push_str(" ISOLATION LEVEL REPEATABLE READ"),
        Some(Isolation::Serializable) => text.push_str(" ISOLATION LEVEL SERIALIZABLE"),
    }
    if begin.access != Access::Write {
        text.push_str(" READ ONLY");
    }
    if let Some(tenant) = begin.tenant {
        let _ = write!(text, "; SET LOCAL tenantry.tenant_id = '{tenant}'");
    }
    if let Some(timeout) = begin.statement_timeout {
        let _ = write!(
            text,
            "; SET LOCAL statement_timeout = {}",
            timeout.as_millis().clamp(1, LONGEST_TIMEOUT)
        );
    }
    AssertSqlSafe(text).into_sql_str()
}

/// The longest `statement_timeout` that the server takes, in milliseconds: 24 days.
const LONGEST_TIMEOUT: u128 = 2_147_483_647;

/// The opening of a transaction, which is carried to its end even if the caller drops it.
///
/// Dropped half way, sqlx would give the connection back to the pool inside a transaction with
/// the tenant set: it counts a transaction, and would roll it back, only after the answer.
struct Opening {
    future: Option<BoxFuture<'static, Result<Transaction<'static, Postgres>, sqlx::Error>>>,
}

impl Opening {
    fn new(connection: PoolConnection<Postgres>, statement: SqlStr) -> Self {
        Self {
            future: Some(Transaction::begin(connection, Some(statement))),
        }
    }
}

impl Future for Opening {
    type Output = Result<Transaction<'static, Postgres>, sqlx::Error>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return std::task::Poll::Pending;
        };
        let output = std::task::ready!(future.as_mut().poll(context));
        self.future = None;
        std::task::Poll::Ready(output)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(future) = self.future.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // The transaction that comes out is dropped, and so rolled back.
            runtime.spawn(future);
        }
    }
}
