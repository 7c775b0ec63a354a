//! The PostgreSQL backend: both walls.

mod arguments;
mod audit;
mod boot_check;
mod bootstrap;
mod connect;
mod error;
mod grants;
#[cfg(feature = "guard")]
mod guard;
mod loan;
mod migrate;
mod numeric;
mod probe;
mod rotation;
mod row;
mod schema;
mod session;
mod settings;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool, Postgres};
use sqlx::{SqlSafeStr as _, SqlStr};
use tenantry_core::{Error, ErrorKind, Result};

use super::{Access, Backend, Begin, Dialect, Each, PING, Session, Statement};
use crate::platform::PlatformStore;
use crate::statement::entering;
use crate::store::{StoreSettings, TenantStore};
use crate::work::Isolation;

pub use audit::{Role, ServerFacts, audit};
pub use boot_check::verify;
pub use bootstrap::{Bootstrap, BootstrapReport, bootstrap};
pub use grants::{GrantDifference, GrantDifferenceKind, GrantsReport, audit_grants};
#[cfg(feature = "guard")]
pub use guard::{GuardedPostgres, UnguardedPostgres};
pub use migrate::{migrate, pending_migrations};
pub use probe::{ServerProbe, TlsDemand, probe};
pub use settings::{BootAudit, Pooler, PostgresSettings};

#[cfg(feature = "guard")]
pub(crate) use error::{driver_error, kind_of};
use loan::{Loan, Patience, is_silence};
use rotation::{Changes, Rotation, others};
use session::{FetchError, PostgresSession, close_idle, fetch, forget_statements, query};

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
            #[cfg(feature = "guard")]
            declared: crate::guard::Declared {
                trusted_functions: settings.trusted_functions,
                shared_tables: Vec::new(),
            },
        },
    ))
}

/// What has a plan made once, whatever the arguments, and of indexes alone, for this process of the server alone
/// (<https://www.postgresql.org/docs/15/runtime-config-query.html>). Such a plan is reckoned dear over a large table, and
/// would be compiled each time, which takes thirty times as long as it does.
const BY_INDEXES: &str = "; SET LOCAL plan_cache_mode = force_generic_plan; \
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
    SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off";

/// The value of `db.system.name` in the semantic conventions.
const SYSTEM: &str = "postgresql";

pub(crate) struct PostgresBackend {
    pool: PgPool,
    /// Where the password may change.
    rotation: Option<Rotation>,
    max_connections: u32,
    schema: Arc<str>,
    /// Whether a connection leads to one process of the server for as long as it lives: it keeps
    /// statements prepared and its time-out set.
    direct: bool,
    statement_timeout: Option<Duration>,
    silence: Option<Duration>,
}

