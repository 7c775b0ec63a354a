//! Looks whether what is kept is what the store has.

mod follow;
mod look;
mod policy;
mod report;
mod suspects;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tokio::sync::{Semaphore, watch};

use self::follow::Followed;
use self::look::Checks;
pub use self::policy::CheckPolicy;
pub use self::report::{CacheLevel, Consistency};
use crate::{Cache, CacheKind, Lookup};

/// How many samples are looked at at the same time.
const AT_ONCE: usize = 8;
/// How many values that differ are looked at again until they have gone.
const MOST_FOLLOWED: usize = 64;

/// Compares what is kept with what the store has, and counts what is older than it may be; cheap to
/// clone.
///
/// Made by [`Cache::checker`]. It reads the store, then what lies in each level, and where they differ
/// the store once more: what changed meanwhile is no difference. A value that was found to differ has
/// to go, as soon as the invalidation is heard of; it is looked at again, and its age is how long it
/// has stayed, as what it is: another that has come in its place begins anew. So a value that is given
/// out for some milliseconds after a change is told from one that nobody will ever end.
///
/// It keeps no value, and logs neither values nor keys: an event of `tracing`, at the level `WARN`, tells
/// the kind, the tenant, the level and the age of what is older than 1, 5, 10 and 60 seconds.
///
/// # Cancel safety
///
/// Dropped, samples are looked at no more, and the report is gone.
///
/// # Examples
///
/// ```
/// use tenantry_cache::{Cache, CachePolicy, CheckPolicy, Verdict};
/// use tenantry_core::TenantId;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let cache = Cache::builder().build()?;
/// let names = cache.kind::<String>("name", CachePolicy::default())?;
/// let checker = cache.checker(CheckPolicy::default())?;
///
/// let tenant = TenantId::generate();
/// let load = || async { Ok(Some("Ada".to_owned())) };
/// cache.tenant(tenant).get_or_load(&names, "7", load).await?;
/// assert_eq!(checker.check(tenant, &names, "7", load).await?, Verdict::Same);
///
/// // Changed in the store, and nobody has told the cache.
/// let changed = || async { Ok(Some("Zoë".to_owned())) };
/// let verdict = checker.check(tenant, &names, "7", changed).await?;
/// assert!(matches!(verdict, Verdict::Stale { .. }));
/// assert_eq!(checker.report()[0].differed, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConsistencyChecker {
    checks: Arc<Checks>,
}

/// What a check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Readers would be given nothing that is kept.
    NotKept,
    /// What is kept is what the store has.
    Same,
    /// What is kept is not what the store has, and has not been for as long as this at least.
    Stale {
        /// From when it was found to differ first.
        age: Duration,
    },
    /// It cannot be told: the store has changed while it was looked at, or the shared level does not
    /// answer.
    Undecided,
}

impl Cache {
    /// Returns what looks whether values of this cache are what the store has.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the fraction is not from 0 to 1.
    pub fn checker(&self, policy: CheckPolicy) -> Result<ConsistencyChecker> {
        if !(0.0..=1.0).contains(&policy.fraction) {
            return Err(Error::new(ErrorKind::InvalidSettings, "make cache checker")
                .with_detail("the fraction of reads that are checked is not from 0 to 1"));
        }
        Ok(ConsistencyChecker {
            checks: Arc::new(Checks {
                cache: self.clone(),
                policy,
                counts: Mutex::default(),
                suspects: Mutex::default(),
                next_at: AtomicU64::new(0),
                running: Arc::new(Semaphore::new(AT_ONCE)),
                followed: Arc::new(Semaphore::new(MOST_FOLLOWED)),
                over: watch::Sender::new(()),
            }),
        })
    }
}

