use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard, Notify};

use super::{ChangedRow, CommitOutcome, CommittedChanges, Rider};
use crate::aggregate::Aggregate;
use crate::backend::{SavepointAction, Session};
use crate::repository::SqlRepository;
use crate::scope::TenantScope;

/// One transaction of one tenant: what is written through it stands or falls together.
///
/// Made by [`TenantScope::begin`]. Dropping it rolls back. Its repositories borrow it, so none can
/// outlive the commit. After an error of the database, as after a dropped write, only
/// [`rollback`](Self::rollback) and [`rollback_to`](Self::rollback_to) are left, on every backend;
/// `NotFound` and `Conflict` are answers, not errors of the database, and end nothing.
///
/// A write sets the version in the struct at once. After a rollback the struct is ahead of its
/// row: read it again, and inside [`TenantScope::run`] make or read aggregates in the closure.
///
/// # Examples
///
/// ```no_run
/// # use tenantry_store::{Repository, RepositoryExt, Result, TenantScope, Version, Aggregate};
/// # use uuid::Uuid;
/// # #[derive(Debug, Clone, PartialEq, Aggregate)]
/// # #[aggregate(table = "invoices")]
/// # pub struct Invoice {
/// #     #[aggregate(id)]
/// #     pub id: Uuid,
/// #     pub total_cents: i64,
/// #     #[aggregate(version)]
/// #     pub version: Version,
/// # }
/// async fn add_fee(tenant: &TenantScope, id: Uuid) -> Result<()> {
///     let work = tenant.begin().await?;
///     let invoices = work.repository::<Invoice>();
///     let mut invoice = invoices.get(id).await?;
///     invoice.total_cents += 500;
///     invoices.update(&mut invoice).await?;
///     work.commit().await
/// }
/// ```
pub struct UnitOfWork {
    scope: TenantScope,
    state: Mutex<WorkState>,
    #[cfg(feature = "own-tables")]
    deferred: crate::own::Deferred,
    /// True while a stream holds the state, which only its consumer can end.
    streaming: AtomicBool,
    stream_opened: Notify,
}

pub(crate) struct WorkState {
    session: Box<dyn Session>,
    rows: Vec<ChangedRow>,
    /// What hand-written SQL wrote to. A rollback to a savepoint leaves it: too much is told then.
    tables: Vec<Arc<str>>,
    interrupted: bool,
    /// The savepoints that are set, outermost first.
    savepoints: Vec<u32>,
    next_savepoint: u32,
    /// Tells this unit of work from every other of the process.
    number: u64,
}

static NEXT_WORK: AtomicU64 = AtomicU64::new(0);

/// A place inside a unit of work to go back to.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// let mut ada = invoice("Ada", 12_000);
/// let work = tenant.begin().await?;
/// let invoices = work.repository::<Invoice>();
/// invoices.insert(&mut ada).await?;
///
/// let before = work.savepoint().await?;
/// let mut same_id = Invoice { id: ada.id, ..invoice("Zoë", 500) };
/// if invoices.insert(&mut same_id).await.is_err() {
///     work.rollback_to(&before).await?;                       // the first insert stays
/// }
/// work.commit().await?;
/// assert_eq!(tenant.repository::<Invoice>().get(ada.id).await?, ada);
#[doc = include_str!("../examples/close.md")]
/// ```
#[derive(Debug)]
pub struct Savepoint {
    work: u64,
    number: u32,
    rows: usize,
    #[cfg(feature = "own-tables")]
    deferred: usize,
}

impl UnitOfWork {
    pub(crate) fn new(scope: TenantScope, session: Box<dyn Session>) -> Self {
        Self::with_rows(scope, session, Vec::new())
    }

