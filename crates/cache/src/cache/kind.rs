use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

use super::counts::{CacheCounts, Counters};
use super::near::Times;
use crate::shared::wire::{Encoding, Format};

/// How long values of a kind are kept, how long their readers wait, and how they are written for other
/// processes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_cache::CachePolicy;
///
/// let policy = CachePolicy::default()
///     .with_time_to_live(Duration::from_secs(60))
///     .with_max_stale(Duration::from_secs(600));
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CachePolicy {
    pub(super) time_to_live: Duration,
    pub(super) jitter: f64,
    pub(super) negative: Duration,
    pub(super) max_stale: Duration,
    pub(super) patience: Duration,
    pub(super) load_timeout: Duration,
    pub(super) early: f64,
    pub(super) encoding: Encoding,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            time_to_live: Duration::from_secs(5 * 60),
            jitter: 0.1,
            negative: Duration::from_secs(30),
            max_stale: Duration::ZERO,
            patience: Duration::from_millis(100),
            load_timeout: Duration::from_secs(10),
            early: 1.0,
            encoding: Encoding::default(),
        }
    }
}

impl CachePolicy {
    /// Sets how long a value is fresh: 5 minutes by default.
    ///
    /// It is the last bound on a change that nobody tells the cache of.
    #[must_use]
    pub const fn with_time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Sets which part of the time to live is left to chance, so that what was loaded together does
    /// not end together: 0.1 by default; from 0 to 0.5.
    #[must_use]
    pub const fn with_jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// Sets how long it is remembered that there is nothing: 30 seconds by default; zero does not
    /// remember it.
    #[must_use]
    pub const fn with_negative_time_to_live(mut self, time: Duration) -> Self {
        self.negative = time;
        self
    }

    /// Sets for how long after its time to live a value of this process is still given to readers, where a
    /// load fails or takes longer than their [patience](Self::with_patience): not at all by default.
    ///
    /// What was invalidated is never given to anybody.
    #[must_use]
    pub const fn with_max_stale(mut self, time: Duration) -> Self {
        self.max_stale = time;
        self
    }

    /// Sets how long a reader waits for a load where there is a value that is past its time: 100
    /// milliseconds by default. The load goes on without it.
    #[must_use]
    pub const fn with_patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Sets how long a reader waits for a load where there is nothing: 10 seconds by default. The load
    /// goes on without it.
    #[must_use]
    pub const fn with_load_timeout(mut self, time: Duration) -> Self {
        self.load_timeout = time;
        self
    }

    /// Sets how eagerly values are loaded anew before their time is over, in the background: 1 by
    /// default, which is best for loads that take about as long each time; zero does not.
    ///
    /// A value that took long to load is loaded anew earlier, by chance: the algorithm XFetch
    /// (Vattani et al., *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015), drawn once for
    /// each value and node.
    #[must_use]
    pub const fn with_early_refresh(mut self, eagerness: f64) -> Self {
        self.early = eagerness;
        self
    }

    /// Sets how values are written where other processes read them: [`Format::Postcard`] by default.
    ///
    /// While a release with another one is rolled out, processes read both, if they have the features for
    /// both. One that has not loads the value and stores its own over it.
    #[must_use]
    pub const fn with_format(mut self, format: Format) -> Self {
        self.encoding.format = format;
        self
    }

