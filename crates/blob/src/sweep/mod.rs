//! Deleting what is over and archiving what is due, on time and in bounded batches.

mod telemetry;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};

use self::telemetry::Instruments;
use crate::backend::{BlobBackend, Deletion, DueAction, DueBlob};
use crate::name::BlobName;
use crate::record::{RehydratePriority, Tier};
use crate::store::BlobStore;

/// How many blobs are moved to the archive at once.
const AT_ONCE: usize = 64;
/// How many failures a report names; it counts all.
const NAMED: usize = 100;
/// How many blobs a count of what is left goes through.
const COUNTED: u64 = 100_000;

/// How much one run does at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPolicy {
    batch: usize,
    most: u64,
    longest: Duration,
}

impl SweepPolicy {
    /// Sets how many blobs are one batch, from 1 to 5,000: 2,000 if nothing is said.
    #[must_use]
    pub const fn with_batch(mut self, blobs: usize) -> Self {
        self.batch = blobs;
        self
    }

    /// Sets after how many blobs a run ends: 100,000 if nothing is said.
    #[must_use]
    pub const fn with_most(mut self, blobs: u64) -> Self {
        self.most = blobs;
        self
    }

    /// Sets after which time a run begins no further batch: a minute if nothing is said.
    #[must_use]
    pub const fn with_longest(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }
}

impl Default for SweepPolicy {
    fn default() -> Self {
        Self {
            batch: 2_000,
            most: 100_000,
            longest: Duration::from_secs(60),
        }
    }
}

/// Deletes blobs whose retention is over and archives those that are due, of all tenants, by the clock of
/// the backend; what is held is left alone.
///
/// A run is bounded, and the next goes on where it ended, so that what fails does not hold up what
/// stands behind it. Two that run at once do nothing twice.
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
    resume: Arc<Mutex<Option<String>>>,
    progress: Option<Arc<Progress>>,
}

type Progress = dyn Fn(&SweepReport) + Send + Sync;

/// What a run has done, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepReport {
    /// The time by which it was judged what is over.
    pub at: DateTime<Utc>,
    /// How many blobs were looked at.
    pub examined: u64,
    /// How many were deleted.
    pub deleted: u64,
    /// How many bytes those had.
    pub deleted_bytes: u64,
    /// How many went to the archive.
    pub archived: u64,
    /// How many were left alone, for they were changed, held or deleted by others meanwhile.
    pub skipped: u64,
    /// How many could not be deleted or archived, and are tried again by a later run.
    pub failed: u64,
    /// The first hundred of those.
    pub failures: Vec<SweepFailure>,
    /// Since when the one that was due longest was.
    pub oldest_due: Option<DateTime<Utc>>,
    /// Whether all that was due was looked at.
    pub is_complete: bool,
    /// How many are still due, up to 100,000 of those that were not looked at.
    pub backlog: u64,
}

/// A blob that could not be deleted or archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFailure {
    /// The blob.
    pub name: BlobName,
    /// What was to be done.
    pub action: DueAction,
    /// What it failed with.
    pub kind: ErrorKind,
}

impl SweepReport {
    const fn new(at: DateTime<Utc>) -> Self {
        Self {
            at,
            examined: 0,
            deleted: 0,
            deleted_bytes: 0,
            archived: 0,
            skipped: 0,
            failed: 0,
            failures: Vec::new(),
            oldest_due: None,
            is_complete: false,
            backlog: 0,
        }
    }

    fn count(&mut self, due: &DueBlob, outcome: Result<()>) {
        match outcome {
            Ok(()) => match due.action {
                DueAction::Delete => {
                    self.deleted += 1;
                    self.deleted_bytes = self.deleted_bytes.saturating_add(due.length);
                }
                DueAction::Archive => self.archived += 1,
            },
            Err(error) if is_change_of_others(error.kind()) => self.skipped += 1,
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < NAMED {
                    self.failures.push(SweepFailure {
                        name: due.name.clone(),
                        action: due.action,
                        kind: error.kind(),
                    });
                }
            }
        }
    }
}

