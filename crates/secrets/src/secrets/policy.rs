use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

/// How long values are kept, and how often vaults are asked.
///
/// The defaults suit a service with a handful of secrets; every figure is of one process.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_secrets::CachePolicy;
///
/// let policy = CachePolicy::default().with_time_to_live(Duration::from_secs(60));
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CachePolicy {
    pub(super) time_to_live: Duration,
    pub(super) jitter: f64,
    pub(super) negative: Duration,
    pub(super) max_stale: Duration,
    pub(super) deadline: Duration,
    pub(super) failure_interval: Duration,
    pub(super) overlap: Duration,
    pub(super) budget: (usize, Duration),
    pub(super) entries: usize,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            time_to_live: Duration::from_secs(5 * 60),
            jitter: 0.2,
            negative: Duration::from_secs(10),
            max_stale: Duration::from_secs(60 * 60),
            deadline: Duration::from_secs(10),
            failure_interval: Duration::from_secs(5),
            overlap: Duration::from_secs(10 * 60),
            budget: (4_000, Duration::from_secs(10)),
            entries: 10_000,
        }
    }
}

impl CachePolicy {
    /// Sets how long a value is used before the vault is read again: 5 minutes by default.
    ///
    /// In the last fifth of it the vault is read in the background, and nobody waits.
    #[must_use]
    pub const fn with_time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Sets which part of the time to live is left to chance, so that not all processes read at
    /// once: 0.2 by default, which makes 4 to 5 minutes of 5; from 0 to 0.5.
    #[must_use]
    pub const fn with_jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// Sets how long it is remembered that a secret is not there, or may not be used: 10 seconds by
    /// default.
    #[must_use]
    pub const fn with_negative_time_to_live(mut self, time: Duration) -> Self {
        self.negative = time;
        self
    }

    /// Sets how long a value is used, after it was read last, while the vault is down: 1 hour by
    /// default. After that it is refused.
    #[must_use]
    pub const fn with_max_stale(mut self, time: Duration) -> Self {
        self.max_stale = time;
        self
    }

    /// Sets how long one read may take, with all that the vault's client tries by itself: 10 seconds
    /// by default.
    #[must_use]
    pub const fn with_deadline(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// Sets how often, at most, the vault is read because a value did not work: every 5 seconds by
    /// default.
    #[must_use]
    pub const fn with_failure_interval(mut self, time: Duration) -> Self {
        self.failure_interval = time;
        self
    }

    /// Sets how long the value before is still used beside a new one: 10 minutes by default. Both
    /// have to work for as long.
    #[must_use]
    pub const fn with_overlap(mut self, time: Duration) -> Self {
        self.overlap = time;
        self
    }

    /// Sets how often, at most, one vault is called within a span of time: 4,000 times within 10
    /// seconds by default, which is what Azure lets all processes have together
    /// (<https://learn.microsoft.com/azure/key-vault/general/service-limits>).
    #[must_use]
    pub const fn with_call_budget(mut self, calls: usize, span: Duration) -> Self {
        self.budget = (calls, span);
        self
    }

    /// Sets how many references are remembered: 10,000 by default. Those without a value
    /// go first, then the one that was used the longest ago; those that are followed stay.
    #[must_use]
    pub const fn with_entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = match self {
            Self { time_to_live, .. } if time_to_live.is_zero() => "the time to live is zero",
            Self { jitter, .. } if !(0.0..=0.5).contains(jitter) => {
                "the jitter is not from 0 to 0.5"
            }
            Self {
                max_stale,
                time_to_live,
                ..
            } if max_stale < time_to_live => {
                "values are to be refused while they are still fresh: the longest staleness is \
                 shorter than the time to live"
            }
            Self { deadline, .. } if deadline.is_zero() => "the deadline is zero",
            Self {
                budget: (calls, span),
                ..
            } if *calls == 0 || span.is_zero() => "the call budget is zero",
            Self { entries: 0, .. } => "no reference is to be remembered",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidSettings, "build secrets").with_detail(wrong))
    }

    /// Returns for how long after a change the value before may be in use somewhere.
    pub(super) const fn change_over(&self) -> Duration {
        self.time_to_live.saturating_add(self.overlap)
    }

    /// Returns the time to live with chance in it.
    pub(super) fn some_time_to_live(&self) -> Duration {
        let shorter = self.jitter * rand::random::<f64>();
        // Of a time so long that it cannot be reckoned with, nothing is left to chance.
        Duration::try_from_secs_f64(self.time_to_live.as_secs_f64() * (1.0 - shorter))
            .unwrap_or(self.time_to_live)
    }
}
