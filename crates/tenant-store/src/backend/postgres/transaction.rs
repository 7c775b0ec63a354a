use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Postgres};
use sqlx::{SqlSafeStr as _, SqlStr};
use tokio::runtime::Handle;

use super::error::is_connection_loss;

/// How much longer than the server's own limit its answer is waited for.
const MARGIN: Duration = Duration::from_secs(5);

/// How long to wait for answers, where the server ends a statement after `statement_timeout`.
pub(super) fn answer_limit(statement_timeout: Option<Duration>) -> Option<Duration> {
    statement_timeout.map(|limit| limit.saturating_add(MARGIN))
}

/// Waits for an answer of the server no longer than `limit`: a network that swallows packets
/// would be waited for until TCP gives up, which takes a quarter of an hour.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let Some(limit) = limit else {
        return answer.await;
    };
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        Err(sqlx::Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the server gave no answer within {limit:?}"),
        )))
    })
}

/// A transaction on a connection of the pool.
///
/// sqlx's own counts a transaction only after the answer to its begin, and never lets go of its
/// connection but into the pool. This one gives a connection back only after the server has said
/// that no transaction is open on it, and closes it otherwise.
pub(super) struct Transaction {
    /// `None` only while it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    /// True once the server has said that the transaction has ended.
    ended: bool,
    limit: Option<Duration>,
    /// Where the connection is returned or closed, wherever the transaction is dropped.
    runtime: Handle,
}

impl Transaction {
    /// Begins by one message, which is answered within `begin_limit` or not at all.
    pub(super) async fn begin(
        connection: PoolConnection<Postgres>,
        statement: SqlStr,
        begin_limit: Duration,
        limit: Option<Duration>,
    ) -> Result<Self, sqlx::Error> {
        let mut transaction = Self {
            connection: Some(connection),
            ended: false,
            limit,
            runtime: Handle::current(),
        };
        let begun = transaction.run(Some(begin_limit), statement).await;
        if let Err(error) = begun {
            if !is_connection_loss(&error) {
                // The message may have failed after its BEGIN. If this fails too, the connection
                // is closed.
                let rollback = "ROLLBACK".into_sql_str();
                transaction.ended = transaction.run(Some(begin_limit), rollback).await.is_ok();
            }
            return Err(error);
        }
        Ok(transaction)
    }

    async fn run(&mut self, limit: Option<Duration>, sql: SqlStr) -> Result<(), sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.as_str().to_owned()));
        within(limit, (&mut **self).execute(query)).await.map(drop)
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let outcome = self.run(self.limit, "COMMIT".into_sql_str()).await;
        // A commit that the server refuses ends the transaction as well.
        self.ended = match &outcome {
            Ok(()) => true,
            Err(error) => error.as_database_error().is_some() && !is_connection_loss(error),
        };
        outcome
    }

    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        let outcome = self.run(self.limit, "ROLLBACK".into_sql_str()).await;
        self.ended = outcome.is_ok();
        outcome
    }

    /// Rolls back off the caller's path.
    pub(super) fn abandon(self, stale: Option<PgPool>) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let mut transaction = self;
            if let Some(pool) = stale {
                transaction.forget_statements(&pool).await;
            }
            // If that fails, the connection is closed, and the server rolls back by itself.
            let _ = transaction.rollback().await;
        });
    }

    /// Makes every connection prepare its statements anew, after a migration that changed the
    /// type of a column: the server refuses the old plans, and the driver would send them for
    /// ever.
    pub(super) async fn forget_statements(&mut self, pool: &PgPool) {
        // Those in use find out by themselves, as this one did.
        while let Some(mut idle) = pool.try_acquire() {
            idle.close_on_drop();
        }
        // If the connection is lost, so are its statements.
        let limit = self.limit;
        let _ = within(limit, self.clear_cached_statements()).await;
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // sqlx returns or closes a connection in a task of its own, and panics where there is no
        // runtime to run it.
        let _entered = self.runtime.enter();
        if let Some(mut connection) = self.connection.take()
            && !self.ended
        {
            // sqlx gives the farewell five seconds.
            connection.close_on_drop();
        }
    }
}
