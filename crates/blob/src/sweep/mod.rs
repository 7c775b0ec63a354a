//! Deleting what is over and archiving what is due, on time and in bounded batches.

mod lap;
mod policy;
mod report;
mod schedule;
mod telemetry;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tenantry_core::Result;

use self::lap::{Place, Run};
pub use self::policy::SweepPolicy;
pub use self::report::{SweepFailure, SweepReport};
pub use self::schedule::Schedule;
pub(crate) use self::schedule::{Stopped, every};
use self::telemetry::Instruments;
use crate::backend::{BackendPage, BlobBackend, Deletion, DueAction, DueBlob, ListedDue};
use crate::record::{BlobRecord, RehydratePriority, Tier};
use crate::store::{BlobStore, about, check_progress};

/// How many blobs are moved to the archive at once.
const AT_ONCE: usize = 64;

/// Deletes blobs whose retention is over and archives those that are due, of all tenants, by the clock of
/// the backend; what is held is left alone.
///
/// A run is bounded, and the next goes on where it ended, so that what fails does not hold up what
/// stands behind it. Within a run each tenant has its [share](SweepPolicy::with_share) first, and then goes
/// the rest, the longest due first: a tenant with a million blobs that are over does not hold up the others.
/// Two that run at once do nothing twice.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use tenantry_blob::{BlobKind, BlobStore, MemoryBlobs, PutOptions, Retention, SweepPolicy, Sweeper};
/// use tenantry_core::{ErrorKind, ManualClock, Result, Service, TenantId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
/// let store = BlobStore::new(Arc::new(MemoryBlobs::with_clock(Arc::new(clock.clone()))));
/// let sweeper = Sweeper::new(&store, SweepPolicy::default())?;
///
/// let blobs = store.tenant(TenantId::generate());
/// let name = blobs.name(&BlobKind::new("report-exports")?)?;
/// let options = PutOptions::new(Service::Reporting, Retention::days(30));
/// blobs.put_bytes(&name, options, "id,total\n").await?;
/// assert_eq!(sweeper.run().await?.deleted, 0);
///
/// clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
/// assert_eq!(sweeper.plan().await?.deleted, 1);              // what it would do
/// assert_eq!(sweeper.run().await?.deleted, 1);
/// assert_eq!(blobs.get(&name).await.unwrap_err().kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sweeper {
    backend: Arc<dyn BlobBackend>,
    policy: SweepPolicy,
    instruments: Arc<Instruments>,
    /// Where the next run goes on.
    place: Arc<Mutex<Place>>,
    progress: Option<Arc<Progress>>,
}

type Progress = dyn Fn(&SweepReport) + Send + Sync;

impl Sweeper {
    /// Returns a sweeper of the blobs of a store.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](tenantry_core::ErrorKind::InvalidSettings): a batch of the policy has no blobs or more than
    ///   5,000, or a share has none.
    pub fn new(store: &BlobStore, policy: SweepPolicy) -> Result<Self> {
        policy.check()?;
        let backend = store.shared_backend();
        Ok(Self {
            instruments: Arc::new(Instruments::new(backend.system())),
            backend,
            policy,
            place: Arc::default(),
            progress: None,
        })
    }

