//! How often a vault may be called.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};

/// Lets so many calls pass within any span of time, and none while the vault is throttled.
#[derive(Debug)]
pub(super) struct Gate {
    calls: usize,
    span: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last calls were made, the oldest first.
    made: VecDeque<Duration>,
    /// Until when the vault wants to be left alone.
    closed_until: Option<Duration>,
    /// How often in a row it has said so.
    refusals: u32,
    /// Whether the one call that tries again is under way.
    trying: bool,
    /// How often it was closed: what was let pass before says nothing of whether it may open.
    epoch: u64,
}

impl Gate {
    pub(super) fn new((calls, span): (usize, Duration)) -> Self {
        Self {
            calls,
            span,
            state: Mutex::default(),
        }
    }

    /// Takes a call of the budget.
    ///
    /// # Errors
    ///
    /// `Throttled`, with the time until a call would pass.
    pub(super) fn enter(&self, now: Duration, purpose: Purpose) -> Result<Pass<'_>> {
        let mut state = self.state.lock();
        if let Some(until) = state.closed_until
            && (now < until || state.trying)
        {
            let wait = until.saturating_sub(now).max(SHORTEST_WAIT);
            return Err(throttled("the vault is throttled, and left alone", wait));
        }
        while state
            .made
            .front()
            .is_some_and(|oldest| oldest.saturating_add(self.span) <= now)
        {
            state.made.pop_front();
        }
        let calls = match purpose {
            Purpose::ReadForTenant => (self.calls - self.calls.div_ceil(4)).max(1),
            _ => self.calls,
        };
        if let Some(over) = state.made.len().checked_sub(calls) {
            let freed = state.made.get(over).copied().unwrap_or(now);
            let free = freed.saturating_add(self.span);
            let detail = "the calls to this vault are used up: keep values longer, or look for who \
                          asks for so many references";
            return Err(throttled(detail, free.saturating_sub(now)));
        }
        state.made.push_back(now);
        let is_trial = state.closed_until.is_some();
        state.trying |= is_trial;
        Ok(Pass {
            gate: self,
            epoch: state.epoch,
            is_trial,
        })
    }
}

/// What a vault is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The read of a secret of a tenant that nobody follows. It finds three quarters of the budget:
    /// whatever names tenants ask for, the rest is left for all others.
    ReadForTenant,
    Read,
    /// A new version, of which nobody knows after an end without answer whether it is stored.
    Store,
    /// A version is switched on or off.
    Switch,
    List,
    Check,
}

impl Purpose {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ReadForTenant | Self::Read => "read",
            Self::Store => "put",
            Self::Switch => "set_enabled",
            Self::List => "list",
            Self::Check => "check",
        }
    }

    /// Returns what is known of a call that has no answer in time.
    pub(super) const fn unanswered(self) -> (ErrorKind, &'static str) {
        match self {
            Self::Store => (
                ErrorKind::CommitUnknown,
                ": it is stored or will be, or it is not, so look before storing it again",
            ),
            _ => (ErrorKind::Unavailable, ""),
        }
    }
}

/// One call, until it has ended.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    epoch: u64,
    is_trial: bool,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.gate.state.lock().trying = false;
        }
    }
}

impl Pass<'_> {
    /// Takes note of how the call ended.
    pub(super) fn leave(self, now: Duration, outcome: Result<(), &Error>) {
        let mut state = self.gate.state.lock();
        match outcome {
            Err(error) if error.kind() == ErrorKind::Throttled => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << state.refusals.min(6));
                // A date that is told may be over by the clock of this machine.
                let told = error.retry_after().map(|told| told.max(FIRST_PAUSE));
                let pause =
                    told.unwrap_or_else(|| doubled.mul_f64(1.0 + 0.5 * rand::random::<f64>()));
                let until = now.saturating_add(pause.min(LONGEST_PAUSE));
                state.closed_until = state.closed_until.max(Some(until));
                // Of several that were refused together, the first counts.
                if self.epoch == state.epoch {
                    state.refusals += 1;
                    state.epoch += 1;
                }
            }
            // That it did not answer tells nothing of whether it would take more calls.
            Err(error) if error.is_retryable() || error.kind() == ErrorKind::CommitUnknown => {}
            _ if self.epoch == state.epoch => {
                state.refusals = 0;
                state.closed_until = None;
            }
            _ => {}
        }
    }
}

