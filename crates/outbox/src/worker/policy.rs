//! What becomes of messages that are not taken.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use crate::log::{Parked, Verdict};
use crate::{PublishError, PublishErrorKind};

/// What becomes of a key whose message cannot be handed over for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnDeadLetter {
    /// The key stands still until somebody replays or discards the message: no consumer sees a later one
    /// before it.
    #[default]
    BlockKey,
    /// The message becomes a dead letter, and those behind it leave: for events of which each stands for itself.
    SkipToDeadLetter,
}

/// How often, and after what time, a message is tried again that the broker has refused.
///
/// The wait doubles from the first to the longest, and half of it is by chance, so that what failed
/// together does not come back together. An outage of the broker uses no attempt up.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_outbox::{FailurePolicy, OnDeadLetter};
///
/// let policy = FailurePolicy::default()
///     .with_attempts(5)
///     .with_waits(Duration::from_secs(1), Duration::from_secs(60))
///     .with_dead_letter("billing.invoice.viewed", OnDeadLetter::SkipToDeadLetter);
/// # drop(policy);
/// ```
#[derive(Debug, Clone)]
pub struct FailurePolicy {
    attempts: u32,
    first_wait: Duration,
    longest_wait: Duration,
    otherwise: OnDeadLetter,
    by_type: HashMap<Cow<'static, str>, OnDeadLetter>,
}

impl Default for FailurePolicy {
    /// Returns ten attempts, from one second to five minutes apart; keys are blocked.
    fn default() -> Self {
        Self {
            attempts: 10,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            otherwise: OnDeadLetter::BlockKey,
            by_type: HashMap::new(),
        }
    }
}

impl FailurePolicy {
    /// Sets how often a message is tried in all, from 1.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the first and the longest wait between two attempts, from a millisecond to a day: what is outside counts as
    /// the nearest of both.
    #[must_use]
    pub fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        self.first_wait = first.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        self.longest_wait = longest.clamp(self.first_wait, LONGEST_WAIT);
        self
    }

    /// Sets what becomes of keys, unless something else was said of the type.
    #[must_use]
    pub const fn with_default(mut self, otherwise: OnDeadLetter) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// Sets what becomes of keys after events of a type.
    #[must_use]
    pub fn with_dead_letter(
        mut self,
        event_type: impl Into<Cow<'static, str>>,
        then: OnDeadLetter,
    ) -> Self {
        self.by_type.insert(event_type.into(), then);
        self
    }

    /// Returns for how long is waited at most.
    pub(super) const fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Returns what becomes of a message that failed for the `attempts`-th time.
    pub(super) fn judge(&self, event_type: &str, attempts: u32, error: &PublishError) -> Verdict {
        let is_over = error.kind() == PublishErrorKind::Poison || attempts >= self.attempts;
        let (state, wait) = match self.by_type.get(event_type).unwrap_or(&self.otherwise) {
            _ if !is_over => (Parked::Waiting, self.wait(attempts, rand::random())),
            OnDeadLetter::BlockKey => (Parked::Blocked, Duration::ZERO),
            OnDeadLetter::SkipToDeadLetter => (Parked::Dead, Duration::ZERO),
        };
        Verdict {
            state,
            wait,
            counts: true,
            reason: error.code(),
            detail: shortened(error),
        }
    }

    /// Returns what becomes of a message that is not answered while others are; where some of its key were, it is
    /// its turn at once.
    pub(super) fn set_aside(&self, error: &PublishError, is_moving: bool) -> Verdict {
        Verdict {
            state: Parked::Waiting,
            wait: match is_moving {
                true => Duration::ZERO,
                false => self.wait(ASIDE, rand::random()),
            },
            counts: false,
            reason: error.code(),
            detail: shortened(error),
        }
    }

    /// Returns how long to wait after the `attempts`-th failure; `chance` is from 0 to 1.
    pub(crate) fn wait(&self, attempts: u32, chance: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let full = self
            .first_wait
            .saturating_mul(1 << doublings)
            .min(self.longest_wait);
        full.mul_f64(0.5 + chance / 2.0)
    }
}

const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// As after how many failures is waited where there is no answer.
const ASIDE: u32 = 5;

fn shortened(error: &PublishError) -> String {
    let plain = error.detail().chars().filter(|c| *c != '\0');
    plain.take(2_000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: PublishErrorKind) -> PublishError {
        PublishError::new(kind, "no")
    }

    #[test]
    fn waits_double_up_to_the_longest_and_half_of_them_is_by_chance() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(5));
        let policy = FailurePolicy::default().with_waits(first, longest);
        let waits =
            |chance| [1, 2, 3, 4, 400].map(|attempts| policy.wait(attempts, chance).as_millis());
        assert_eq!(waits(1.0), [1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(waits(0.0), [500, 1_000, 2_000, 2_500, 2_500]);
    }

    #[test]
    fn a_budget_ends_and_poison_has_none() {
        let policy = FailurePolicy::default()
            .with_attempts(3)
            .with_dead_letter("seen", OnDeadLetter::SkipToDeadLetter);
        let state = |event_type: &str, attempts, kind| {
            policy.judge(event_type, attempts, &error(kind)).state
        };
        let refused = PublishErrorKind::Refused;
        assert_eq!(state("paid", 1, refused), Parked::Waiting);
        assert_eq!(state("paid", 2, refused), Parked::Waiting);
        assert_eq!(state("paid", 3, refused), Parked::Blocked);
        assert_eq!(state("seen", 3, refused), Parked::Dead);
        assert_eq!(state("paid", 1, PublishErrorKind::Poison), Parked::Blocked);
        assert_eq!(state("seen", 1, PublishErrorKind::Poison), Parked::Dead);
    }
}
