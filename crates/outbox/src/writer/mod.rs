//! The side of the services: what is appended waits in the unit of work, and is written with its commit.
//!
//! All messages of a unit of work are written by one statement, just before COMMIT. That is one round trip,
//! and it is the right order: by then the unit of work holds the lock on every aggregate that it has
//! changed, or has compared its version, so that of two messages with one key the one that was committed
//! first has the lower number.
//!
//! Where the last write is known to be the last ([`UnitOfWork::commit_with_update`], `commit_with_insert`), the
//! messages go along with it in one statement, behind it, and cost no round trip.
//!
//! The statement is a text of this module, run by [`UnitOfWork::execute_own`]: a repository would write one
//! too, and asks for a table that tenants may read. Through the guard each text would be parsed and rewritten
//! to the same one, and this crate would know drivers.

mod insert;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock};
use tenantry_store::own::Rider;
use tenantry_store::{
    BeforeCommit, ChangedRow, CommitListener, CommittedChanges, TenantStore, UnitOfWork,
};
use tokio::sync::Notify;

use self::insert::Insert;
use crate::log::MESSAGES;
use crate::{Event, MessageId, NewMessage};

/// The most bytes of a payload, unless [`OutboxBuilder::with_most_bytes`] says otherwise: what a NATS takes as it comes,
/// 1 MiB, without what headers may need.
const MOST_BYTES: usize = 1_000_000;

/// Appends messages to units of work of a store; one for a service, cheap to clone.
///
/// # Isolation
///
/// A message belongs to the tenant of its unit of work. There is no way to name another.
///
/// # Examples
///
/// ```
/// use std::borrow::Cow;
/// use serde::Serialize;
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{Event, Outbox, OUTBOX_SQLITE};
/// use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};
///
/// #[derive(Serialize)]
/// struct InvoicePaid {
///     invoice: String,
/// }
///
/// impl Event for InvoicePaid {
///     const TYPE: &'static str = "billing.invoice.paid";
///
///     fn key(&self) -> Cow<'_, str> {
///         Cow::Borrowed(&self.invoice)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)])).await?;
/// let store = TenantStore::sqlite(settings).await?;
/// let outbox = Outbox::new(&store);                                           // once, for the service
///
/// let work = store.tenant(TenantId::generate()).begin().await?;
/// outbox.append(&work, &InvoicePaid { invoice: "7".to_owned() })?;
/// work.commit().await?;                                                       // now it will leave
/// # Ok(())
/// # }
/// ```
///
/// Without a unit of work there is nothing to append to:
///
/// ```compile_fail,E0308
/// # fn append(outbox: &tenantry_outbox::Outbox, tenant: &tenantry_store::TenantScope) {
/// let message = tenantry_outbox::NewMessage::new("billing.invoice.paid", "7");
/// outbox.append_message(tenant, message);
/// # }
/// ```
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    store: TenantStore,
    clock: SharedClock,
    most_bytes: usize,
    committed: Arc<Notify>,
}

/// Sets up an [`Outbox`].
#[must_use = "nothing happens until `build`"]
pub struct OutboxBuilder {
    store: TenantStore,
    clock: SharedClock,
    most_bytes: usize,
}

impl OutboxBuilder {
    /// Sets the most bytes of a payload; without it 1,000,000.
    ///
    /// The broker has to take as many, and headers beside them: what it finds too large is given up, and may block its
    /// key. A NATS takes 1 MiB (1,048,576 bytes) with headers where its `max_payload` says nothing else, so that the
    /// default leaves them 48,576.
    pub const fn with_most_bytes(mut self, most_bytes: usize) -> Self {
        self.most_bytes = most_bytes;
        self
    }

    /// Sets the clock that tells when an event occurred.
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the outbox. The first one of a store, or of its clones, looks at each commit from then on.
    #[must_use]
    pub fn build(self) -> Outbox {
        let attached = self.store.keep(|| Attached::to(&self.store));
        Outbox {
            inner: Arc::new(Inner {
                store: self.store,
                clock: self.clock,
                most_bytes: self.most_bytes,
                committed: Arc::clone(&attached.committed),
            }),
        }
    }
}