    /// Goes on with a session that has changed these rows.
    fn with_rows(scope: TenantScope, session: Box<dyn Session>, rows: Vec<ChangedRow>) -> Self {
        Self {
            scope,
            state: Mutex::new(WorkState {
                session,
                rows,
                tables: Vec::new(),
                interrupted: false,
                savepoints: Vec::new(),
                next_savepoint: 0,
                number: NEXT_WORK.fetch_add(1, Ordering::Relaxed),
            }),
            #[cfg(feature = "own-tables")]
            deferred: crate::own::Deferred::default(),
            streaming: AtomicBool::new(false),
            stream_opened: Notify::new(),
        }
    }

    /// Returns the tenant whose rows this unit of work sees.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.scope.tenant()
    }

    /// Returns who asks, and on behalf of which request.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        self.scope.context()
    }

    /// Returns the repository of an aggregate inside this transaction.
    #[must_use]
    pub fn repository<A: Aggregate>(&self) -> SqlRepository<'_, A> {
        SqlRepository::in_work(self)
    }

    /// Stores all changes, then tells the listeners.
    ///
    /// # Errors
    ///
    /// `WorkAborted` if an earlier error or a dropped write has ended the work; it is rolled back
    /// then. `CommitUnknown` if the answer was lost: all changes are stored, or none is. A deferred
    /// constraint answers its own kind here, and a serializable transaction
    /// `SerializationFailure`; nothing is stored then.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is polled, or while something is written [before it](super::BeforeCommit), it
    /// rolls back. Dropped later, it goes on to its end in the background, and listeners are told of
    /// that.
    pub async fn commit(self) -> Result<()> {
        let (telemetry, tenant) = (self.scope.store().telemetry.clone(), self.tenant());
        telemetry
            .observe("commit", "", Some(tenant), self.commit_in())
            .await
    }

    /// Updates an aggregate as the last write, and commits.
    ///
    /// What others write [before the commit](super::BeforeCommit) goes along with that write where it can, as
    /// messages of an outbox do on PostgreSQL: it costs no round trip then.
    ///
    /// # Errors
    ///
    /// Those of [`Repository::update`](crate::Repository::update) and of [`commit`](Self::commit). After any, `NotFound` and
    /// `Conflict` as well, all is rolled back.
    ///
    /// # Cancel safety
    ///
    /// As [`commit`](Self::commit).
    ///
    /// # Examples
    ///
    /// ```
    #[doc = include_str!("../examples/open.md")]
    /// let mut ada = invoice("Ada", 12_000);
    /// tenant.repository().insert(&mut ada).await?;
    ///
    /// let work = tenant.begin().await?;
    /// ada.total_cents += 500;
    /// work.commit_with_update(&mut ada).await?;
    /// assert_eq!(tenant.repository::<Invoice>().get(ada.id).await?, ada);
    #[doc = include_str!("../examples/close.md")]
    /// ```
    pub async fn commit_with_update<A: Aggregate>(self, aggregate: &mut A) -> Result<()> {
        let rider = self.rider();
        let repository = self.repository::<A>();
        repository.update_with(aggregate, rider.as_ref()).await?;
        self.note(rider).await?;
        self.commit().await
    }

    /// Inserts an aggregate as the last write, and commits: as [`commit_with_update`](Self::commit_with_update).
    ///
    /// # Errors
    ///
    /// Those of [`Repository::insert`](crate::Repository::insert) and of [`commit`](Self::commit). After any, all is rolled
    /// back.
    ///
    /// # Cancel safety
    ///
    /// As [`commit`](Self::commit).
    pub async fn commit_with_insert<A: Aggregate>(self, aggregate: &mut A) -> Result<()> {
        let rider = self.rider();
        let repository = self.repository::<A>();
        repository.insert_with(aggregate, rider.as_ref()).await?;
        self.note(rider).await?;
        self.commit().await
    }

    /// Asks who writes before the commit for one statement that goes along with the last write.
    #[cfg(feature = "own-tables")]
    fn rider(&self) -> Option<Rider> {
        let writers = &self.scope.store().writers;
        if !writers.any() {
            return None;
        }
        writers.all().iter().find_map(|writer| writer.rider(self))
    }

    #[cfg(not(feature = "own-tables"))]
    #[allow(clippy::unused_self, reason = "there is none")]
    const fn rider(&self) -> Option<Rider> {
        None
    }

    /// Takes note of the table that was written to along with the last write.
    #[cfg(feature = "own-tables")]
    async fn note(&self, rider: Option<Rider>) -> Result<()> {
        if let Some(rider) = rider {
            self.lock("commit").await?.finish_tables(&[rider.table()]);
        }
        Ok(())
    }

    #[cfg(not(feature = "own-tables"))]
    #[allow(clippy::unused_async, clippy::unused_self, reason = "there is none")]
    async fn note(&self, _: Option<Rider>) -> Result<()> {
        Ok(())
    }

    async fn commit_in(self) -> Result<()> {
        self.write_before_commit().await?;
        #[cfg(feature = "own-tables")]
        self.refuse_deferred()?;
        let Self { scope, state, .. } = self;
        let mut state = state.into_inner();
        if state.is_ended() {
            // The error to report is the one that ended the work, not that of a broken connection.
            let _ = state.session.rollback().await;
            return Err(aborted("commit"));
        }
        let rows = mem::take(&mut state.rows);
        let tables = mem::take(&mut state.tables);
        Commit::new(scope, state.session, rows, tables).await
    }

    /// Lets those write who do so before each commit that changes something.
    async fn write_before_commit(&self) -> Result<()> {
        let writers = &self.scope.store().writers;
        if !writers.any() {
            return Ok(());
        }
        let (rows, tables) = {
            let state = self.state("commit").await?;
            if state.is_ended() {
                return Ok(());
            }
            (state.rows.clone(), state.tables.clone())
        };
        if rows.is_empty() && tables.is_empty() && !self.has_deferred() {
            return Ok(());
        }
        for writer in writers.all() {
            writer.write(self, &rows, &tables).await?;
        }
        Ok(())
    }

    #[cfg(feature = "own-tables")]
    fn has_deferred(&self) -> bool {
        self.deferred.len() > 0
    }

    #[cfg(not(feature = "own-tables"))]
    #[allow(clippy::unused_self, reason = "it has none")]
    const fn has_deferred(&self) -> bool {
        false
    }

    /// Refuses a commit that would throw away what waits for it.
    #[cfg(feature = "own-tables")]
    fn refuse_deferred(&self) -> Result<()> {
        match self.deferred.len() {
            0 => Ok(()),
            _ if self.state.try_lock().is_ok_and(|state| state.is_ended()) => Ok(()),
            items => Err(Error::new(ErrorKind::Unsupported, "commit").with_detail(format!(
                "{items} items wait to be written, and nobody who writes before the commit has taken them"
            ))),
        }
    }

    /// Commits a session that is none of a unit of work, and has changed these rows.
    pub(crate) async fn commit_session(
        scope: TenantScope,
        session: Box<dyn Session>,
        rows: Vec<ChangedRow>,
    ) -> Result<()> {
        Self::with_rows(scope, session, rows).commit_in().await
    }

    /// Gives all changes up and waits until the database has done so.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the connection broke; the changes are given up all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping it rolls back as well.
    pub async fn rollback(self) -> Result<()> {
        let Self { scope, state, .. } = self;
        let mut state = state.into_inner();
        let telemetry = &scope.store().telemetry;
        telemetry
            .observe(
                "rollback",
                "",
                Some(scope.tenant()),
                state.session.rollback(),
            )
            .await
    }

    /// Sets a place to go back to.
    ///
    /// # Errors
    ///
    /// `WorkAborted`, `Unavailable`.
    pub async fn savepoint(&self) -> Result<Savepoint> {
        let mut state = self.state("savepoint").await?;
        if state.is_ended() {
            return Err(aborted("savepoint"));
        }
        let number = state.next_savepoint;
        state.next_savepoint += 1;
        state.interrupted = true;
        state
            .session
            .savepoint(number, SavepointAction::Set)
            .await?;
        state.interrupted = false;
        state.savepoints.push(number);
        Ok(Savepoint {
            work: state.number,
            number,
            rows: state.rows.len(),
            #[cfg(feature = "own-tables")]
            deferred: self.deferred.len(),
        })
    }

    /// Gives up what was done since the savepoint, which stays set; also after an error.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the savepoint is no longer set, `Unavailable`.
    pub async fn rollback_to(&self, savepoint: &Savepoint) -> Result<()> {
        let mut state = self.state("rollback_to").await?;
        let place = state.place_of(savepoint, "rollback_to")?;
        state.interrupted = true;
        state
            .session
            .savepoint(savepoint.number, SavepointAction::RollbackTo)
            .await?;
        state.interrupted = false;
        state.savepoints.truncate(place + 1);
        state.rows.truncate(savepoint.rows);
        #[cfg(feature = "own-tables")]
        self.deferred.truncate(savepoint.deferred);
        Ok(())
    }

    /// Forgets a savepoint and keeps what was done since.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the savepoint is no longer set, `WorkAborted`, `Unavailable`.
    pub async fn release(&self, savepoint: Savepoint) -> Result<()> {
        let mut state = self.state("release").await?;
        let place = state.place_of(&savepoint, "release")?;
        if state.is_ended() {
            return Err(aborted("release"));
        }
        state.interrupted = true;
        state
            .session
            .savepoint(savepoint.number, SavepointAction::Release)
            .await?;
        state.interrupted = false;
        state.savepoints.truncate(place);
        Ok(())
    }

    pub(crate) fn scope(&self) -> &TenantScope {
        &self.scope
    }

    #[cfg(feature = "own-tables")]
    pub(crate) const fn deferred(&self) -> &crate::own::Deferred {
        &self.deferred
    }

    /// Waits for the session; refuses it if the work has ended.
    pub(crate) async fn lock(&self, operation: &'static str) -> Result<WorkGuard<'_>> {
        let state = self.state(operation).await?;
        if state.is_ended() {
            return Err(aborted(operation));
        }
        Ok(WorkGuard {
            state,
            writing: false,
            streaming: None,
        })
    }

    /// As `lock`, for a stream: until the guard is dropped, other calls are refused and do not
    /// wait, for the one who calls may be the one who holds the stream.
    pub(crate) async fn lock_for_stream(&self, operation: &'static str) -> Result<WorkGuard<'_>> {
        let mut guard = self.lock(operation).await?;
        self.streaming.store(true, Ordering::Release);
        self.stream_opened.notify_waiters();
        guard.streaming = Some(&self.streaming);
        Ok(guard)
    }

    async fn state(&self, operation: &'static str) -> Result<MutexGuard<'_, WorkState>> {
        if let Ok(state) = self.state.try_lock() {
            return Ok(state);
        }
        // Whoever waits already when a stream opens is told so too.
        let opened = self.stream_opened.notified();
        let mut opened = std::pin::pin!(opened);
        opened.as_mut().enable();
        let beside_a_stream = || {
            Error::new(ErrorKind::InvalidInput, operation).with_detail(
                "a stream of this unit of work is open: read it to its end or drop it first",
            )
        };
        if self.streaming.load(Ordering::Acquire) {
            return Err(beside_a_stream());
        }
        tokio::select! {
            biased;
            state = self.state.lock() => Ok(state),
            () = opened => Err(beside_a_stream()),
        }
    }
}

impl fmt::Debug for UnitOfWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitOfWork")
            .field("tenant", &self.scope.tenant())
            .finish_non_exhaustive()
    }
}

