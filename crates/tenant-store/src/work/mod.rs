//! The unit of work: one transaction of one tenant, and what became of it.

mod changes;
mod retry;
mod unit;

pub use changes::{
    BeforeCommit, ChangeKind, ChangedRow, CommitListener, CommitOutcome, CommittedChanges,
};
pub use retry::{RetryPolicy, Retryable};
pub use unit::{Savepoint, UnitOfWork};

#[cfg(feature = "own-tables")]
pub(crate) use crate::own::Rider;
pub(crate) use changes::{Listeners, Writers};

/// What goes along with a write: nothing without the feature `own-tables`.
#[cfg(not(feature = "own-tables"))]
pub(crate) enum Rider {}
pub(crate) use unit::WorkGuard;

use std::time::Duration;

/// How much a transaction sees of those beside it.
///
/// SQLite has one writer at a time and is always serialisable; there the level changes nothing.
/// See <https://www.postgresql.org/docs/current/transaction-iso.html>.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use tenantry_store::{Isolation, RetryPolicy, WorkOptions};
///
/// // No two of these can both find room for the last invoice.
/// let options = WorkOptions::default().with_isolation(Isolation::Serializable);
/// tenant
///     .run(RetryPolicy::new(), options, |work| async move {
///         let invoices = work.repository::<Invoice>();
///         if invoices.count(Invoice::CUSTOMER.eq("Ada")).await? < 10 {
///             invoices.insert(&mut invoice("Ada", 12_000)).await?;
///         }
///         Result::Ok(())
///     })
///     .await?;
#[doc = include_str!("../examples/close.md")]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it began; PostgreSQL's default.
    ReadCommitted,
    /// All statements see what was committed before the first began.
    RepeatableRead,
    /// As if all transactions had run one after another.
    Serializable,
}

/// How a unit of work runs.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_store::{Isolation, WorkOptions};
///
/// let options = WorkOptions::default()
///     .with_isolation(Isolation::Serializable)
///     .with_statement_timeout(Duration::from_secs(2));
/// # drop(options);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WorkOptions {
    pub(crate) read_only: bool,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) statement_timeout: Option<Duration>,
}

impl WorkOptions {
    /// Lets the unit of work read only; a write answers `ReadOnly`.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Sets the isolation level; without it the database's default holds.
    #[must_use]
    pub const fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Sets the longest time for each statement, from 1 ms; without it the store's setting holds.
    #[must_use]
    pub const fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = Some(timeout);
        self
    }
}
