use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{
    Arguments as _, AssertSqlSafe, Executor as _, SqlSafeStr as _, Sqlite, SqliteConnection,
    Transaction,
};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;

use super::arguments::Arguments;
use super::error::{driver_error, statement_error};
use super::row::SqliteRow;
use super::{SHORTEST, STEPS_PER_LOOK, schema};
use crate::aggregate::AggregateDescriptor;
use crate::backend::{Each, RowStream, SavepointAction, Session, Statement};
use crate::value::Row;

/// The most arguments of a statement that stays prepared.
const MOST_KEPT: usize = 64;

/// Made for each connection that writes, so that a session can have inserted a row of nobody.
#[cfg(feature = "guard")]
pub(super) const ROW_OF_NOBODY: &str =
    "CREATE TEMP TABLE tenantry_row_of_nobody (id INTEGER PRIMARY KEY)";
#[cfg(feature = "guard")]
const FORGET_ROW: &str = "REPLACE INTO temp.tenantry_row_of_nobody VALUES (0)";

/// A connection for one statement, or a transaction. Dropped, it is rolled back.
pub(super) struct SqliteSession {
    connection: Connection,
    /// False after an error, as on PostgreSQL: what has been done since is given up as a whole.
    usable: bool,
    limit: Option<Limit>,
    #[cfg(feature = "guard")]
    schema_mark: Option<i64>,
    /// Whether SQLite would still tell of the row that another tenant has inserted last.
    #[cfg_attr(not(feature = "guard"), allow(dead_code, reason = "nobody is told"))]
    tells_of_others: bool,
    /// Where the session began; the driver needs it to take the connection back.
    runtime: Option<Handle>,
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        // Whoever drops it may be on a thread of their own, or the runtime on its way out.
        let _inside = self.runtime.as_ref().map(Handle::enter);
        self.connection = Connection::Ended;
    }
}

pub(super) enum Connection {
    Plain(PoolConnection<Sqlite>),
    Transaction(Transaction<'static, Sqlite>),
    Ended,
}

impl Connection {
    fn get(&mut self, operation: &'static str) -> Result<&mut SqliteConnection> {
        match self {
            Self::Plain(connection) => Ok(connection),
            Self::Transaction(transaction) => Ok(transaction),
            Self::Ended => Err(Error::new(ErrorKind::WorkAborted, operation)),
        }
    }
}

impl SqliteSession {
    /// `writes` says that the connection is the one that writes.
    pub(super) fn new(connection: Connection, writes: bool) -> Self {
        Self {
            connection,
            usable: true,
            limit: None,
            #[cfg(feature = "guard")]
            schema_mark: None,
            tells_of_others: writes,
            runtime: Handle::try_current().ok(),
        }
    }

    /// Interrupts every statement from now on that runs longer.
    ///
    /// With `left_behind` it says that the connection may keep a limit that is over.
    pub(super) async fn limit_statements(
        &mut self,
        timeout: Duration,
        left_behind: &Arc<AtomicBool>,
    ) -> Result<()> {
        let limit = Limit::new(timeout.max(SHORTEST), left_behind);
        let deadline = Arc::clone(&limit.deadline);
        let started = limit.started;
        let connection = self.connection.get("begin")?;
        let mut handle = connection
            .lock_handle()
            .await
            .map_err(|cause| driver_error("begin", &cause))?;
        // The handler stays on the connection; without a deadline it does nothing.
        handle.set_progress_handler(STEPS_PER_LOOK, move || {
            let deadline = deadline.load(Ordering::Relaxed);
            deadline == 0 || nanoseconds(started.elapsed()) < deadline
        });
        drop(handle);
        self.limit = Some(limit);
        Ok(())
    }

    /// Takes away what an earlier session may have left to interrupt its statement by.
    pub(super) async fn lift_limits(&mut self) -> Result<()> {
        let connection = self.connection.get("begin")?;
        let mut handle = connection
            .lock_handle()
            .await
            .map_err(|cause| driver_error("begin", &cause))?;
        handle.remove_progress_handler();
        Ok(())
    }

