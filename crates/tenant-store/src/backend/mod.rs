//! What a database must do for the repositories, and the databases that do it.
//!
//! The traits are sealed: isolation rests on every session carrying its tenant, and only this
//! crate can vouch for that.

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod schema;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use crate::aggregate::AggregateDescriptor;
use crate::value::{ColumnType, Row, ValueError, ValueSink};
use crate::work::Isolation;

/// A database with its pools.
#[async_trait]
pub(crate) trait Backend: Debug + Send + Sync {
    /// Returns how statements are written for this database.
    fn dialect(&self) -> Dialect;

    /// Opens a session whose every statement runs in one transaction of one tenant.
    ///
    /// A session that is dropped is rolled back, off the caller's path.
    async fn begin(&self, begin: &Begin) -> Result<Box<dyn Session>>;

    /// Runs one statement that reads, in a transaction of its own, and hands each row to `each`.
    async fn read(
        &self,
        begin: &Begin,
        statement: &Statement<'_>,
        each: &mut Each<'_>,
    ) -> Result<()>;

    /// Asks the database for an answer, over a connection of its pool.
    async fn ping(&self) -> Result<()>;

    /// Closes the pools; waits for connections that are in use.
    async fn close(&self);
}

/// What a session is opened for.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "SQLite has one wall, one level")
)]
pub(crate) struct Begin {
    pub(crate) operation: &'static str,
    /// `None` is the platform: every tenant.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) access: Access,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) statement_timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// One statement that reads.
    ReadOne,
    /// The same by a plan that is made once, whatever the arguments, and goes by indexes.
    #[cfg_attr(not(feature = "own-tables"), allow(dead_code))]
    ReadIndexed,
    /// Several statements that read, from one snapshot where the isolation level says so.
    Read,
    Write,
    /// The same by plans that are made once, whatever the arguments, and go by indexes.
    #[cfg_attr(not(feature = "own-tables"), allow(dead_code))]
    WriteIndexed,
}

/// What errors call a look at whether the database answers.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
const PING: &str = "ping";

/// How a database wants its statements written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Postgres,
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    Sqlite,
}

/// One transaction of one tenant.
#[async_trait]
pub(crate) trait Session: Send + std::any::Any {
    /// Runs a statement and hands each row to `each`.
    async fn fetch(&mut self, statement: &Statement<'_>, each: &mut Each<'_>) -> Result<()>;

    /// Runs a statement and returns the number of rows it touched.
    async fn execute(&mut self, statement: &Statement<'_>) -> Result<u64>;

    /// Runs a statement and hands out its rows one by one, as they arrive.
    fn stream<'s>(&'s mut self, statement: &'s Statement<'s>) -> RowStream<'s>;

    /// Returns whether statements can still be run: false after an error of the database.
    fn is_usable(&self) -> bool;

    /// Compares the table with what the code expects.
    async fn verify(&mut self, descriptor: &'static AggregateDescriptor) -> Result<()>;

    /// Returns a number that changes with the schema, and stays in this session; `None` where there
    /// is another wall behind the guard.
    #[cfg(feature = "guard")]
    async fn schema_mark(&mut self) -> Result<Option<i64>>;

    /// Reads what the guard has to know of relations and functions.
    #[cfg(feature = "guard")]
    async fn catalog(&mut self, declared: &crate::guard::Declared)
    -> Result<crate::guard::Catalog>;

    /// Sets, releases or rolls back to the savepoint with a number.
    async fn savepoint(&mut self, number: u32, action: SavepointAction) -> Result<()>;

    /// Commits; with `CommitUnknown`, whether that happened is not known.
    async fn commit(&mut self) -> Result<()>;

    /// Rolls back and waits for it.
    async fn rollback(&mut self) -> Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SavepointAction {
    Set,
    Release,
    RollbackTo,
}

impl SavepointAction {
    /// Returns the name of the operation, and its statement, which both databases take.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn statement(self, number: u32) -> (&'static str, String) {
        let (operation, verb) = match self {
            Self::Set => ("savepoint", "SAVEPOINT"),
            Self::Release => ("release", "RELEASE SAVEPOINT"),
            Self::RollbackTo => ("rollback_to", "ROLLBACK TO SAVEPOINT"),
        };
        (operation, format!("{verb} tenantry_{number}"))
    }
}

pub(crate) type Each<'a> = dyn for<'r> FnMut(&'r dyn Row) -> Result<(), ValueError> + Send + 'a;
pub(crate) type RowStream<'s> = BoxStream<'s, Result<Box<dyn Row + Send>>>;
pub(crate) type Bind<'a> =
    dyn Fn(&mut dyn ArgumentSink) -> Result<(), ValueError> + Send + Sync + 'a;

/// A statement with its arguments, and what an error about it would name.
pub(crate) struct Statement<'a> {
    pub(crate) operation: &'static str,
    pub(crate) descriptor: &'static AggregateDescriptor,
    pub(crate) key: Option<&'a (dyn Display + Send + Sync)>,
    pub(crate) sql: &'a Arc<str>,
    /// What [`entering`](crate::statement::entering) makes of `sql`, where that is kept.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(dead_code, reason = "SQLite knows no tenant")
    )]
    pub(crate) entering: Option<&'a Arc<str>>,
    pub(crate) bind: &'a Bind<'a>,
}

impl Statement<'_> {
    /// Returns an error of `kind` that names the operation, the table and the key.
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        let table = self.descriptor.table();
        let error = Error::new(kind, self.operation);
        match self.key {
            Some(key) => error.with_subject(format!("{table} {key}")),
            None => error.with_subject(table),
        }
    }

    /// Names the column that a value did not fit.
    pub(crate) fn value_error(&self, cause: &ValueError) -> Error {
        let error = self.error(ErrorKind::InvalidValue);
        match cause.column() {
            Some(column) => error.with_detail(format!(
                "column {} {}",
                self.descriptor.column_name(column),
                cause.reason()
            )),
            None => error.with_detail(format!("a value {}", cause.reason())),
        }
    }
}

/// Where a statement's arguments are written to, in the order of their numbers.
pub(crate) trait ArgumentSink: ValueSink {
    /// Writes one argument that is an array; only for databases that have arrays.
    fn array(
        &mut self,
        column_type: ColumnType,
        length: usize,
        element: &ElementWriter<'_>,
    ) -> Result<(), ValueError>;
}

/// Writes the element with the given number of an array.
pub(crate) type ElementWriter<'a> =
    dyn Fn(usize, &mut dyn ValueSink) -> Result<(), ValueError> + 'a;
