//! Whether the broker is to blame for refusals, or what it is given.

use std::time::{Duration, Instant};

/// Where so many keys are refused at once, and nothing is taken, the broker may be to blame.
pub(super) const MANY_KEYS: usize = 16;

/// For how long keys that were to blame, since others were taken, are believed to be that again.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What nobody can tell from refusals alone: a broker that is out of order refuses all that it is given, and so does one
/// that is well where all of it is of a tenant that it does not know. What it takes next tells.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// How many times all of many keys were refused, and nothing was taken since.
    refusals: u32,
    /// When something was taken after that.
    ended_at: Option<Instant>,
}

/// What becomes of many keys that were all refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The broker is to blame, as far as is known: the same keys are tried again after a wait, as after so many
    /// failures.
    Again(u32),
    /// Nobody is blamed, and others have their turn.
    Aside,
    /// They are to blame.
    Blamed,
}

impl Doubt {
    /// Takes note that all of many new keys were refused.
    pub(super) fn refuse(&mut self) -> Refused {
        self.refusals = self.refusals.saturating_add(1);
        match self.refusals {
            1 if self.remembers() => Refused::Blamed,
            // A short outage leaves the log as it is. After that nobody waits for whoever is refused: what tells is taken
            // from aside as well.
            refusals @ 1..=2 => Refused::Again(refusals),
            _ => Refused::Aside,
        }
    }

    /// Takes note of the same of parked ones; returns whether they are to blame.
    pub(super) fn refuse_parked(&mut self) -> bool {
        let is_first = self.refusals == 0;
        self.refusals = self.refusals.max(1);
        is_first && self.remembers()
    }

    /// Takes note that something was taken.
    pub(super) fn take(&mut self) {
        if self.is_open() {
            self.ended_at = Some(Instant::now());
        }
        self.refusals = 0;
    }

    /// Returns whether nothing was taken since all of many keys were refused: no attempt is used up then.
    pub(super) const fn is_open(&self) -> bool {
        self.refusals > 0
    }

    fn remembers(&self) -> bool {
        self.ended_at.is_some_and(|at| at.elapsed() < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_blamed_before_something_is_taken() {
        let mut doubt = Doubt::default();
        let rounds: Vec<_> = (0..7).map(|_| doubt.refuse()).collect();
        let (again, aside) = (Refused::Again, Refused::Aside);
        assert_eq!(
            rounds,
            [again(1), again(2), aside, aside, aside, aside, aside]
        );
        assert!(doubt.is_open() && !doubt.refuse_parked());
    }

    #[test]
    fn keys_are_blamed_once_for_each_time_that_others_are_taken() {
        let mut doubt = Doubt::default();
        doubt.refuse();
        doubt.take();
        assert!(!doubt.is_open());
        assert_eq!(doubt.refuse(), Refused::Blamed);
        assert_eq!(doubt.refuse(), Refused::Again(2));
        doubt.take();
        assert!(doubt.refuse_parked());
        assert!(doubt.is_open() && !doubt.refuse_parked());
    }

    #[test]
    fn what_is_taken_without_a_doubt_says_nothing() {
        let mut doubt = Doubt::default();
        doubt.take();
        assert_eq!(doubt.refuse(), Refused::Again(1));
    }
}