    /// Tells of what a run has done so far, after each batch.
    #[must_use]
    pub fn with_progress(mut self, each: impl Fn(&SweepReport) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(each));
        self
    }

    /// Deletes and archives what is due, as much of it as the policy says.
    ///
    /// What fails of one blob is told in the report, and stops no other; so is one whose record cannot be
    /// read, for it may be due.
    ///
    /// # Errors
    ///
    /// Those of the backend, where it cannot tell what is due.
    ///
    /// # Cancel safety
    ///
    /// Dropped, some are done and the others are due as before.
    pub async fn run(&self) -> Result<SweepReport> {
        self.run_until(&|| false).await
    }

    /// Tells what a run would do, and does nothing.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn plan(&self) -> Result<SweepReport> {
        let place = self.place.lock().clone();
        let (report, _) = self.sweep(place, false, &|| false).await?;
        Ok(report)
    }

    /// Deletes and archives what is due again and again, from now on and in the runtime of the caller, until
    /// the schedule is stopped or dropped.
    ///
    /// A run begins when this time has passed since the last began, by up to a tenth of it sooner, so that
    /// several processes do not come all at once; never while the last still goes on. What fails is logged
    /// and counted, a panic too, and the next run comes as ever.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](tenantry_core::ErrorKind::InvalidSettings): the time is shorter than a second.
    /// - [`Unsupported`](tenantry_core::ErrorKind::Unsupported): there is no runtime of Tokio.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use tenantry_blob::{BlobStore, MemoryBlobs, SweepPolicy, Sweeper};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_core::Result<()> {
    /// let store = BlobStore::new(Arc::new(MemoryBlobs::new()));
    /// let sweeper = Sweeper::new(&store, SweepPolicy::default())?;
    /// let schedule = sweeper.start_every(Duration::from_secs(15 * 60))?;
    /// // … the service runs …
    /// schedule.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_every(&self, period: Duration) -> Result<Schedule> {
        let (sweeper, instruments) = (self.clone(), Arc::clone(&self.instruments));
        let run = move |stopped: Stopped| {
            let sweeper = sweeper.clone();
            async move { sweeper.run_until(&|| stopped.is_stopped()).await.map(drop) }
        };
        every("sweep blobs", period, run, move |panicked| {
            instruments.ended(Err(panicked));
        })
    }

    async fn run_until(
        &self,
        is_stopped: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<SweepReport> {
        let place = std::mem::take(&mut *self.place.lock());
        let swept = self.sweep(place, true, is_stopped).await;
        self.instruments
            .ended(swept.as_ref().map(|(report, _)| report));
        let (report, place) = swept?;
        *self.place.lock() = place;
        Ok(report)
    }

    async fn sweep(
        &self,
        place: Place,
        does: bool,
        is_stopped: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(SweepReport, Place)> {
        let mut run = Run::new(self, place, does, is_stopped);
        let is_complete = run.go().await?;
        let due = match is_complete {
            true => 0,
            false => run.count_due().await?,
        };
        let Run {
            mut report, place, ..
        } = run;
        report.is_complete = is_complete;
        report.backlog = match (is_complete, does) {
            (true, _) => report.failed,
            (false, true) => due,
            // What a plan has looked at is still due.
            (false, false) => due.saturating_sub(report.examined),
        };
        Ok((report, place))
    }

    /// Deletes or archives, and answers for each.
    async fn act(&self, due: Vec<DueBlob>) -> Vec<(DueBlob, Result<()>)> {
        let (over, archive): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|due| due.action == DueAction::Delete);
        let deletion = |due: &DueBlob| Deletion {
            name: due.name.clone(),
            etag: due.etag.clone(),
            act: None,
        };
        let deletions: Vec<_> = over.iter().map(deletion).collect();
        let mut done = Vec::new();
        if !deletions.is_empty() {
            let outcomes = self.backend.delete(&deletions).await;
            done.extend(over.into_iter().zip(outcomes));
        }
        let moved = stream::iter(archive).map(|due| async move {
            let moved = self.archive(&due).await;
            (due, moved)
        });
        done.extend(moved.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
        done
    }

    async fn archive(&self, due: &DueBlob) -> Result<()> {
        // By a time that may be wrong nothing is moved to where it takes hours to be read.
        self.backend
            .check_clock("archive blob")
            .map_err(|error| about(error, &due.name))?;
        let priority = RehydratePriority::Standard;
        self.backend
            .set_tier(&due.name, &due.etag, Tier::Archive, priority)
            .await
            .map(drop)
    }

    /// Looks blobs up, and answers for each.
    async fn look(&self, due: Vec<DueBlob>) -> Vec<(DueBlob, Result<BlobRecord>)> {
        let seen = stream::iter(due).map(|due| async move {
            let record = self.backend.head(&due.name).await;
            (due, record)
        });
        seen.buffer_unordered(AT_ONCE).collect().await
    }

    /// Returns a page of what is due.
    async fn page(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        let page = self.backend.due(at, after, limit).await?;
        check_progress("sweep blobs", after, page.next.as_deref())?;
        Ok(page)
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeper")
            .field("backend", &self.backend)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
