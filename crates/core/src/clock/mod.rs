//! Time, handed in.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use parking_lot::Mutex;

/// The clock that a store, a cache or a worker was built with.
pub type SharedClock = Arc<dyn Clock>;

/// Tells the time.
///
/// # Contract
///
/// An implementer cuts [`now`](Self::now) to microseconds and never lets
/// [`monotonic`](Self::monotonic) go back.
/// A caller uses `now` for what is stored or shown, and `monotonic` for expiry, deadlines and
/// durations: the wall clock of a machine jumps when it is corrected.
pub trait Clock: Send + Sync + Debug {
    /// Returns the time of day, cut to microseconds.
    ///
    /// PostgreSQL stores no more than microseconds. A value that is cut here reads back equal.
    fn now(&self) -> DateTime<Utc>;

    /// Returns the time that has passed since an arbitrary moment; it never goes back.
    ///
    /// Only the difference between two readings of one clock means something.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use tenantry_core::{Clock, SharedClock, SystemClock};
///
/// let clock: SharedClock = Arc::new(SystemClock);
/// let started = clock.monotonic();
/// assert_eq!(clock.now().timestamp_subsec_nanos() % 1_000, 0);
/// assert!(clock.monotonic() >= started);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the time of day comes from"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    fn monotonic(&self) -> Duration {
        // One origin for the process: readings of two `SystemClock`s can be compared.
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that moves only when it is told to, for tests.
///
/// A clone shows and moves the same time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use chrono::{DateTime, Utc};
/// use tenantry_core::{Clock, ManualClock};
///
/// let start: DateTime<Utc> = "2026-01-31T23:59:59Z".parse()?;
/// let clock = ManualClock::new(start);
/// let seen_by_the_store = clock.clone();
///
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(seen_by_the_store.now().to_rfc3339(), "2026-02-01T00:00:00+00:00");
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    reading: Arc<Mutex<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    now: DateTime<Utc>,
    monotonic: Duration,
}

impl ManualClock {
    /// Returns a clock that stands at `start`.
    #[must_use]
    pub fn new(start: DateTime<Utc>) -> Self {
        Self {
            reading: Arc::new(Mutex::new(Reading {
                now: start,
                monotonic: Duration::ZERO,
            })),
        }
    }

    /// Moves both the time of day and the monotonic time forward.
    ///
    /// Both stop at the greatest value they can show.
    pub fn advance(&self, by: Duration) {
        let mut reading = self.reading.lock();
        reading.now = TimeDelta::from_std(by)
            .ok()
            .and_then(|by| reading.now.checked_add_signed(by))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        reading.monotonic = reading.monotonic.saturating_add(by);
    }

    /// Sets the time of day, forward or back, as a correction of the machine's clock does.
    ///
    /// The monotonic time stays as it is.
    pub fn set(&self, now: DateTime<Utc>) {
        self.reading.lock().now = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.reading.lock().now.trunc_subsecs(6)
    }

    fn monotonic(&self) -> Duration {
        self.reading.lock().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn now_is_cut_to_microseconds_also_before_1970() {
        let clock = ManualClock::new(at("2026-01-01T00:00:00.123456789Z"));
        assert_eq!(clock.now(), at("2026-01-01T00:00:00.123456Z"));
        clock.set(at("1969-12-31T23:59:59.999999999Z"));
        assert_eq!(clock.now(), at("1969-12-31T23:59:59.999999Z"));
        assert_eq!(SystemClock.now().timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn steps_below_a_microsecond_add_up() {
        let clock = ManualClock::new(at("2026-01-01T00:00:00Z"));
        clock.advance(Duration::from_nanos(500));
        assert_eq!(clock.now(), at("2026-01-01T00:00:00Z"));
        clock.advance(Duration::from_nanos(500));
        assert_eq!(clock.now(), at("2026-01-01T00:00:00.000001Z"));
    }

    #[test]
    fn setting_the_time_of_day_leaves_the_monotonic_time() {
        let clock = ManualClock::new(at("2026-01-01T00:00:00Z"));
        let shared = clock.clone();
        clock.advance(Duration::from_secs(5));
        clock.set(at("2020-01-01T00:00:00Z"));
        assert_eq!(shared.now(), at("2020-01-01T00:00:00Z"));
        assert_eq!(shared.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn advancing_past_the_end_of_time_stops_there() {
        let clock = ManualClock::new(at("2026-01-01T00:00:00Z"));
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), DateTime::<Utc>::MAX_UTC.trunc_subsecs(6));
        assert_eq!(clock.monotonic(), Duration::MAX);
    }

    #[test]
    fn system_clocks_share_an_origin() {
        let first = SystemClock.monotonic();
        let second = SystemClock.monotonic();
        assert!(second >= first);
    }

    #[test]
    fn clock_is_object_safe() {
        let _: SharedClock = Arc::new(ManualClock::new(at("2026-01-01T00:00:00Z")));
    }
}
