use std::fmt;
use std::sync::Arc;

use tenantry_core::Result;

use super::{Arguments, Engine, OwnStatement};
use crate::backend::{Access, ArgumentSink, Begin, Session, Statement};
use crate::platform::PlatformScope;
use crate::value::{Row, ValueError};

/// A transaction across tenants over tables of another crate.
///
/// Made by [`PlatformScope::begin_own`]. Dropped, it is rolled back, off the caller's path.
///
/// # Isolation
///
/// Nothing is put into a statement: it sees and changes the rows of all tenants.
pub struct OwnWork {
    scope: PlatformScope,
    session: Box<dyn Session>,
}

impl PlatformScope {
    /// Returns which kind of database this is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.store().backend.dialect().into()
    }

    /// Writes a text for this database: `{schema}` becomes the schema of the tables, with its dot.
    #[must_use]
    pub fn own_sql(&self, text: &str) -> Arc<str> {
        self.store().own_sql(text)
    }

    /// Begins a transaction over tables of another crate; the reason of the scope stands in a trace event.
    ///
    /// # Errors
    ///
    /// As [`TenantScope::begin`](crate::TenantScope::begin).
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has begun.
    pub async fn begin_own(&self, operation: &'static str) -> Result<OwnWork> {
        self.begin_own_with(operation, Access::Write).await
    }

    /// Begins one whose statements go by indexes, and by plans that PostgreSQL makes once for all arguments: for a few rows of
    /// a table that nobody may have analysed, of which a plan by what the server reckons would look through all.
    ///
    /// # Errors
    ///
    /// As [`begin_own`](Self::begin_own).
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has begun.
    pub async fn begin_own_indexed(&self, operation: &'static str) -> Result<OwnWork> {
        self.begin_own_with(operation, Access::WriteIndexed).await
    }

    /// Begins one that reads by one statement, and is dropped after it.
    ///
    /// # Errors
    ///
    /// As [`begin_own`](Self::begin_own).
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has begun.
    pub async fn read_own(&self, operation: &'static str) -> Result<OwnWork> {
        self.begin_own_with(operation, Access::ReadOne).await
    }

    /// The same by a plan that PostgreSQL makes once for all arguments and that goes by indexes: for a statement which
    /// runs many times a second over rows of which the server cannot reckon how many there are.
    ///
    /// To make a plan each time takes longer than such a statement itself, and one that was made while a table was empty, or
    /// full, may look through all of it ([`plan_cache_mode`], `enable_seqscan`).
    ///
    /// # Errors
    ///
    /// As [`begin_own`](Self::begin_own).
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has begun.
    ///
    /// [`plan_cache_mode`]: https://www.postgresql.org/docs/15/runtime-config-query.html#GUC-PLAN-CACHE-MODE
    pub async fn read_own_indexed(&self, operation: &'static str) -> Result<OwnWork> {
        self.begin_own_with(operation, Access::ReadIndexed).await
    }

    async fn begin_own_with(&self, operation: &'static str, access: Access) -> Result<OwnWork> {
        self.leave_trace(operation, "", None);
        let begin = Begin {
            access,
            ..self.begin(operation)
        };
        Ok(OwnWork {
            session: self.store().backend.begin(&begin).await?,
            scope: self.clone(),
        })
    }
}

impl OwnWork {
    /// Runs a statement and returns how many rows it wrote.
    ///
    /// # Errors
    ///
    /// Those of a repository that writes; the transaction takes nothing more then.
    ///
    /// # Cancel safety
    ///
    /// Drop the transaction with it.
    pub async fn execute(&mut self, statement: &OwnStatement<'_>) -> Result<u64> {
        let bind = |sink: &mut dyn ArgumentSink| (statement.bind)(&mut Arguments { sink });
        let (operation, table) = (statement.operation, statement.table.name());
        let statement = of_backend(statement, &bind);
        let telemetry = &self.scope.store().telemetry;
        let running = self.session.execute(&statement);
        telemetry.observe(operation, table, None, running).await
    }

    /// Runs a statement and hands each row to `each`.
    ///
    /// # Errors
    ///
    /// Those of a repository that reads; `InvalidValue` for what `each` answers.
    ///
    /// # Cancel safety
    ///
    /// Drop the transaction with it.
    pub async fn fetch(
        &mut self,
        statement: &OwnStatement<'_>,
        each: &mut (dyn for<'r> FnMut(&'r dyn Row) -> Result<(), ValueError> + Send),
    ) -> Result<()> {
        let bind = |sink: &mut dyn ArgumentSink| (statement.bind)(&mut Arguments { sink });
        let (operation, table) = (statement.operation, statement.table.name());
        let statement = of_backend(statement, &bind);
        let telemetry = &self.scope.store().telemetry;
        let running = self.session.fetch(&statement, each);
        telemetry.observe(operation, table, None, running).await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// `CommitUnknown` if the answer was lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have been committed or not.
    pub async fn commit(mut self) -> Result<()> {
        let telemetry = &self.scope.store().telemetry;
        let committing = self.session.commit();
        telemetry.observe("commit", "", None, committing).await
    }
}

fn of_backend<'a>(
    statement: &OwnStatement<'a>,
    bind: &'a crate::backend::Bind<'a>,
) -> Statement<'a> {
    Statement {
        operation: statement.operation,
        descriptor: statement.table.descriptor(),
        key: None,
        sql: statement.sql,
        entering: None,
        bind,
    }
}

impl fmt::Debug for OwnWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnWork")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