impl PostgresBackend {
    async fn connect(settings: &PostgresSettings, role: Role) -> Result<Self> {
        let watch = settings.watch().await?;
        let without_password = settings.options()?;
        let used = watch.as_ref().map(|watch| watch.generations().current);
        let mut options = match &used {
            Some(used) => without_password.clone().password(used.secret().expose()),
            None => settings.connect_options().await?,
        };
        let mut used = used.map_or(0, |used| used.number());
        let mut checked = Self::check(&options, settings, role).await;
        if let (Err(error), Some(watch)) = (&checked, &watch)
            && is_of_password(error)
        {
            // As a pool does later: once more, with what the vault has now, or had before.
            let reported = watch.report_failure(used).await;
            let generations = reported.unwrap_or_else(|_| watch.generations());
            for other in others(&generations, used) {
                let with_other = without_password.clone().password(other.secret().expose());
                let outcome = Self::check(&with_other, settings, role).await;
                if !outcome.as_ref().is_err_and(is_of_password) {
                    (used, options, checked) = (other.number(), with_other, outcome);
                    break;
                }
            }
        }
        checked.map_err(|error| match &watch {
            Some(watch) => rotation::blame(&**watch, error),
            None => error,
        })?;
        let direct = settings.pooler.keeps_sessions();
        let mut pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            // The message that begins the transaction finds a dead connection as well as a ping.
            .test_before_acquire(false);
        if let (true, Some(timeout)) = (direct, settings.statement_timeout) {
            // Once a connection, and not once a transaction.
            let text: Arc<str> = format!("SET statement_timeout = {}", millis(timeout)).into();
            pool = pool.after_connect(move |connection, _| {
                let statement = AssertSqlSafe(Arc::clone(&text));
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(statement)).await?;
                    Ok(())
                })
            });
        }
        let changes = Arc::new(Changes::default());
        if watch.is_some() {
            let changes = Arc::clone(&changes);
            pool = pool.after_release(move |_, metadata| {
                let is_over = changes.is_older(metadata.age);
                Box::pin(async move { Ok(!is_over) })
            });
        }
        let pool = pool.connect_lazy_with(options);
        let rotation =
            watch.map(|watch| Rotation::follow(watch, used, without_password, &pool, changes));
        Ok(Self {
            pool,
            rotation,
            max_connections: settings.max_connections,
            schema: settings.schema.as_str().into(),
            direct,
            statement_timeout: settings.statement_timeout,
            silence: settings.silence,
        })
    }

    async fn check(
        options: &PgConnectOptions,
        settings: &PostgresSettings,
        role: Role,
    ) -> Result<()> {
        let limit = settings.acquire_timeout;
        let mut connection = connect::connect_with("connect", options, limit).await?;
        let mut outcome = boot_check::check("connect", &mut connection, options, settings, role)
            .await
            .map(drop);
        if outcome.is_ok() && settings.pooler == Pooler::None {
            outcome = connect::refuse_hidden_pooler(&mut connection, options, limit).await;
        }
        // What was found out stays so, however the server takes the farewell.
        let _ = connection.close().await;
        outcome
    }

    /// Returns whether every connection has the time-out of a statement set already.
    fn has_its_timeout(&self, begin: &Begin) -> bool {
        self.direct && begin.statement_timeout == self.statement_timeout
    }

    /// Writes the one message that begins a transaction and names its tenant.
    ///
    /// A UUID formatted by us holds nothing but hexadecimal digits and hyphens.
    fn begin_statement(&self, begin: &Begin) -> SqlStr {
        let mut text = String::with_capacity(128);
        text.push_str("BEGIN");
        match begin.isolation {
            None => {}
            Some(Isolation::ReadCommitted) => text.push_str(" ISOLATION LEVEL READ COMMITTED"),
            Some(Isolation::RepeatableRead) => text.push_str(" ISOLATION LEVEL REPEATABLE READ"),
            Some(Isolation::Serializable) => text.push_str(" ISOLATION LEVEL SERIALIZABLE"),
        }
        if !matches!(begin.access, Access::Write | Access::WriteIndexed) {
            text.push_str(" READ ONLY");
        }
        if matches!(begin.access, Access::ReadIndexed | Access::WriteIndexed) {
            text.push_str(BY_INDEXES);
        }
        if let Some(tenant) = begin.tenant {
            let _ = write!(text, "; SET LOCAL tenantry.tenant_id = '{tenant}'");
        }
        if let Some(timeout) = begin.statement_timeout
            && !self.has_its_timeout(begin)
        {
            let _ = write!(text, "; SET LOCAL statement_timeout = {}", millis(timeout));
        }
        AssertSqlSafe(text).into_sql_str()
    }

    async fn acquire(&self, operation: &'static str) -> Result<PoolConnection<Postgres>> {
        let started = Instant::now();
        let acquired = match &self.rotation {
            Some(rotation) => rotation.acquire(&self.pool).await,
            None => self.pool.acquire().await,
        };
        match acquired {
            Ok(connection) => Ok(connection),
            Err(sqlx::Error::PoolTimedOut) => Err(self.timed_out(operation, started.elapsed())),
            Err(cause) => {
                let error = error::driver_error(operation, cause);
                Err(match &self.rotation {
                    Some(rotation) => rotation.blame(error),
                    None => error,
                })
            }
        }
    }

    /// Returns whether a first message that failed can be sent over another connection.
    ///
    /// After a restart of the server every idle connection is dead, and one that has just been
    /// opened is not: so many failures in a row mean that the server is gone.
    fn may_try_again(&self, cause: &sqlx::Error, attempts_left: &mut u32) -> bool {
        let is_of_no_use = error::is_connection_loss(cause) || error::is_failed_transaction(cause);
        if !is_of_no_use || *attempts_left == 0 {
            return false;
        }
        *attempts_left -= 1;
        if is_silence(cause) {
            // What went silent is the network, and not this connection alone. The one that is
            // opened next has to be the last.
            close_idle(&self.pool);
            *attempts_left = (*attempts_left).min(1);
        }
        true
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
        let statement = self.begin_statement(begin);
        let patience = Patience::new(self.silence, begin.statement_timeout);
        let mut attempts_left = self.max_connections;
        loop {
            let loan = Loan::new(self.acquire(begin.operation).await?, patience);
            match loan.begin(statement.clone()).await {
                Ok(transaction) => {
                    return Ok(Box::new(PostgresSession::new(
                        transaction,
                        self.pool.clone(),
                        Arc::clone(&self.schema),
                        self.direct,
                    )));
                }
                Err(cause) if self.may_try_again(&cause, &mut attempts_left) => {}
                Err(cause) => return Err(error::driver_error(begin.operation, cause)),
            }
        }
    }

    /// Lets the statement itself set the tenant, in the transaction that it is by itself: one round
    /// trip. Behind a pooler, where the time-out has to be set for each transaction, it is run in
    /// a session.
    async fn read(
        &self,
        begin: &Begin,
        statement: &Statement<'_>,
        each: &mut Each<'_>,
    ) -> Result<()> {
        if !self.has_its_timeout(begin) {
            return self.begin(begin).await?.fetch(statement, each).await;
        }
        let patience = Patience::new(self.silence, begin.statement_timeout);
        let entering = match statement.entering {
            Some(sql) => Arc::clone(sql),
            None => entering(statement.sql),
        };
        let mut attempts_left = self.max_connections;
        loop {
            let mut loan = Loan::new(self.acquire(begin.operation).await?, patience);
            let mut rows = 0_u64;
            let outcome = fetch(&mut loan, query(statement, &entering, true)?, &mut |row| {
                rows += 1;
                each(row)
            })
            .await;
            let cause = match outcome {
                Err(FetchError::Driver(cause)) if rows == 0 => cause,
                outcome => return outcome.map_err(|error| error.of(statement)),
            };
            if error::is_stale_plan(&cause) && attempts_left > 0 {
                attempts_left -= 1;
                forget_statements(&mut loan, &self.pool).await;
            } else if !self.may_try_again(&cause, &mut attempts_left) {
                return Err(FetchError::Driver(cause).of(statement));
            }
        }
    }

    /// The message that begins a transaction is answered; what it began is rolled back off this path.
    async fn ping(&self) -> Result<()> {
        let begin = Begin {
            operation: PING,
            tenant: None,
            access: Access::ReadOne,
            isolation: None,
            statement_timeout: self.statement_timeout,
        };
        self.begin(&begin).await.map(drop)
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

/// Returns a time-out in the unit of `statement_timeout`, as far as the server takes it.
fn millis(timeout: Duration) -> u128 {
    timeout.as_millis().clamp(1, LONGEST_TIMEOUT)
}

/// Says whether another password may do better: of one that it cannot send, the driver says that the
/// settings are wrong, and no more.
fn is_of_password(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::AuthenticationFailed => true,
        ErrorKind::InvalidSettings => error.detail().is_empty(),
        _ => false,
    }
}

/// The longest `statement_timeout` that the server takes, in milliseconds: 24 days.
const LONGEST_TIMEOUT: u128 = 2_147_483_647;