fn throttled(detail: &'static str, wait: Duration) -> Error {
    Error::new(ErrorKind::Throttled, "call vault")
        .with_detail(detail)
        .with_retry_after(wait)
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// Also for a vault that asks for more: an hour of silence would be an outage of its own.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn no_span_has_more_calls_than_the_budget() {
        let gate = Gate::new((3, 10 * SECOND));
        for second in [0, 1, 9] {
            drop(gate.enter(second * SECOND, Purpose::Read).unwrap());
        }
        let full = gate.enter(9 * SECOND, Purpose::Read).unwrap_err();
        assert_eq!(full.retry_after(), Some(SECOND));
        drop(gate.enter(10 * SECOND, Purpose::Read).unwrap());
        assert!(gate.enter(10 * SECOND, Purpose::Read).is_err());
        drop(gate.enter(11 * SECOND, Purpose::Read).unwrap());
    }

    #[test]
    fn a_throttled_vault_is_left_alone_and_then_tried_once() {
        let gate = Gate::new((100, SECOND));
        let refusal = throttled("", 5 * SECOND);
        gate.enter(SECOND, Purpose::Read)
            .unwrap()
            .leave(SECOND, Err(&refusal));
        assert_eq!(
            gate.enter(2 * SECOND, Purpose::Read)
                .unwrap_err()
                .retry_after(),
            Some(4 * SECOND)
        );
        let first = gate.enter(6 * SECOND, Purpose::Read).unwrap();
        assert!(
            gate.enter(6 * SECOND, Purpose::Read).is_err(),
            "one tries, the others wait"
        );
        drop(first);
        let second = gate.enter(6 * SECOND, Purpose::Read).unwrap();
        second.leave(6 * SECOND, Ok(()));
        let _one = gate.enter(6 * SECOND, Purpose::Read).unwrap();
        let _other = gate.enter(6 * SECOND, Purpose::Read).unwrap();
    }

    #[test]
    fn a_call_from_before_says_nothing_of_a_vault_that_throttles() {
        let gate = Gate::new((100, SECOND));
        let refusal = throttled("", 5 * SECOND);
        let (slow, refused) = (
            gate.enter(SECOND, Purpose::Read).unwrap(),
            gate.enter(SECOND, Purpose::Read).unwrap(),
        );
        let also_refused = gate.enter(SECOND, Purpose::Read).unwrap();
        refused.leave(SECOND, Err(&refusal));
        also_refused.leave(SECOND, Err(&throttled("", SECOND)));
        slow.leave(2 * SECOND, Ok(()));
        let error = gate.enter(2 * SECOND, Purpose::Read).unwrap_err();
        assert_eq!(error.retry_after(), Some(4 * SECOND), "the longer of both");
        let trial = gate.enter(6 * SECOND, Purpose::Read).unwrap();
        trial.leave(
            6 * SECOND,
            Err(&Error::new(ErrorKind::Throttled, "call vault")),
        );
        let wait = gate
            .enter(6 * SECOND, Purpose::Read)
            .unwrap_err()
            .retry_after()
            .unwrap();
        assert!(
            wait >= 2 * SECOND && wait <= 3 * SECOND,
            "the second in a row: {wait:?}"
        );
    }

    #[test]
    fn pauses_double_and_end() {
        let gate = Gate::new((1_000, SECOND));
        let refusal = Error::new(ErrorKind::Throttled, "call vault");
        let mut now = SECOND;
        for round in 0..12 {
            gate.enter(now, Purpose::Read)
                .unwrap()
                .leave(now, Err(&refusal));
            let wait = gate
                .enter(now, Purpose::Read)
                .unwrap_err()
                .retry_after()
                .unwrap();
            let least = FIRST_PAUSE
                .saturating_mul(1 << round.min(6))
                .min(LONGEST_PAUSE);
            assert!(wait >= least && wait <= LONGEST_PAUSE, "{round}: {wait:?}");
            now += wait;
        }
    }
}