    /// Sets above how many bytes a value is compressed where other processes read it: 2 KiB by default, and
    /// none by `usize::MAX`.
    ///
    /// A process without the feature does not read what is compressed: have the feature everywhere before
    /// it is used.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub const fn with_compression_above(mut self, bytes: usize) -> Self {
        self.encoding.compress_above = bytes;
        self
    }

    /// Sets how many bytes a value may have that other processes read, before it is compressed: 1 MiB by
    /// default. A larger one is kept in this process alone, and leaves a warning.
    #[must_use]
    pub const fn with_max_value_bytes(mut self, bytes: usize) -> Self {
        self.encoding.most = bytes;
        self
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self { time_to_live, .. } if time_to_live.is_zero() => Err("the time to live is zero"),
            Self { jitter, .. } if !(0.0..=0.5).contains(jitter) => {
                Err("the jitter is not from 0 to 0.5")
            }
            Self { early, .. } if !(0.0..=100.0).contains(early) => {
                Err("the early refresh is not from 0 to 100")
            }
            Self { load_timeout, .. } if load_timeout.is_zero() => {
                Err("readers are not to wait for a load at all")
            }
            _ => Ok(()),
        }
    }

    /// Returns for how long what was loaded is fresh; nothing if it is not to be kept.
    pub(super) fn lifetime(&self, is_there: bool) -> Option<Duration> {
        let whole = match is_there {
            true => self.time_to_live,
            false => self.negative.min(self.time_to_live),
        };
        let shorter = 1.0 - self.jitter * rand::random::<f64>();
        // Of a time so long that it cannot be reckoned with, nothing is left to chance.
        let lifetime = Duration::try_from_secs_f64(whole.as_secs_f64() * shorter).unwrap_or(whole);
        (!lifetime.is_zero()).then_some(lifetime)
    }

    /// Returns when a value is what that is fresh from one time until another, and took so long to load.
    pub(super) fn times(
        &self,
        is_there: bool,
        from: Duration,
        until: Duration,
        took: Duration,
    ) -> Times {
        Times {
            refresh_at: until.saturating_sub(self.head_start(took)).max(from),
            until,
            stale_until: match is_there {
                true => until.saturating_add(self.max_stale),
                // That there was nothing once is no help to anybody.
                false => until,
            },
        }
    }

    /// Returns how long before its end a value is loaded anew, by chance.
    fn head_start(&self, took: Duration) -> Duration {
        // Of the half-open range from 0 on, so that there is no logarithm of nothing.
        let chance = -(1.0 - rand::random::<f64>()).ln();
        Duration::try_from_secs_f64(took.as_secs_f64() * self.early * chance)
            .unwrap_or(Duration::MAX)
    }
}

/// Tells a cache from all others of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheId(u64);

impl CacheId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Values of one type under one name, with what is to be kept of them.
///
/// Made by [`Cache::kind`](super::Cache::kind), and of that cache alone; cheap to clone.
pub struct CacheKind<T> {
    pub(super) name: Arc<str>,
    pub(super) policy: Arc<CachePolicy>,
    pub(super) schema: u32,
    pub(super) counters: Arc<Counters>,
    /// The cache that made it, in which its name stands for this type.
    pub(super) cache: CacheId,
    values: PhantomData<fn() -> T>,
}

impl<T: 'static> CacheKind<T> {
    pub(super) fn new(name: &str, policy: CachePolicy, cache: CacheId) -> Result<Self> {
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            name.len() <= 63
                && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
                && bytes.all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
                })
        };
        let checked = match is_name(name) {
            true => policy.check(),
            false => Err("expected 1 to 63 characters of [a-z0-9_-] that begin with a letter"),
        };
        match checked {
            Ok(()) => Ok(Self {
                name: name.into(),
                policy: Arc::new(policy),
                schema: 0,
                counters: Arc::default(),
                cache,
                values: PhantomData,
            }),
            Err(detail) => Err(Error::new(ErrorKind::InvalidSettings, "make cache kind")
                .with_subject(name.to_owned())
                .with_detail(detail)),
        }
    }

    /// Says which form the values have where other processes read them: count it up whenever the fields
    /// of the type change. While old and new processes run side by side, each reads what it has written
    /// itself, and each invalidates both.
    #[must_use]
    pub const fn with_schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn load_timeout(&self) -> Duration {
        self.policy.load_timeout
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns how often values were asked for in this process, by whatever handle of this name.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.counters.now()
    }

    pub(super) fn value_type() -> TypeId {
        TypeId::of::<T>()
    }
}

impl<T> Clone for CacheKind<T> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            policy: Arc::clone(&self.policy),
            schema: self.schema,
            counters: Arc::clone(&self.counters),
            cache: self.cache,
            values: PhantomData,
        }
    }
}

impl<T> fmt::Debug for CacheKind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheKind")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("schema", &self.schema)
            .finish()
    }
}
