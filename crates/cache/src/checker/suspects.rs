//! Values that were found to differ, and since when.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tenantry_core::TenantId;

use super::CacheLevel;

/// The ages at which a value that differs is counted.
pub(super) const MARKS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// How many are remembered; beyond, the one goes that was looked at longest ago.
const MOST: usize = 1_000;

/// A key in one level.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Suspect {
    pub(super) tenant: TenantId,
    pub(super) kind: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) level: CacheLevel,
}

/// What lay there, and since when it has been found to differ.
struct Differing {
    entry: u64,
    since: Duration,
    looked_at: Duration,
    /// How many of the marks it has passed.
    passed: usize,
}

/// For how long a value has differed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aged {
    pub(super) age: Duration,
    pub(super) is_new: bool,
    /// The marks that it has passed since the last look.
    pub(super) passed: Range<usize>,
}

#[derive(Default)]
pub(super) struct Suspects(HashMap<Suspect, Differing>);

impl Suspects {
    /// Takes note of what differs, as it lay there at one time, and was found to differ at a later one.
    ///
    /// What was loaded before it was found to differ has to go, whatever the store has since; so the
    /// age goes on for as long as it is the same entry, and begins anew with another.
    pub(super) fn differs(
        &mut self,
        suspect: Suspect,
        entry: u64,
        peeked_at: Duration,
        found_at: Duration,
    ) -> Aged {
        if let Some(known) = self.0.get_mut(&suspect).filter(|it| it.entry == entry) {
            let age = peeked_at.saturating_sub(known.since);
            let before = known.passed;
            known.passed = before.max(MARKS.iter().filter(|mark| **mark <= age).count());
            known.looked_at = found_at;
            return Aged {
                age,
                is_new: false,
                passed: before..known.passed,
            };
        }
        if self.0.len() >= MOST && !self.0.contains_key(&suspect) {
            let oldest = self.0.iter().min_by_key(|(_, it)| it.looked_at);
            if let Some(oldest) = oldest.map(|(suspect, _)| suspect.clone()) {
                self.0.remove(&oldest);
            }
        }
        let differing = Differing {
            entry,
            since: found_at,
            looked_at: found_at,
            passed: 0,
        };
        self.0.insert(suspect, differing);
        Aged {
            age: Duration::ZERO,
            is_new: true,
            passed: 0..0,
        }
    }

    /// Forgets a key that does not differ.
    pub(super) fn clear(&mut self, suspect: &Suspect) {
        self.0.remove(suspect);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn suspect(key: &str) -> Suspect {
        Suspect {
            tenant: TenantId::from_u128(7).unwrap(),
            kind: "name".into(),
            key: key.into(),
            level: CacheLevel::Process,
        }
    }

    #[test]
    fn the_age_is_that_of_one_entry() {
        let mut suspects = Suspects::default();
        let mut look = |entry, at| suspects.differs(suspect("7"), entry, at, at);
        assert!(look(1, 10 * SECOND).is_new);
        let aged = look(1, 16 * SECOND);
        assert_eq!((aged.age, aged.passed), (6 * SECOND, 0..2));
        assert_eq!(look(1, 17 * SECOND).passed, 2..2, "each mark once");
        let aged = look(2, 30 * SECOND);
        assert_eq!((aged.age, aged.is_new), (Duration::ZERO, true));
        assert_eq!(look(2, 31 * SECOND).passed, 0..1);
    }

    #[test]
    fn no_more_are_remembered_than_there_may_be() {
        let mut suspects = Suspects::default();
        for number in 0..3 * MOST {
            let at = SECOND * u32::try_from(number).unwrap();
            suspects.differs(suspect(&number.to_string()), 1, at, at);
            suspects.differs(suspect("0"), 1, at, at);
        }
        assert_eq!(suspects.len(), MOST);
        assert!(
            suspects.0[&suspect("0")].passed > 0,
            "what is looked at stays"
        );
    }
}
