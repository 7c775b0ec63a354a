use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use parking_lot::RwLock;
use tenantry_core::{Result, TenantId};

use super::UnitOfWork;
use crate::aggregate::Version;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The row is new.
    Inserted,
    /// The row was there and holds other values.
    Updated,
    /// The row was inserted or updated.
    Upserted,
    /// The row was removed, or marked as deleted.
    Deleted,
    /// The mark of deletion was taken away.
    Restored,
    /// The row, marked as deleted before, was removed for good.
    Purged,
}

/// One row that a transaction changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedRow {
    /// The table of the aggregate.
    pub table: &'static str,
    /// The identifier, as it displays.
    pub id: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The version that the row has now, where it is known.
    pub version: Option<Version>,
}

impl ChangedRow {
    pub(crate) const fn new(
        table: &'static str,
        id: String,
        kind: ChangeKind,
        version: Option<Version>,
    ) -> Self {
        Self {
            table,
            id,
            kind,
            version,
        }
    }
}

/// Whether a transaction was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// It is stored.
    Committed,
    /// The answer was lost: it may be stored, or may be in a moment.
    Unknown,
}

/// What a transaction changed, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedChanges {
    /// The tenant whose rows these are.
    pub tenant: TenantId,
    /// Whether the changes are stored.
    pub outcome: CommitOutcome,
    /// The rows that repositories changed.
    pub rows: Vec<ChangedRow>,
    /// The tables that hand-written SQL wrote to: which rows is not known, so any may have changed.
    pub tables: Vec<Arc<str>>,
}

/// Hears of every transaction that changed something, after its commit.
///
/// What derives from rows, such as a cache, brings itself up to date here. The commit returns when all
/// have been called, one after another; a caller who drops its future keeps none of them from running,
/// and a call that panics is logged and harms nobody.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
/// use tenantry_store::{CommitListener, CommittedChanges, async_trait};
///
/// #[derive(Debug, Default)]
/// struct Cache {
///     names: Mutex<HashMap<String, String>>,
/// }
///
/// #[async_trait]
/// impl CommitListener for Cache {
///     async fn committed(&self, changes: &CommittedChanges) {
///         // Whether they are stored or may be: what is forgotten is read again.
///         let mut names = self.names.lock().unwrap();
///         for row in changes.rows.iter().filter(|row| row.table == "invoices") {
///             names.remove(&row.id);
///         }
///     }
/// }
///
/// let cache = Arc::new(Cache::default());
/// store.on_commit(Arc::clone(&cache) as Arc<dyn CommitListener>);
///
/// let mut ada = invoice("Ada", 12_000);
/// cache.names.lock().unwrap().insert(ada.id.to_string(), "of yesterday".to_owned());
/// tenant.repository().insert(&mut ada).await?;
/// assert!(cache.names.lock().unwrap().is_empty());
#[doc = include_str!("../examples/close.md")]
/// ```
#[async_trait]
pub trait CommitListener: fmt::Debug + Send + Sync {
    /// Takes note of the changes. With [`CommitOutcome::Unknown`] they may or may not be stored.
    async fn committed(&self, changes: &CommittedChanges);
}

/// Writes into each transaction that changes something what belongs to it, just before it commits.
///
/// What must not get lost when the process ends between the commit and what follows it is written
/// here: it stands or falls with the changes.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use std::sync::Arc;
/// use tenantry_store::{
///     BeforeCommit, ChangedRow, ErrorKind, Filter, UnitOfWork, async_trait,
/// };
///
/// /// Refuses to let more than one invoice go at a time.
/// #[derive(Debug)]
/// struct OneAtATime;
///
/// #[async_trait]
/// impl BeforeCommit for OneAtATime {
///     async fn write(&self, _: &UnitOfWork, rows: &[ChangedRow], _: &[Arc<str>]) -> Result<()> {
///         match rows {
///             [_, _, ..] => Err(tenantry_store::Error::new(ErrorKind::InvalidInput, "commit")),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// store.before_commit(Arc::new(OneAtATime));
/// let invoices = tenant.repository::<Invoice>();
/// let two = invoices.insert_many(&mut [invoice("Ada", 12_000), invoice("Zoë", 500)]).await;
/// assert_eq!(two.unwrap_err().kind(), ErrorKind::InvalidInput);
/// assert_eq!(invoices.count(Filter::all()).await?, 0);
#[doc = include_str!("../examples/close.md")]
/// ```
#[async_trait]
pub trait BeforeCommit: fmt::Debug + Send + Sync {
    /// Writes by the unit of work. `rows` are those that repositories have changed, in order, and
    /// `tables` those that hand-written SQL wrote to.
    ///
    /// It is called once for a transaction: what it writes itself does not call it again, and is told
    /// to the [`CommitListener`]s like everything else.
    ///
    /// # Errors
    ///
    /// An error of any kind gives the whole transaction up, and is what the commit answers.
    async fn write(
        &self,
        work: &UnitOfWork,
        rows: &[ChangedRow],
        tables: &[Arc<str>],
    ) -> Result<()>;

    /// Returns what it would write by now as a statement that goes along with the last write, if it is of that
    /// kind; it must not write that again.
    ///
    /// It is asked by [`UnitOfWork::commit_with_insert`] and [`UnitOfWork::commit_with_update`], before that write.
    #[cfg(feature = "own-tables")]
    fn rider(&self, work: &UnitOfWork) -> Option<crate::own::Rider> {
        let _ = work;
        None
    }
}

/// Who writes into the transactions of a store.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    any: AtomicBool,
    all: RwLock<Vec<Arc<dyn BeforeCommit>>>,
}

impl Writers {
    pub(crate) fn add(&self, writer: Arc<dyn BeforeCommit>) {
        self.all.write().push(writer);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn BeforeCommit>> {
        self.all.read().clone()
    }
}

/// The listeners of a store.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    any: AtomicBool,
    all: RwLock<Vec<Arc<dyn CommitListener>>>,
}

impl Listeners {
    pub(crate) fn add(&self, listener: Arc<dyn CommitListener>) {
        self.all.write().push(listener);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Tells every listener, one after another.
    pub(crate) async fn tell(&self, changes: &CommittedChanges) {
        if !self.any() || (changes.rows.is_empty() && changes.tables.is_empty()) {
            return;
        }
        let all = self.all.read().clone();
        for listener in all {
            let told = AssertUnwindSafe(listener.committed(changes)).catch_unwind();
            if told.await.is_err() {
                tracing::error!(target: "tenantry::store", ?listener, "a commit listener panicked");
            }
        }
    }
}