impl WorkState {
    fn is_ended(&self) -> bool {
        self.interrupted || !self.session.is_usable()
    }

    fn place_of(&self, savepoint: &Savepoint, operation: &'static str) -> Result<usize> {
        self.savepoints
            .iter()
            .position(|number| *number == savepoint.number && savepoint.work == self.number)
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, operation)
                    .with_subject("savepoint")
                    .with_detail(
                        "it was released, set after one that was rolled back to, or belongs to \
                         another unit of work",
                    )
            })
    }
}

fn aborted(operation: &'static str) -> Error {
    Error::new(ErrorKind::WorkAborted, operation)
        .with_detail("an earlier error or a dropped write ended this unit of work: run it again")
}

/// The session of a unit of work, for one operation.
///
/// A guard that is dropped while it writes ends the work: what the statement did is not known.
pub(crate) struct WorkGuard<'w> {
    state: MutexGuard<'w, WorkState>,
    writing: bool,
    streaming: Option<&'w AtomicBool>,
}

impl WorkGuard<'_> {
    pub(crate) fn session(&mut self) -> &mut dyn Session {
        &mut *self.state.session
    }

    pub(crate) fn start_writing(&mut self) {
        self.writing = true;
    }

    /// Says that the statement was answered, and writes down what it changed.
    pub(crate) fn finish(mut self, rows: Vec<ChangedRow>) {
        self.writing = false;
        self.state.rows.extend(rows);
    }

    /// Says that nothing is written after all.
    #[cfg(any(feature = "guard", feature = "own-tables"))]
    pub(crate) fn end_writing(&mut self) {
        self.writing = false;
    }

    /// Says that a hand-written statement was answered, and which tables it wrote to.
    #[cfg(any(feature = "guard", feature = "own-tables"))]
    pub(crate) fn finish_tables(mut self, tables: &[Arc<str>]) {
        self.writing = false;
        for table in tables {
            if !self.state.tables.contains(table) {
                self.state.tables.push(Arc::clone(table));
            }
        }
    }
}