impl Sweeper {
    /// Returns a sweeper of the blobs of a store.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): a batch of the policy has no blobs or more than
    ///   5,000.
    pub fn new(store: &BlobStore, policy: SweepPolicy) -> Result<Self> {
        if !(1..=5_000).contains(&policy.batch) {
            return Err(Error::new(ErrorKind::InvalidSettings, "make sweeper")
                .with_detail("expected a batch from 1 to 5,000 blobs"));
        }
        let backend = store.shared_backend();
        Ok(Self {
            instruments: Arc::new(Instruments::new(backend.system())),
            backend,
            policy,
            resume: Arc::default(),
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
    /// What fails of one blob is told in the report, and stops no other.
    ///
    /// # Errors
    ///
    /// Those of the backend, where it cannot tell what is due.
    ///
    /// # Cancel safety
    ///
    /// Dropped, some are done and the others are due as before.
    pub async fn run(&self) -> Result<SweepReport> {
        let resume = self.resume.lock().take();
        let swept = self.sweep(resume, true).await;
        self.instruments
            .ended(swept.as_ref().ok().map(|(report, _)| report));
        let (report, resume) = swept?;
        *self.resume.lock() = resume;
        Ok(report)
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
        let resume = self.resume.lock().clone();
        let (report, _) = self.sweep(resume, false).await?;
        Ok(report)
    }

    async fn sweep(
        &self,
        mut after: Option<String>,
        does: bool,
    ) -> Result<(SweepReport, Option<String>)> {
        let mut report = SweepReport::new(self.backend.now());
        let started = std::time::Instant::now();
        loop {
            let left = self.policy.most.saturating_sub(report.examined);
            if left == 0 || started.elapsed() >= self.policy.longest {
                report.backlog = self.count_left(&report, after.as_deref()).await?;
                break;
            }
            let batch = self
                .policy
                .batch
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let page = self.backend.due(report.at, after.as_deref(), batch).await?;
            report.examined += page.items.len() as u64;
            let oldest = page.items.iter().map(|due| due.since).min();
            report.oldest_due = report.oldest_due.into_iter().chain(oldest).min();
            self.act(&mut report, page.items, does).await;
            after = page.next;
            if let Some(progress) = &self.progress {
                progress(&report);
            }
            if after.is_none() {
                report.is_complete = true;
                break;
            }
        }
        report.backlog += report.failed;
        Ok((report, after))
    }

    async fn act(&self, report: &mut SweepReport, due: Vec<DueBlob>, does: bool) {
        if !does {
            due.iter().for_each(|due| report.count(due, Ok(())));
            return;
        }
        let (over, archive): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|due| due.action == DueAction::Delete);
        let deletion = |due: &DueBlob| Deletion {
            name: due.name.clone(),
            etag: due.etag.clone(),
            act: None,
        };
        let deletions: Vec<_> = over.iter().map(deletion).collect();
        if !deletions.is_empty() {
            let outcomes = self.backend.delete(&deletions).await;
            over.iter()
                .zip(outcomes)
                .for_each(|(due, outcome)| report.count(due, outcome));
        }
        let moved = stream::iter(archive).map(|due| async move {
            let priority = RehydratePriority::Standard;
            let moved = self
                .backend
                .set_tier(&due.name, Tier::Archive, priority)
                .await;
            (due, moved.map(drop))
        });
        let moved: Vec<_> = moved.buffer_unordered(AT_ONCE).collect().await;
        moved
            .into_iter()
            .for_each(|(due, outcome)| report.count(&due, outcome));
    }

    /// Counts what a run has not come to.
    async fn count_left(&self, report: &SweepReport, after: Option<&str>) -> Result<u64> {
        let (mut after, mut count) = (after.map(str::to_owned), 0);
        while count < COUNTED {
            let page = self.backend.due(report.at, after.as_deref(), 5_000).await?;
            count += page.items.len() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(count)
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

/// Whoever placed a hold, extended it or was quicker has changed what was to be done.
const fn is_change_of_others(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Retained
    )
}
