//! What one subject has used lately.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Rule, Standing};

/// Up to this limit each use is remembered by its own time.
pub(crate) const EXACT: u64 = 1_000;

/// Above, by the sixtieth of the window that it falls into.
const PARTS: u32 = 60;

/// The uses of one subject within the last window.
///
/// A use is remembered with the time from which on it would have been too late: its own, or the end
/// of the part of the window that it falls into. It counts until a window after that. No span of
/// time as long as the window has more than the limit, for a use counts for no less than that; it
/// counts for no longer than a sixtieth more.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// The oldest first.
    uses: VecDeque<Use>,
    total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    at: Duration,
    cost: u64,
}

impl Usage {
    /// Forgets what counts no more; returns what is used.
    pub(crate) fn used(&mut self, rule: &Rule, now: Duration) -> u64 {
        while let Some(oldest) = self.uses.front()
            && oldest.at.saturating_add(rule.window()) <= now
        {
            self.total -= oldest.cost;
            self.uses.pop_front();
        }
        self.total
    }

    /// Says whether a cost passes, and what is left as long as it is not charged.
    pub(crate) fn standing(&mut self, rule: &Rule, cost: u64, now: Duration) -> (bool, Standing) {
        let used = self.used(rule, now);
        let remaining = rule.most().saturating_sub(used);
        let standing = Standing {
            most: rule.most(),
            remaining,
            retry_after: self.wait(rule, cost, now),
            reset_after: self.reset(rule, now),
        };
        (cost <= remaining, standing)
    }

    pub(crate) fn charge(&mut self, rule: &Rule, cost: u64, now: Duration) {
        let mut at = stamp(rule, now);
        self.total = self.total.saturating_add(cost);
        if let Some(newest) = self.uses.back_mut() {
            // A rule of larger parts may have been there before.
            at = at.max(newest.at);
            if newest.at == at {
                newest.cost = newest.cost.saturating_add(cost);
                return;
            }
        }
        self.uses.push_back(Use { at, cost });
    }

    pub(crate) fn refund(&mut self, cost: u64) {
        let mut left = cost;
        // What is left then counts for no less long than the uses that there were.
        while left > 0
            && let Some(oldest) = self.uses.front_mut()
        {
            let part = oldest.cost.min(left);
            oldest.cost -= part;
            self.total -= part;
            left -= part;
            if oldest.cost == 0 {
                self.uses.pop_front();
            }
        }
    }

    /// Returns after which time all of it counts no more.
    pub(crate) fn reset(&self, rule: &Rule, now: Duration) -> Duration {
        let newest = self.uses.back();
        let over = newest.map(|newest| newest.at.saturating_add(rule.window()));
        over.unwrap_or(now).saturating_sub(now)
    }

    /// Returns after which time a cost passes, if nothing else is charged.
    fn wait(&self, rule: &Rule, cost: u64, now: Duration) -> Duration {
        let mut used = self.total;
        let mut uses = self.uses.iter();
        let mut until = now;
        while used.saturating_add(cost) > rule.most() {
            let Some(oldest) = uses.next() else { break };
            used -= oldest.cost;
            until = oldest.at.saturating_add(rule.window());
        }
        until.saturating_sub(now)
    }
}