impl fmt::Debug for OutboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxBuilder")
            .field("most_bytes", &self.most_bytes)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// Returns the outbox of a store. The first one of a store, or of its clones, looks at each commit from then on;
    /// however many there are, they are one.
    #[must_use]
    pub fn new(store: &TenantStore) -> Self {
        Self::builder(store).build()
    }

    /// Sets up the outbox of a store.
    pub fn builder(store: &TenantStore) -> OutboxBuilder {
        OutboxBuilder {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            most_bytes: MOST_BYTES,
        }
    }

    /// Appends an event, and returns the identifier of its message.
    ///
    /// It is written with the commit of the unit of work, after those that were appended before, and goes
    /// with a rollback, that to a savepoint included. Nothing is sent to the database here. Trace and
    /// correlation id are those of the unit of work.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a type or key that is empty or too long, a payload that is too large, or a unit
    /// of work of another store; `InvalidValue` if the event cannot be written.
    pub fn append<E: Event + ?Sized>(&self, work: &UnitOfWork, event: &E) -> Result<MessageId> {
        self.append_message(work, NewMessage::of(event)?)
    }

    /// Appends events in their order: all of them, or after an error none.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_all<'e, E: Event + 'e>(
        &self,
        work: &UnitOfWork,
        events: impl IntoIterator<Item = &'e E>,
    ) -> Result<Vec<MessageId>> {
        let messages: Result<Vec<_>> = events.into_iter().map(NewMessage::of).collect();
        let mut messages = messages?;
        for message in &mut messages {
            self.prepare(work, message)?;
        }
        let ids = messages.iter().map(NewMessage::id).collect();
        for message in messages {
            work.defer(message);
        }
        Ok(ids)
    }

    /// Appends a message that was made by hand.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_message(&self, work: &UnitOfWork, mut message: NewMessage) -> Result<MessageId> {
        self.prepare(work, &mut message)?;
        let id = message.id();
        work.defer(message);
        Ok(id)
    }

    /// Returns what tells of commits with messages in this process; a worker waits for it.
    pub(crate) fn committed(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.committed)
    }

    fn prepare(&self, work: &UnitOfWork, message: &mut NewMessage) -> Result<()> {
        if !self.inner.store.is_store_of_work(work) {
            return Err(Error::new(ErrorKind::InvalidInput, "append message")
                .with_subject(message.id().to_string())
                .with_detail("the unit of work is of another store than the outbox"));
        }
        message.check(self.inner.most_bytes)?;
        message.complete(work.context(), self.inner.clock.now());
        Ok(())
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("store", &self.inner.store)
            .field("most_bytes", &self.inner.most_bytes)
            .finish_non_exhaustive()
    }
}

/// What all outboxes of a store share.
struct Attached {
    committed: Arc<Notify>,
}

impl Attached {
    /// Writes before each commit of a store, and hears of it, from now on.
    fn to(store: &TenantStore) -> Self {
        let committed = Arc::new(Notify::new());
        let insert = Arc::new(Insert::new(store));
        store.before_commit(Arc::new(Writer { insert }));
        store.on_commit(Arc::new(Wake {
            committed: Arc::clone(&committed),
        }));
        Self { committed }
    }
}

/// Writes what waits in a unit of work.
#[derive(Debug)]
struct Writer {
    insert: Arc<Insert>,
}

#[async_trait]
impl BeforeCommit for Writer {
    async fn write(&self, work: &UnitOfWork, _: &[ChangedRow], _: &[Arc<str>]) -> Result<()> {
        let messages = work.take_deferred::<NewMessage>();
        match messages.is_empty() {
            true => Ok(()),
            false => self.insert.run(work, &messages).await,
        }
    }

    fn rider(&self, work: &UnitOfWork) -> Option<Rider> {
        self.insert.rider(work)
    }
}

/// Wakes the worker of the same process.
#[derive(Debug)]
struct Wake {
    committed: Arc<Notify>,
}

#[async_trait]
impl CommitListener for Wake {
    async fn committed(&self, changes: &CommittedChanges) {
        if changes
            .tables
            .iter()
            .any(|table| **table == *MESSAGES.name())
        {
            self.committed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_store::SqliteSettings;

    use super::*;

    /// One for each request would be many in the end, each of which hears of every commit.
    #[tokio::test]
    async fn outboxes_of_a_store_are_one() {
        let open = || TenantStore::sqlite(SqliteSettings::in_memory());
        let (store, other) = (open().await.unwrap(), open().await.unwrap());
        let first = Outbox::new(&store);
        let again = Outbox::builder(&store.clone()).build();
        assert!(Arc::ptr_eq(&first.committed(), &again.committed()));
        let of_other = Outbox::new(&other);
        assert!(!Arc::ptr_eq(&first.committed(), &of_other.committed()));
    }
}
