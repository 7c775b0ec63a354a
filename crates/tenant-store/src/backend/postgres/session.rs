use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, PgPool, SqlSafeStr as _};
use tenantry_core::{Error, ErrorKind, Result};

use super::arguments::Arguments;
use super::error::{
    commit_error, driver_error, is_connection_loss, is_stale_plan, late_error, statement_error,
};
use super::loan::Loan;
use super::row::PostgresRow;
use super::schema;
use crate::aggregate::AggregateDescriptor;
use crate::backend::{Each, RowStream, SavepointAction, Session, Statement};
use crate::value::{Row, ValueError};

/// A transaction that knows its tenant. Dropped, it is rolled back before its connection returns
/// to the pool.
pub(super) struct PostgresSession {
    /// `None` once it has ended.
    transaction: Option<Loan>,
    /// False after an error of the server: it takes nothing but a rollback then.
    usable: bool,
    /// True once a prepared statement turned out to be older than a migration.
    stale: bool,
    pool: PgPool,
    schema: Arc<str>,
    persistent: bool,
}

impl PostgresSession {
    pub(super) const fn new(
        transaction: Loan,
        pool: PgPool,
        schema: Arc<str>,
        persistent: bool,
    ) -> Self {
        Self {
            transaction: Some(transaction),
            usable: true,
            stale: false,
            pool,
            schema,
            persistent,
        }
    }

    fn transaction(&mut self, operation: &'static str) -> Result<&mut Loan> {
        self.transaction
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::WorkAborted, operation))
    }

    /// Waits for the answer to a read that was dropped. If it failed, it has ended the transaction.
    async fn settle(&mut self, operation: &'static str) -> Result<()> {
        let settled = self.transaction(operation)?.settle().await;
        settled.map_err(|error| {
            self.failed(&error);
            late_error(operation, error)
        })
    }

    /// Runs a statement of the driver's own, and hands out what it answers as it arrives.
    #[cfg(feature = "guard")]
    pub(super) fn run(
        &mut self,
        sql: sqlx::SqlStr,
        arguments: PgArguments,
        persistent: bool,
    ) -> crate::guard::sealed::Rows<'_, Postgres> {
        let query = sqlx::query_with(sql, arguments).persistent(persistent && self.persistent);
        Box::pin(async_stream::try_stream! {
            self.settle("sqlx").await.map_err(crate::guard::into_driver_error)?;
            let transaction = self.transaction("sqlx").map_err(crate::guard::into_driver_error)?;
            let outcome = {
                let (connection, alarm) = transaction.ask()?;
                let mut rows = sqlx::Executor::fetch_many(connection, query);
                loop {
                    match alarm.statement(rows.try_next()).await {
                        Ok(Some(row)) => yield row,
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            };
            self.transaction("sqlx")
                .map_err(crate::guard::into_driver_error)?
                .answered(&outcome);
            if let Err(error) = outcome {
                self.failed(&error);
                Err(error)?;
            }
        })
    }

    /// Takes note of an error: nothing but a rollback is left.
    fn failed(&mut self, error: &sqlx::Error) {
        self.usable = false;
        self.stale |= is_stale_plan(error);
    }
}

/// Writes the arguments of a statement and makes it one of the driver's.
pub(super) fn query<'q>(
    statement: &Statement<'_>,
    sql: &Arc<str>,
    persistent: bool,
) -> Result<Query<'q, Postgres, PgArguments>> {
    let mut arguments = Arguments::default();
    (statement.bind)(&mut arguments).map_err(|error| statement.value_error(&error))?;
    let sql = AssertSqlSafe(Arc::clone(sql)).into_sql_str();
    Ok(sqlx::query_with(sql, arguments.into_inner()).persistent(persistent))
}

/// What came in the way of the rows of a statement.
pub(super) enum FetchError {
    /// The driver or the server: the connection is in an unknown state, or its transaction failed.
    Driver(sqlx::Error),
    /// A row that does not fit.
    Value(ValueError),
}

impl FetchError {
    pub(super) fn of(self, statement: &Statement<'_>) -> Error {
        match self {
            Self::Driver(error) => statement_error(statement, error),
            Self::Value(error) => statement.value_error(&error),
        }
    }
}