impl ConsistencyChecker {
    /// Looks at one key now, by whatever its values are loaded by: from where writes go, for one that
    /// lags behind has older values than the cache rightly has.
    ///
    /// A value that differs is remembered, so that the next look at it tells its age; 1,000 of them at
    /// most.
    ///
    /// # Errors
    ///
    /// - those of the loader.
    /// - [`Unavailable`](ErrorKind::Unavailable): it took longer than
    ///   [`with_load_timeout`](crate::CachePolicy::with_load_timeout) allows.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is counted.
    pub async fn check<T, F>(
        &self,
        tenant: TenantId,
        kind: &CacheKind<T>,
        lookup: impl Into<Lookup<'_>>,
        load: impl Fn() -> F + Send + Sync,
    ) -> Result<Verdict>
    where
        T: PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Option<T>>> + Send,
    {
        let lookup = lookup.into();
        self.checks
            .look(tenant, kind, lookup, &load, |one, other| one == other)
            .await
    }

    /// Looks at a key in the background, if chance and the [policy](CheckPolicy) have it so, and at what
    /// differs again until it has gone; called beside reads.
    ///
    /// It costs next to nothing where nothing is looked at, and otherwise a read of the store that
    /// nobody waits for. Outside a runtime of Tokio nothing is looked at.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tenantry_cache::{Cache, CachePolicy, CheckPolicy};
    /// # use tenantry_core::TenantId;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_core::Result<()> {
    /// # let cache = Cache::builder().build()?;
    /// # let names = cache.kind::<String>("name", CachePolicy::default())?;
    /// let checker = cache.checker(CheckPolicy::default())?;           // once, for the service
    ///
    /// let tenant = TenantId::generate();
    /// let load = || async { Ok(Some("Ada".to_owned())) };
    /// let name = cache.tenant(tenant).get_or_load(&names, "7", load).await?;
    /// checker.sample(tenant, &names, "7", load);                      // one in a thousand
    /// # Ok(())
    /// # }
    /// ```
    pub fn sample<'k, T, F>(
        &self,
        tenant: TenantId,
        kind: &CacheKind<T>,
        lookup: impl Into<Lookup<'k>>,
        load: impl Fn() -> F + Send + Sync + 'static,
    ) where
        T: PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        if self.is_drawn() {
            let lookup = lookup.into();
            self.follow(tenant, kind, lookup, load, |one, other| one == other);
        }
    }

    /// Returns what was counted since it was made, by kind, level and label of the tenant.
    #[must_use]
    pub fn report(&self) -> Vec<Consistency> {
        self.checks.counts.lock().report()
    }

    /// Says whether the next sample is one that is looked at.
    pub(crate) fn is_drawn(&self) -> bool {
        let Checks {
            cache,
            policy,
            next_at,
            ..
        } = &*self.checks;
        let Some(pause) = policy.pause() else {
            return false;
        };
        if policy.fraction < 1.0 && rand::random::<f64>() >= policy.fraction {
            return false;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = cache.monotonic();
        let (now, after) = (nanos(now), nanos(now.saturating_add(pause)));
        let next = next_at.load(Ordering::Relaxed);
        next <= now
            && next_at
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Looks at a key in the background, unless many others are being looked at.
    pub(crate) fn follow<T, F>(
        &self,
        tenant: TenantId,
        kind: &CacheKind<T>,
        lookup: Lookup<'_>,
        load: impl Fn() -> F + Send + Sync + 'static,
        is_same: fn(&T, &T) -> bool,
    ) where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        let running = Arc::clone(&self.checks.running).try_acquire_owned();
        if let Ok(running) = running
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let followed = Followed::new(tenant, kind, lookup, load, is_same);
            let (checks, over) = (Arc::downgrade(&self.checks), self.checks.over.subscribe());
            runtime.spawn(followed.until_it_has_gone(checks, over, running));
        }
    }

    #[cfg(feature = "repository")]
    pub(crate) fn cache(&self) -> &Cache {
        &self.checks.cache
    }
}

impl fmt::Debug for ConsistencyChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsistencyChecker")
            .field("policy", &self.checks.policy)
            .field("suspects", &self.checks.suspects.lock().len())
            .finish_non_exhaustive()
    }
}