    fn start(&self) {
        if let Some(limit) = &self.limit {
            limit.start();
        }
    }

    fn stop(&self) {
        if let Some(limit) = &self.limit {
            limit.stop();
        }
    }

    /// Runs a statement of the driver's own, and hands out what it answers as it arrives.
    #[cfg(feature = "guard")]
    pub(super) fn run(
        &mut self,
        sql: sqlx::SqlStr,
        arguments: SqliteArguments,
        persistent: bool,
    ) -> crate::guard::sealed::Rows<'_, Sqlite> {
        let persistent = persistent && arguments.len() <= MOST_KEPT;
        let query = sqlx::query_with(sql, arguments).persistent(persistent);
        Box::pin(async_stream::try_stream! {
            self.start();
            let connection = self.connection.get("sqlx").map_err(crate::guard::into_driver_error)?;
            if std::mem::take(&mut self.tells_of_others) {
                connection.execute(FORGET_ROW).await?;
            }
            let mut rows = connection.fetch_many(query);
            let failed = loop {
                match rows.try_next().await {
                    // With the number of the row that another has inserted last.
                    Ok(Some(sqlx::Either::Left(done))) if done.rows_affected() == 0 => {
                        yield sqlx::Either::Left(sqlx::sqlite::SqliteQueryResult::default());
                    }
                    Ok(Some(row)) => yield row,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            drop(rows);
            self.stop();
            if let Some(error) = failed {
                self.usable = false;
                Err(error)?;
            }
        })
    }

    fn query<'q>(
        &mut self,
        statement: &Statement<'_>,
    ) -> Result<Query<'q, Sqlite, SqliteArguments>> {
        let mut arguments = Arguments::default();
        (statement.bind)(&mut arguments).map_err(|error| statement.value_error(&error))?;
        self.start();
        let sql = AssertSqlSafe(Arc::clone(statement.sql)).into_sql_str();
        let arguments = arguments.into_inner();
        // A text for every length of a list would fill the connection's cache with long ones that
        // hardly come again; the whole statements of an insert of many rows do.
        let comes_again = arguments.len() <= MOST_KEPT || statement.operation == "insert_many";
        Ok(sqlx::query_with(sql, arguments).persistent(comes_again))
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn fetch(&mut self, statement: &Statement<'_>, each: &mut Each<'_>) -> Result<()> {
        let query = self.query(statement)?;
        let connection = self.connection.get(statement.operation)?;
        let mut rows = query.fetch(connection);
        let outcome = loop {
            match rows.try_next().await {
                Ok(Some(row)) => {
                    each(&SqliteRow(row)).map_err(|error| statement.value_error(&error))?;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(rows);
        self.stop();
        outcome.map_err(|error| {
            self.usable = false;
            statement_error(statement, &error)
        })
    }

    async fn execute(&mut self, statement: &Statement<'_>) -> Result<u64> {
        let query = self.query(statement)?;
        let connection = self.connection.get(statement.operation)?;
        let outcome = query.execute(connection).await;
        self.stop();
        match outcome {
            Ok(result) => Ok(result.rows_affected()),
            Err(error) => {
                self.usable = false;
                Err(statement_error(statement, &error))
            }
        }
    }

    fn stream<'s>(&'s mut self, statement: &'s Statement<'s>) -> RowStream<'s> {
        let query = match self.query(statement) {
            Ok(query) => query,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let Self {
            connection,
            usable,
            limit,
            ..
        } = self;
        let connection = match connection.get(statement.operation) {
            Ok(connection) => connection,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        query
            .fetch(connection)
            .map(move |row| match row {
                Ok(row) => Ok(Box::new(SqliteRow(row)) as Box<dyn Row + Send>),
                Err(error) => {
                    *usable = false;
                    Err(statement_error(statement, &error))
                }
            })
            .chain(stream::poll_fn(move |_| {
                limit.iter().for_each(Limit::stop);
                Poll::Ready(None)
            }))
            .boxed()
    }

    fn is_usable(&self) -> bool {
        self.usable
    }

    async fn verify(&mut self, descriptor: &'static AggregateDescriptor) -> Result<()> {
        let connection = self.connection.get("verify")?;
        match schema::verify(connection, descriptor).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.usable = false;
                Err(driver_error("verify", &error))
            }
        }
    }

    /// What SQLite counts its schema by
    /// (<https://www.sqlite.org/pragma.html#pragma_schema_version>), asked for once: inside
    /// a transaction it stays.
    #[cfg(feature = "guard")]
    async fn schema_mark(&mut self) -> Result<Option<i64>> {
        if self.schema_mark.is_none() {
            let connection = self.connection.get("read catalog")?;
            let mark = sqlx::query_scalar("PRAGMA schema_version")
                .fetch_one(connection)
                .await;
            match mark {
                Ok(mark) => self.schema_mark = Some(mark),
                Err(error) => {
                    self.usable = false;
                    return Err(driver_error("read catalog", &error));
                }
            }
        }
        Ok(self.schema_mark)
    }

    #[cfg(feature = "guard")]
    async fn catalog(
        &mut self,
        declared: &crate::guard::Declared,
    ) -> Result<crate::guard::Catalog> {
        self.start();
        let connection = self.connection.get("read catalog")?;
        let outcome = super::guard::catalog(connection, declared).await;
        self.stop();
        match outcome {
            Ok(catalog) => Ok(catalog),
            Err(error) => {
                self.usable = false;
                Err(driver_error("read catalog", &error))
            }
        }
    }

    async fn savepoint(&mut self, number: u32, action: SavepointAction) -> Result<()> {
        let (operation, text) = action.statement(number);
        let connection = self.connection.get(operation)?;
        match connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await {
            Ok(_) => {
                self.usable = true;
                Ok(())
            }
            Err(error) => {
                self.usable = false;
                Err(driver_error(operation, &error))
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        let connection = std::mem::replace(&mut self.connection, Connection::Ended);
        match connection {
            Connection::Transaction(transaction) if self.usable => transaction
                .commit()
                .await
                .map_err(|error| driver_error("commit", &error)),
            Connection::Plain(_) => Ok(()),
            Connection::Transaction(_) | Connection::Ended => {
                Err(Error::new(ErrorKind::WorkAborted, "commit"))
            }
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.connection, Connection::Ended) {
            Connection::Transaction(transaction) => match transaction.rollback().await {
                // After an error SQLite may have rolled back already.
                Err(error) if self.usable => Err(driver_error("rollback", &error)),
                Ok(()) | Err(_) => Ok(()),
            },
            Connection::Plain(_) | Connection::Ended => Ok(()),
        }
    }
}

/// The time that a statement may take, in a form that SQLite's thread can look at.
struct Limit {
    timeout: Duration,
    started: Instant,
    /// Nanoseconds since `started`; 0 while nothing is limited.
    deadline: Arc<AtomicU64>,
    /// Whether a connection may be left with one that is over.
    left_behind: Arc<AtomicBool>,
}

impl Limit {
    fn new(timeout: Duration, left_behind: &Arc<AtomicBool>) -> Self {
        Self {
            timeout,
            started: Instant::now(),
            deadline: Arc::default(),
            left_behind: Arc::clone(left_behind),
        }
    }

    fn start(&self) {
        let deadline = nanoseconds(self.started.elapsed().saturating_add(self.timeout));
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    fn stop(&self) {
        self.deadline.store(0, Ordering::Relaxed);
    }
}

impl Drop for Limit {
    /// Whoever drops a statement that still runs does not wait for it: it is interrupted at once,
    /// and lets the connection go.
    fn drop(&mut self) {
        if self.deadline.load(Ordering::Relaxed) != 0 {
            self.left_behind.store(true, Ordering::Relaxed);
            self.deadline.store(1, Ordering::Relaxed);
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