impl Drop for WorkGuard<'_> {
    fn drop(&mut self) {
        if self.writing {
            self.state.interrupted = true;
        }
        if let Some(streaming) = self.streaming {
            streaming.store(false, Ordering::Release);
        }
    }
}

/// A commit and what follows it: it goes on to its end, whoever waits for it.
///
/// Who listens is to bring up to date what derives from the rows, and cannot while the commit may still
/// land: what is read meanwhile is the state from before.
struct Commit {
    commit: Option<BoxFuture<'static, Result<()>>>,
    /// Where it was begun: who drops it may be outside.
    runtime: Option<Handle>,
}

impl Commit {
    /// Commits a session, and tells the listeners unless nothing was stored for certain.
    fn new(
        scope: TenantScope,
        mut session: Box<dyn Session>,
        rows: Vec<ChangedRow>,
        tables: Vec<Arc<str>>,
    ) -> Self {
        let commit = async move {
            let outcome = session.commit().await;
            // Others need not wait for its connection until all have heard.
            drop(session);
            let told = match &outcome {
                Ok(()) => CommitOutcome::Committed,
                Err(error) if error.kind() == ErrorKind::CommitUnknown => CommitOutcome::Unknown,
                Err(_) => return outcome,
            };
            let changes = CommittedChanges {
                tenant: scope.tenant(),
                outcome: told,
                rows,
                tables,
            };
            scope.store().listeners.tell(&changes).await;
            outcome
        };
        Self {
            commit: Some(commit.boxed()),
            runtime: Handle::try_current().ok(),
        }
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(commit) = &mut self.commit else {
            return Poll::Ready(Err(aborted("commit")));
        };
        let outcome = ready!(commit.as_mut().poll(context));
        self.commit = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let Some(commit) = self.commit.take()
            && let Some(runtime) = self.runtime.take()
        {
            // Its outcome is of no interest to anybody.
            runtime.spawn(commit.map(drop));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, UnitOfWork};

    #[test]
    fn a_unit_of_work_moves_between_threads() {
        fn is_send<T: Send>() {}
        is_send::<UnitOfWork>();
        is_send::<Arc<UnitOfWork>>();
    }
}