/// Returns the time from which on a use of now would have been too late to be counted with it.
fn stamp(rule: &Rule, now: Duration) -> Duration {
    if rule.most() <= EXACT {
        return now;
    }
    // No shorter than a sixtieth, so that no more parts than sixty are within a window.
    let part = rule.window().as_nanos().div_ceil(u128::from(PARTS));
    let end = (now.as_nanos() / part + 1) * part;
    Duration::from_nanos_u128(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn rule(most: u64, window: Duration) -> Rule {
        Rule::new("rule", most, window).unwrap()
    }

    fn take(usage: &mut Usage, rule: &Rule, cost: u64, now: Duration) -> bool {
        let (passes, _) = usage.standing(rule, cost, now);
        if passes {
            usage.charge(rule, cost, now);
        }
        passes
    }

    #[test]
    fn what_is_at_both_edges_of_a_window_is_within_it() {
        let rule = rule(100, 1_000 * MILLI);
        let mut usage = Usage::default();
        let taken = |usage: &mut Usage, at| (0..200).filter(|_| take(usage, &rule, 1, at)).count();
        assert_eq!(taken(&mut usage, 999 * MILLI), 100);
        assert_eq!(taken(&mut usage, 1_001 * MILLI), 0);
        assert_eq!(taken(&mut usage, 1_998 * MILLI), 0);
        assert_eq!(taken(&mut usage, 1_999 * MILLI), 100);
    }

    #[test]
    fn the_wait_that_is_told_is_enough_and_not_too_long() {
        for most in [10, 10_000] {
            let rule = rule(most, 1_000 * MILLI);
            let mut usage = Usage::default();
            for part in 0..10 {
                assert!(take(&mut usage, &rule, most / 10, part * 37 * MILLI));
            }
            let now = 400 * MILLI;
            let (passes, standing) = usage.standing(&rule, most / 5, now);
            assert!(!passes);
            let then = now + standing.retry_after;
            assert!(
                !usage
                    .standing(&rule, most / 5, then - Duration::from_nanos(1))
                    .0
            );
            assert!(usage.standing(&rule, most / 5, then).0);
            let reset = then + usage.reset(&rule, then);
            assert_eq!(usage.used(&rule, reset), 0);
        }
    }

    #[test]
    fn a_lower_limit_counts_at_once() {
        let mut usage = Usage::default();
        let (high, low) = (rule(5_000, 1_000 * MILLI), rule(10, 1_000 * MILLI));
        assert!(take(&mut usage, &high, 11, MILLI));
        assert!(!take(&mut usage, &low, 1, 2 * MILLI));
        assert!(take(&mut usage, &high, 4_989, 2 * MILLI));
        assert!(!take(&mut usage, &high, 1, 2 * MILLI));
        assert!(take(&mut usage, &low, 10, 1_100 * MILLI));
    }

    #[test]
    fn a_refund_takes_the_oldest_and_no_more_than_there_is() {
        let rule = rule(10, 1_000 * MILLI);
        let mut usage = Usage::default();
        assert!(take(&mut usage, &rule, 4, MILLI));
        assert!(take(&mut usage, &rule, 6, 500 * MILLI));
        usage.refund(3);
        assert_eq!(usage.used(&rule, 500 * MILLI), 7);
        assert_eq!(usage.used(&rule, 1_001 * MILLI), 6);
        usage.refund(u64::MAX);
        assert_eq!(usage.used(&rule, 1_001 * MILLI), 0);
        assert!(usage.uses.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// By a list of all that was admitted, which is looked through for each.
        #[test]
        fn no_window_has_more_than_the_limit_and_nobody_is_refused_without_reason(
            most in prop_oneof![1_u64..30, 990_u64..1_010, 1_001_u64..5_000],
            window in 1_u64..2_000,
            steps in prop::collection::vec((0_u64..400, 1_u64..600), 1..120),
        ) {
            let rule = rule(most, Duration::from_millis(window));
            let mut usage = Usage::default();
            let mut admitted: Vec<(Duration, u64)> = Vec::new();
            let mut now = Duration::from_micros(17);
            for (pause, cost) in steps {
                now += Duration::from_micros(pause * 1_000 + cost);
                let cost = cost.min(most);
                let within = |span: Duration| -> u64 {
                    let since = |at: Duration| at + span > now;
                    admitted.iter().filter(|(at, _)| since(*at)).map(|(_, cost)| cost).sum()
                };
                if take(&mut usage, &rule, cost, now) {
                    prop_assert!(within(rule.window()) + cost <= most);
                    admitted.push((now, cost));
                } else if most <= EXACT {
                    prop_assert!(within(rule.window()) + cost > most);
                } else {
                    let part = rule.window().div_f64(f64::from(PARTS)) + Duration::from_nanos(2);
                    prop_assert!(within(rule.window() + part) + cost > most);
                }
                prop_assert!(usage.uses.len() <= 1_062);
            }
        }
    }
}
