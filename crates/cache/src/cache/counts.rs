//! How often values of a kind were asked for, and what came of it.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// In how many parts each is counted, so that threads do not wait for each other.
const STRIPES: usize = 8;

/// How often values of a kind were asked for in this process, and what came of it; they only go up.
///
/// # Examples
///
/// ```
/// # use tenantry_cache::{Cache, CachePolicy};
/// # use tenantry_core::TenantId;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// # let cache = Cache::builder().build()?;
/// let names = cache.kind::<String>("name", CachePolicy::default())?;
/// let tenant = cache.tenant(TenantId::generate());
/// for _ in 0..3 {
///     tenant.get_or_load(&names, "7", || async { Ok(Some("Ada".to_owned())) }).await?;
/// }
/// let counts = names.counts();
/// assert_eq!((counts.hits, counts.misses, counts.loads), (2, 1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheCounts {
    /// Answered from the memory of this process, at once.
    pub hits: u64,
    /// Answered by a value past its time, for a load failed or takes long.
    pub stale: u64,
    /// Not known here: looked for in the shared level, or loaded, by this reader or by another.
    pub misses: u64,
    /// Found in the shared level.
    pub shared_hits: u64,
    /// Loaded.
    pub loads: u64,
    /// Loads that failed.
    pub failed_loads: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Hit,
    Stale,
    Miss,
    SharedHit,
    Load,
    FailedLoad,
}

/// The counts of one kind.
#[derive(Default)]
pub(super) struct Counters {
    stripes: [Stripe; STRIPES],
}

/// Counts of a few threads, apart from those of others.
#[derive(Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; 6]);

impl Counters {
    pub(super) fn count(&self, what: Counted) {
        self.stripes[stripe()].0[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> CacheCounts {
        let sum = |what: Counted| {
            let parts = self.stripes.iter();
            parts
                .map(|it| it.0[what as usize].load(Ordering::Relaxed))
                .sum()
        };
        CacheCounts {
            hits: sum(Counted::Hit),
            stale: sum(Counted::Stale),
            misses: sum(Counted::Miss),
            shared_hits: sum(Counted::SharedHit),
            loads: sum(Counted::Load),
            failed_loads: sum(Counted::FailedLoad),
        }
    }
}

/// Returns the stripe of this thread.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A thread that is ending counts with the first.
    OWN.try_with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        own.get()
    })
    .unwrap_or_default()
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}
