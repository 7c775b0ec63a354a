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

    /// Returns the same time as [`monotonic`](Self::monotonic), as it was a moment ago: never ahead of it,
    /// and behind by less than [`COARSE_LAG`].
    ///
    /// For who asks millions of times a second, mostly far from the time that matters, and asks
    /// `monotonic` where it is near: a fifth of the cost.
    fn monotonic_coarse(&self) -> Duration {
        self.monotonic()
    }
}

/// By how much [`Clock::monotonic_coarse`] may lag behind.
///
/// Linux moves that clock with each tick, 1 to 10 ms apart, or five ticks where the processor that does so
/// is taken away (`clock_gettime(2)`, `CLOCK_MONOTONIC_COARSE`).
pub const COARSE_LAG: Duration = Duration::from_millis(100);

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
        origin().elapsed()
    }

    #[cfg(target_os = "linux")]
    fn monotonic_coarse(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};

        const TRIES: u32 = 1_000;
        const NEAR: Duration = Duration::from_millis(1);
        /// When the origin was, by the clock that both readings are of; or a little later.
        static ORIGIN_OF_KERNEL: OnceLock<Duration> = OnceLock::new();
        let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        let origin = ORIGIN_OF_KERNEL.get_or_init(|| {
            let since = origin();
            let mut best = (Duration::MAX, Duration::ZERO);
            // Who is held up between two readings tries again.
            for _ in 0..TRIES {
                // Its reading comes later than that of the other, so that this one is never ahead.
                let gone = since.elapsed();
                let kernel = read(ClockId::Monotonic);
                let took = since.elapsed().saturating_sub(gone);
                best = best.min((took, kernel.saturating_sub(gone)));
                if took < NEAR {
                    break;
                }
            }
            best.1
        });
        read(ClockId::MonotonicCoarse).saturating_sub(*origin)
    }
}

/// Returns the one origin of the process: readings of two [`SystemClock`]s can be compared.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
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
    fn the_coarse_reading_lags_and_is_never_ahead() {
        let clock = SystemClock;
        let mut last = Duration::ZERO;
        for _ in 0..100_000 {
            let before = clock.monotonic();
            let coarse = clock.monotonic_coarse();
            let after = clock.monotonic();
            assert!(coarse <= after, "{coarse:?} {after:?}");
            assert!(coarse + COARSE_LAG > before, "{coarse:?} {before:?}");
            assert!(coarse >= last, "{coarse:?} {last:?}");
            last = coarse;
        }
        let stands = ManualClock::new(at("2026-01-01T00:00:00Z"));
        stands.advance(Duration::from_secs(1));
        assert_eq!(stands.monotonic_coarse(), stands.monotonic());
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
