//! Sweeping the artifacts of all tenants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{ErrorKind, Result, TenantId};
use tenantry_store::TenantStore;
use tokio::time::Instant;

use super::telemetry::Instruments;
use super::{ArtifactSweep, TenantArtifacts};
use crate::store::BlobStore;
use crate::sweep::{Schedule, Stopped, every};

/// How many failures a report names; it counts all.
const NAMED: usize = 100;

/// Sweeps the artifacts of tenants in turn: what a crash has left, and what is over.
///
/// Each tenant has its turn with a bounded number of artifacts, and another one when all had theirs; what
/// fails of one holds up no other.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use tenantry_blob::{ARTIFACTS_SQLITE, ArtifactSweeper, BlobStore, MemoryBlobs};
/// use tenantry_core::{Result, TenantId};
/// use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "artifacts", ARTIFACTS_SQLITE)])).await?;
/// let store = TenantStore::sqlite(settings).await?;
/// let blobs = BlobStore::new(Arc::new(MemoryBlobs::new()));
///
/// let tenants = vec![TenantId::generate(), TenantId::generate()];
/// let sweeper = ArtifactSweeper::new(&blobs, &store, Duration::from_secs(24 * 60 * 60));
/// let report = sweeper.run(tenants.clone()).await;
/// assert_eq!((report.tenants, report.failed), (2, 0));
///
/// let known = move || std::future::ready(Ok(tenants.clone()));        // or from the registry of tenants
/// let schedule = sweeper.start_every(Duration::from_secs(15 * 60), known)?;
/// schedule.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ArtifactSweeper {
    blobs: BlobStore,
    store: TenantStore,
    grace: Duration,
    turn: u32,
    longest: Duration,
    instruments: Arc<Instruments>,
}

/// What a sweep of the artifacts of tenants has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactSweepReport {
    /// What was done in all.
    pub swept: ArtifactSweep,
    /// How many tenants had a turn.
    pub tenants: u64,
    /// Of how many it failed.
    pub failed: u64,
    /// The first hundred of those, and with what it failed.
    pub failures: Vec<(TenantId, ErrorKind)>,
    /// Whether nothing was left to do, but for what failed.
    pub is_complete: bool,
}

impl ArtifactSweeper {
    /// Returns a sweeper that gives up uploads which began longer ago than the grace time.
    #[must_use]
    pub fn new(blobs: &BlobStore, store: &TenantStore, grace: Duration) -> Self {
        Self {
            blobs: blobs.clone(),
            store: store.clone(),
            grace,
            turn: 200,
            longest: Duration::from_secs(60),
            instruments: Arc::new(Instruments::new()),
        }
    }

    /// Sets how many artifacts of a tenant one turn comes to, of each kind: 200 if nothing is said.
    #[must_use]
    pub const fn with_turn(mut self, artifacts: u32) -> Self {
        self.turn = artifacts;
        self
    }

    /// Sets after which time a run begins no further turn: a minute if nothing is said.
    #[must_use]
    pub const fn with_longest(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }

    /// Sweeps the artifacts of these tenants.
    ///
    /// What fails of one tenant is logged and told in the report.
    ///
    /// # Cancel safety
    ///
    /// Dropped, some is done, and the next run goes on.
    pub async fn run(
        &self,
        tenants: impl IntoIterator<Item = TenantId> + Send,
    ) -> ArtifactSweepReport {
        self.run_through(tenants.into_iter().collect(), || false, drop)
            .await
    }

    /// Sweeps the artifacts of all tenants that `tenants` answers again and again, from now on and in the
    /// runtime of the caller, until the schedule is stopped or dropped; as often as
    /// [`Sweeper::start_every`](crate::Sweeper::start_every) does.
    ///
    /// Where a run comes to its end before all tenants had their turn, the next begins behind the last one.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the time is shorter than a second.
    /// - [`Unsupported`](ErrorKind::Unsupported): there is no runtime of Tokio.
    pub fn start_every<F>(
        &self,
        period: Duration,
        tenants: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<Schedule>
    where
        F: Future<Output = Result<Vec<TenantId>>> + Send,
    {
        let (sweeper, tenants) = (self.clone(), Arc::new(tenants));
        let last = Arc::new(parking_lot::Mutex::new(None));
        let instruments = Arc::clone(&self.instruments);
        let run = move |stopped: Stopped| {
            let (sweeper, tenants, last) =
                (sweeper.clone(), Arc::clone(&tenants), Arc::clone(&last));
            async move {
                let Some(asked) = stopped.unless(tenants()).await else {
                    return Ok(());
                };
                if let Err(error) = &asked {
                    sweeper.instruments.failed(error.kind());
                }
                let mut turns = VecDeque::from(asked?);
                turns.make_contiguous().sort_unstable();
                let before = last.lock().take();
                let behind = turns.partition_point(|tenant| Some(*tenant) <= before);
                turns.rotate_left(behind);
                let mut had_turn = None;
                sweeper
                    .run_through(
                        turns,
                        || stopped.is_stopped(),
                        |tenant| had_turn = Some(tenant),
                    )
                    .await;
                *last.lock() = had_turn;
                Ok(())
            }
        };
        every("sweep artifacts", period, run, move |panicked| {
            instruments.failed(panicked.kind());
        })
    }

    async fn run_through(
        &self,
        mut turns: VecDeque<TenantId>,
        is_stopped: impl Fn() -> bool + Send,
        mut had_turn: impl FnMut(TenantId) + Send,
    ) -> ArtifactSweepReport {
        let mut report = ArtifactSweepReport::default();
        let (started, mut first) = (Instant::now(), turns.len());
        while let Some(tenant) = turns.pop_front() {
            if started.elapsed() >= self.longest || is_stopped() {
                turns.push_front(tenant);
                break;
            }
            let artifacts = TenantArtifacts::new(&self.blobs, &self.store.tenant(tenant));
            let swept = artifacts.sweep_some(self.grace, self.turn).await;
            report.tenants += u64::from(first > 0);
            first = first.saturating_sub(1);
            had_turn(tenant);
            match swept {
                Ok((swept, has_more)) => {
                    self.instruments.swept(&swept);
                    report.swept.add(&swept);
                    // Whoever got nowhere would get nowhere again.
                    if has_more && !swept.is_nothing() {
                        turns.push_back(tenant);
                    }
                }
                Err(error) => {
                    self.instruments.failed(error.kind());
                    tracing::warn!(target: "tenantry::blob", error = %error, tenant.id = %tenant, "artifacts of a tenant are not swept");
                    report.failed += 1;
                    if report.failures.len() < NAMED {
                        report.failures.push((tenant, error.kind()));
                    }
                }
            }
        }
        report.is_complete = turns.is_empty();
        if report.failed + report.swept.failed == 0 {
            self.instruments.succeeded(self.blobs.now());
        }
        report
    }
}
