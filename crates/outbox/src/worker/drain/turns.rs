//! How the search for messages of tenants without a lane and the handing over of what lanes have take turns.

use std::time::Duration;

/// How many parts of a batch lanes have in a turn at least, of eight.
const LEAST: usize = 1;
const ALL: usize = 8;

/// The two have equal time, as long as nothing is found: a tenant that comes after millions of messages of others waits for
/// no more than twice the time that it takes to look through those, whose batches go on meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turns {
    searched: Duration,
    served: Duration,
    /// The last look.
    look: Duration,
    /// How many eighths of a batch lanes have in a turn.
    eighths: usize,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            searched: Duration::ZERO,
            served: Duration::ZERO,
            look: Duration::ZERO,
            eighths: LEAST,
        }
    }
}

impl Turns {
    /// Takes note of a look that took so long and found nothing.
    pub(super) fn searched(&mut self, time: Duration) {
        self.searched += time;
        self.look = time;
    }

    /// The same of a turn of lanes. Those of a quick broker get longer, since each costs a query and more, up to two looks;
    /// a slow one is left soon.
    pub(super) fn served(&mut self, time: Duration) {
        self.served += time;
        if time > self.look * 2 {
            self.eighths = (self.eighths / 2).max(LEAST);
        } else if time <= self.look {
            self.eighths = (self.eighths * 2).min(ALL);
        }
    }

    /// Returns whether it is the turn of lanes.
    pub(super) fn is_of_lanes(&self) -> bool {
        self.served < self.searched
    }

    /// Returns how many rows lanes have in their turn, out of a batch.
    pub(super) fn rows(&self, batch: usize) -> usize {
        (batch * self.eighths / ALL).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(8);

    /// Returns how many rows lanes had, and how long both took, where a row takes so long.
    fn after(looks: u32, row: Duration) -> (usize, Duration, Duration) {
        let mut turns = Turns::default();
        let mut handed_over = 0;
        for _ in 0..looks {
            turns.searched(LOOK);
            while turns.is_of_lanes() {
                let rows = turns.rows(400);
                handed_over += rows;
                turns.served(row * u32::try_from(rows).unwrap());
            }
        }
        (handed_over, turns.searched, turns.served)
    }

    #[test]
    fn lanes_have_as_much_time_as_the_search() {
        let (rows, searched, served) = after(100, Duration::from_micros(10));
        assert!(rows > 75_000, "{rows}");
        assert!(served.abs_diff(searched) < LOOK, "{served:?} {searched:?}");
    }

    #[test]
    fn a_slow_broker_does_not_keep_the_search_waiting_for_longer_than_a_turn() {
        let row = Duration::from_millis(10);
        let (rows, searched, served) = after(200, row);
        assert_eq!(rows % 50, 0, "the smallest part each time");
        assert!(
            served - searched <= row * 50,
            "{rows}: {served:?} {searched:?}"
        );
    }
}
