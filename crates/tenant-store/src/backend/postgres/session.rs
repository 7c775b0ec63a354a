use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool, SqlSafeStr as _, Transaction};

use super::arguments::Arguments;
use super::error::{commit_error, driver_error, is_stale_plan, statement_error};
use super::row::PostgresRow;
use super::schema;
use crate::aggregate::AggregateDescriptor;
use crate::backend::{Each, RowStream, SavepointAction, Session, Statement};
use crate::error::{Error, ErrorKind, Result};
use crate::value::Row;

/// A transaction that knows its tenant. Dropped, it is rolled back as its connection returns to
/// the pool.
pub(super) struct PostgresSession {
    /// `None` once it has ended.
    transaction: Option<Transaction<'static, Postgres>>,
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
        transaction: Transaction<'static, Postgres>,
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

    fn transaction(
        &mut self,
        operation: &'static str,
    ) -> Result<&mut Transaction<'static, Postgres>> {
        self.transaction
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::WorkAborted, operation))
    }

    fn query<'q>(&self, statement: &Statement<'_>) -> Result<Query<'q, Postgres, PgArguments>> {
        let mut arguments = Arguments::default();
        (statement.bind)(&mut arguments).map_err(|error| statement.value_error(&error))?;
        let sql = AssertSqlSafe(Arc::clone(statement.sql)).into_sql_str();
        Ok(sqlx::query_with(sql, arguments.into_inner()).persistent(self.persistent))
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn fetch(&mut self, statement: &Statement<'_>, each: &mut Each<'_>) -> Result<()> {
        let query = self.query(statement)?;
        let transaction = self.transaction(statement.operation)?;
        let mut rows = query.fetch(&mut **transaction);
        loop {
            match rows.try_next().await {
                Ok(Some(row)) => {
                    each(&PostgresRow(row)).map_err(|error| statement.value_error(&error))?;
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    drop(rows);
                    self.usable = false;
                    self.stale |= is_stale_plan(&error);
                    return Err(statement_error(statement, error));
                }
            }
        }
    }

    async fn execute(&mut self, statement: &Statement<'_>) -> Result<u64> {
        let query = self.query(statement)?;
        let transaction = self.transaction(statement.operation)?;
        match query.execute(&mut **transaction).await {
            Ok(result) => Ok(result.rows_affected()),
            Err(error) => {
                self.usable = false;
                self.stale |= is_stale_plan(&error);
                Err(statement_error(statement, error))
            }
        }
    }

    fn stream<'s>(&'s mut self, statement: &'s Statement<'s>) -> RowStream<'s> {
        let query = match self.query(statement) {
            Ok(query) => query,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let Self {
            transaction,
            usable,
            stale,
            ..
        } = self;
        let Some(transaction) = transaction else {
            let error = Error::new(ErrorKind::WorkAborted, statement.operation);
            return stream::once(async { Err(error) }).boxed();
        };
        query
            .fetch(&mut **transaction)
            .map(move |row| match row {
                Ok(row) => Ok(Box::new(PostgresRow(row)) as Box<dyn Row + Send>),
                Err(error) => {
                    *usable = false;
                    *stale |= is_stale_plan(&error);
                    Err(statement_error(statement, error))
                }
            })
            .boxed()
    }

    fn is_usable(&self) -> bool {
        self.usable
    }

    async fn verify(&mut self, descriptor: &'static AggregateDescriptor) -> Result<()> {
        let Self {
            transaction: Some(transaction),
            schema,
            ..
        } = self
        else {
            return Err(Error::new(ErrorKind::WorkAborted, "verify"));
        };
        match schema::verify(transaction, schema, descriptor).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.usable = false;
                Err(driver_error("verify", error))
            }
        }
    }

    async fn savepoint(&mut self, number: u32, action: SavepointAction) -> Result<()> {
        let (operation, text) = action.statement(number);
        let transaction = self.transaction(operation)?;
        match transaction
            .execute(sqlx::raw_sql(AssertSqlSafe(text)))
            .await
        {
            Ok(_) => {
                self.usable = true;
                Ok(())
            }
            Err(error) => {
                self.usable = false;
                Err(driver_error(operation, error))
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        // After an error the server answers COMMIT by a rollback, and calls that a success.
        if !self.usable {
            return Err(Error::new(ErrorKind::WorkAborted, "commit"));
        }
        match self.transaction.take() {
            Some(transaction) => transaction.commit().await.map_err(commit_error),
            None => Err(Error::new(ErrorKind::WorkAborted, "commit")),
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        match self.transaction.take() {
            Some(mut transaction) => {
                if self.stale {
                    forget_statements(&mut transaction, &self.pool).await;
                }
                transaction
                    .rollback()
                    .await
                    .map_err(|error| driver_error("rollback", error))
            }
            None => Ok(()),
        }
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
async fn forget_statements(transaction: &mut Transaction<'static, Postgres>, pool: &PgPool) {
    // Those in use find out by themselves, as this one did.
    while let Some(mut idle) = pool.try_acquire() {
        idle.close_on_drop();
    }
    // If the connection is lost, so are its statements.
    let _ = transaction.clear_cached_statements().await;
}
