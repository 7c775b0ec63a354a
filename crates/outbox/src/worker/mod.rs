//! The side that hands over: claims parts of the keys, reads what is new, publishes it in order.
//!
//! ```text
//!          claim ──▶ take parts ──▶ read a chunk ──▶ publish its keys side by side ──▶ save position
//!            ▲                          ▲                        │                           │
//!            │                          └────────────────────────┴── more, a wake, a poll ◀──┘
//!            └── the claim was lost: forget everything
//! ```
//!
//! A heartbeat runs in a task of its own, so that no publisher starves it. What is in flight when a worker dies
//! is handed over again by whoever takes its parts: one chunk of each position at most.

mod claim;
mod drain;
mod policy;
mod run;
mod settings;

use std::fmt;
use std::sync::Arc;

use tenantry_core::{Error, ErrorKind, RequestContext, Result};
use tenantry_store::PlatformStore;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinSet};

pub use self::policy::{FailurePolicy, OnDeadLetter};
pub use self::settings::WorkerSettings;

use self::drain::Drain;
use crate::log::Log;
use crate::{Outbox, Publisher};

/// Hands over the messages of a database, or of several, until it is stopped.
///
/// As many may run as one likes, in one process or in several: they share the keys between them. Each message is handed over
/// at least once, those of one tenant and key in the order of their commits.
///
/// That holds where the unit of work has locked the aggregate of the key, or has compared its version, as
/// [`Repository::update`](tenantry_store::Repository::update) does. Two units of work that append under one key and
/// share no row have no order to keep.
///
/// Where nothing comes for long it gives its parts back and looks by one query every few seconds
/// ([`with_idle`](WorkerSettings::with_idle)), so that a worker may have many databases of which most are idle.
///
/// Dropped, it ends at once, and its parts are taken over when its claim has expired.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{MemoryPublisher, NewMessage, Outbox, OutboxWorker, OUTBOX_SQLITE, WorkerSettings};
/// use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};
///
/// # #[tokio::main]
/// # async fn main() -> tenantry_core::Result<()> {
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)])).await?;
/// let store = TenantStore::sqlite(settings.clone()).await?;
/// let platform = PlatformStore::sqlite(settings).await?;
/// let outbox = Outbox::new(&store);
///
/// let broker = MemoryPublisher::new();
/// let mut subscription = broker.subscribe("billing.", 100);
/// let worker = OutboxWorker::start(
///     &platform,
///     Arc::new(broker),
///     WorkerSettings::default().with_outbox(&outbox),
/// )?;
///
/// let work = store.tenant(TenantId::generate()).begin().await?;
/// let id = outbox.append_message(&work, NewMessage::new("billing.invoice.paid", "7"))?;
/// work.commit().await?;
///
/// assert_eq!(subscription.next().await.map(|message| message.id()), Some(id));
/// worker.stop().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped, it ends at once"]
pub struct OutboxWorker {
    publisher: Arc<dyn Publisher>,
    settings: WorkerSettings,
    stop: watch::Sender<bool>,
    /// One for each database.
    tasks: Mutex<JoinSet<Result<()>>>,
    /// The same, to look at while the worker is stopped.
    handles: parking_lot::Mutex<Vec<AbortHandle>>,
}

impl OutboxWorker {
    /// Starts a worker over a database, in the runtime of the caller.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for settings that do not fit each other, `Unsupported` outside a runtime of Tokio.
    pub fn start(
        platform: &PlatformStore,
        publisher: Arc<dyn Publisher>,
        settings: WorkerSettings,
    ) -> Result<Self> {
        settings.check()?;
        let mut worker = Self {
            publisher,
            settings,
            stop: watch::channel(false).0,
            tasks: Mutex::default(),
            handles: parking_lot::Mutex::default(),
        };
        let drain = worker.drain(platform, worker.settings.clone())?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Unsupported, START)
                .with_detail("start it inside a runtime of Tokio, in which it goes on")
        })?;
        let task = worker.tasks.get_mut().spawn_on(drain.go_on(), &runtime);
        worker.handles.get_mut().push(task);
        Ok(worker)
    }

    /// Lets the worker hand over the messages of another database as well, and hear of the commits of its outbox, if
    /// that is in this process.
    ///
    /// Each database has a claim, positions and a task of its own, so that one that cannot be reached holds up no other.
    ///
    /// # Errors
    ///
    /// `Conflict` if the worker was stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is as if it had not been called.
    pub async fn drain_also(
        &self,
        platform: &PlatformStore,
        outbox: Option<&Outbox>,
    ) -> Result<()> {
        let mut tasks = self.tasks.lock().await;
        if *self.stop.borrow() {
            return Err(Error::new(ErrorKind::Conflict, START)
                .with_subject(self.settings.name.clone())
                .with_detail("it was stopped: start another"));
        }
        let mut settings = self.settings.clone();
        settings.committed = outbox.map(Outbox::committed);
        let task = tasks.spawn(self.drain(platform, settings)?.go_on());
        self.handles.lock().push(task);
        Ok(())
    }

    fn drain(&self, platform: &PlatformStore, settings: WorkerSettings) -> Result<Drain> {
        let scope = platform
            .scope("outbox worker", RequestContext::system())?
            .for_background();
        let publisher = Arc::clone(&self.publisher);
        let stopped = self.stop.subscribe();
        Ok(Drain::new(Log::new(scope), publisher, settings, stopped))
    }

    /// Returns the name that no other living worker of its databases has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Returns whether it goes on, over all of its databases; false once it was stopped, or a task of it has
    /// panicked.
    ///
    /// One that cannot reach its database or its broker goes on, and tries again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !*self.stop.borrow() && !self.handles.lock().iter().any(AbortHandle::is_finished)
    }

    /// Lets the worker end what it has begun and give its parts back, and waits for that. It may be called again.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if another worker of its name was alive all the time; that of the last step, if a
    /// database would not take it: the parts are taken over when the claim has expired. Where several fail, it is that of
    /// the first.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the worker ends all the same.
    pub async fn stop(&self) -> Result<()> {
        self.stop.send_replace(true);
        let mut tasks = self.tasks.lock().await;
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| {
                Err(Error::new(ErrorKind::Unexpected, "stop outbox worker")
                    .with_subject(self.settings.name.clone())
                    .with_detail("its task has panicked")
                    .with_source(error))
            });
            outcome = outcome.and(ended);
        }
        outcome
    }
}

const START: &str = "start outbox worker";

impl Drop for OutboxWorker {
    fn drop(&mut self) {
        if *self.stop.borrow() {
            // They end in order.
            self.tasks.get_mut().detach_all();
        }
    }
}

impl fmt::Debug for OutboxWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxWorker")
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