/// Runs a query and hands each row to `each`, as long as the server answers.
pub(super) async fn fetch(
    loan: &mut Loan,
    query: Query<'_, Postgres, PgArguments>,
    each: &mut Each<'_>,
) -> Result<(), FetchError> {
    let (connection, alarm) = loan.ask().map_err(FetchError::Driver)?;
    let mut rows = query.fetch(connection);
    let all = async {
        while let Some(row) = rows.try_next().await? {
            if let Err(error) = each(&PostgresRow(row)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    };
    let outcome = alarm.statement(all).await;
    drop(rows);
    match outcome {
        // The rows behind this one are still to come.
        Ok(Err(error)) => Err(FetchError::Value(error)),
        outcome => {
            loan.answered(&outcome);
            outcome.map(drop).map_err(FetchError::Driver)
        }
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn fetch(&mut self, statement: &Statement<'_>, each: &mut Each<'_>) -> Result<()> {
        self.settle(statement.operation).await?;
        let query = query(statement, statement.sql, self.persistent)?;
        let outcome = fetch(self.transaction(statement.operation)?, query, each).await;
        if let Err(FetchError::Driver(error)) = &outcome {
            self.failed(error);
        }
        outcome.map_err(|error| error.of(statement))
    }

    async fn execute(&mut self, statement: &Statement<'_>) -> Result<u64> {
        self.settle(statement.operation).await?;
        let query = query(statement, statement.sql, self.persistent)?;
        let transaction = self.transaction(statement.operation)?;
        let outcome = match transaction.ask() {
            Ok((connection, alarm)) => alarm.statement(query.execute(connection)).await,
            Err(error) => Err(error),
        };
        transaction.answered(&outcome);
        outcome.map(|done| done.rows_affected()).map_err(|error| {
            self.failed(&error);
            statement_error(statement, error)
        })
    }

    fn stream<'s>(&'s mut self, statement: &'s Statement<'s>) -> RowStream<'s> {
        let failure = |error| stream::once(async { Err(error) }).boxed();
        let query = match query(statement, statement.sql, self.persistent) {
            Ok(query) => query,
            Err(error) => return failure(error),
        };
        Box::pin(async_stream::try_stream! {
            self.settle(statement.operation).await?;
            let outcome = {
                let transaction = self.transaction(statement.operation)?;
                let (connection, alarm) = transaction
                    .ask()
                    .map_err(|error| statement_error(statement, error))?;
                let mut rows = query.fetch(connection);
                loop {
                    match alarm.statement(rows.try_next()).await {
                        Ok(Some(row)) => yield Box::new(PostgresRow(row)) as Box<dyn Row + Send>,
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            };
            self.transaction(statement.operation)?.answered(&outcome);
            if let Err(error) = outcome {
                self.failed(&error);
                Err(statement_error(statement, error))?;
            }
        })
    }

    fn is_usable(&self) -> bool {
        self.usable
    }

    async fn verify(&mut self, descriptor: &'static AggregateDescriptor) -> Result<()> {
        self.settle("verify").await?;
        let schema = Arc::clone(&self.schema);
        let transaction = self.transaction("verify")?;
        let outcome = match transaction.ask() {
            Ok((connection, alarm)) => {
                let found = schema::verify(connection, &schema, descriptor);
                alarm.statement(found).await
            }
            Err(error) => Err(error),
        };
        transaction.answered(&outcome);
        outcome.unwrap_or_else(|error| {
            self.failed(&error);
            Err(driver_error("verify", error))
        })
    }

    #[cfg(feature = "guard")]
    async fn schema_mark(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }

    #[cfg(feature = "guard")]
    async fn catalog(
        &mut self,
        declared: &crate::guard::Declared,
    ) -> Result<crate::guard::Catalog> {
        self.settle("read catalog").await?;
        let transaction = self.transaction("read catalog")?;
        let outcome = match transaction.ask() {
            Ok((connection, alarm)) => {
                let found = super::guard::catalog(connection, declared);
                alarm.statement(found).await
            }
            Err(error) => Err(error),
        };
        transaction.answered(&outcome);
        outcome.unwrap_or_else(|error| {
            self.failed(&error);
            Err(driver_error("read catalog", error))
        })
    }

    async fn savepoint(&mut self, number: u32, action: SavepointAction) -> Result<()> {
        let (operation, text) = action.statement(number);
        let statement = AssertSqlSafe(text).into_sql_str();
        if action == SavepointAction::RollbackTo {
            // Whatever it failed with is undone.
            let settled = self.transaction(operation)?.settle().await;
            if let Err(error) = settled
                && is_connection_loss(&error)
            {
                self.failed(&error);
                return Err(driver_error(operation, error));
            }
        } else {
            self.settle(operation).await?;
        }
        match self.transaction(operation)?.short(statement).await {
            Ok(()) => {
                self.usable = true;
                Ok(())
            }
            Err(error) => {
                self.failed(&error);
                Err(driver_error(operation, error))
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        // After an error the server answers COMMIT by a rollback, and calls that a success.
        if !self.usable {
            return Err(Error::new(ErrorKind::WorkAborted, "commit"));
        }
        self.settle("commit").await?;
        match self.transaction.take() {
            Some(transaction) => transaction.commit().await.map_err(commit_error),
            None => Err(Error::new(ErrorKind::WorkAborted, "commit")),
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        let Some(mut transaction) = self.transaction.take() else {
            return Ok(());
        };
        if self.stale {
            forget_statements(&mut transaction, &self.pool).await;
        }
        transaction
            .rollback()
            .await
            .map_err(|error| driver_error("rollback", error))
    }
}

impl Drop for PostgresSession {
    fn drop(&mut self) {
        if self.stale
            && let Some(mut transaction) = self.transaction.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let pool = self.pool.clone();
            runtime.spawn(async move { forget_statements(&mut transaction, &pool).await });
        }
    }
}

/// Makes every connection prepare its statements anew, after a migration that changed the type of
/// a column: the server refuses the old plans, and the driver would send them for ever.
pub(super) async fn forget_statements(loan: &mut Loan, pool: &PgPool) {
    // Those in use find out by themselves, as this one did.
    close_idle(pool);
    if let Ok((connection, alarm)) = loan.ask() {
        let cleared = alarm.short(connection.clear_cached_statements()).await;
        // If the connection is lost, so are its statements.
        loan.answered(&cleared);
    }
}

/// Closes the connections that nobody uses.
pub(super) fn close_idle(pool: &PgPool) {
    while let Some(mut idle) = pool.try_acquire() {
        idle.close_on_drop();
    }
}
