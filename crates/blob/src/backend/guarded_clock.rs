//! A clock that retention can rest on.

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, SharedClock};

/// How far a clock may fall behind what it has shown: corrections of this size are usual.
const USUAL: TimeDelta = TimeDelta::minutes(1);

/// A clock that does not go back.
///
/// Where the clock behind is set back, time stands still: what is put then is kept no less long than it
/// would have been. Whether the time before was right is not known, so that nothing ends by it until the
/// clock has caught up.
#[derive(Debug)]
pub(crate) struct GuardedClock {
    clock: SharedClock,
    latest: Mutex<DateTime<Utc>>,
}

impl GuardedClock {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let latest = Mutex::new(clock.now());
        Self { clock, latest }
    }

    /// Returns the time, and never an earlier one than before.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let now = self.clock.now();
        let mut latest = self.latest.lock();
        *latest = now.max(*latest);
        *latest
    }

    #[cfg(any(feature = "fs", test))]
    /// Takes note of a time that was shown before this process began, or by another.
    pub(crate) fn has_shown(&self, before: DateTime<Utc>) {
        let mut latest = self.latest.lock();
        *latest = before.max(*latest);
    }

    /// Checks whether something may end by this clock.
    ///
    /// # Errors
    ///
    /// - [`Retained`](ErrorKind::Retained): it was set back.
    pub(crate) fn check_right(&self, operation: &'static str) -> Result<()> {
        let latest = self.now();
        let usual = self.clock.now().checked_add_signed(USUAL);
        if usual.is_none_or(|usual| usual >= latest) {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::Retained, operation).with_detail(format!(
                "the clock was set back behind {}, and nothing ends by it until then: set it right",
                latest.format("%FT%TZ")
            )),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tenantry_core::ManualClock;

    use super::*;

    #[test]
    fn time_stands_still_where_the_clock_is_set_back() {
        let at = |minute: u32| -> DateTime<Utc> {
            format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap()
        };
        let clock = ManualClock::new(at(10));
        let guarded = GuardedClock::new(Arc::new(clock.clone()));
        clock.set(at(9));
        assert_eq!(guarded.now(), at(10));
        assert!(guarded.check_right("delete").is_ok(), "a usual correction");
        clock.set(at(5));
        assert_eq!(guarded.now(), at(10));
        assert_eq!(
            guarded.check_right("delete").unwrap_err().kind(),
            ErrorKind::Retained
        );
        clock.advance(Duration::from_secs(6 * 60));
        assert!(guarded.check_right("delete").is_ok());
        assert_eq!(guarded.now(), at(11));
        guarded.has_shown(at(30));
        assert_eq!(guarded.now(), at(30));
        assert!(guarded.check_right("delete").is_err());
        clock.set(DateTime::<Utc>::MAX_UTC);
        assert!(guarded.check_right("delete").is_ok(), "the last there is");
    }
}
