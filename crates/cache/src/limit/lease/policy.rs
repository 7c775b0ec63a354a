use std::num::NonZeroU32;
use std::time::Duration;

use crate::Rule;

/// In a shorter window the way to the backend and back is no small part.
const SHORTEST: Duration = Duration::from_millis(100);

/// How much of a limit a process may hold in advance.
///
/// All of them together admit no more than [`overshoot`](Self::overshoot) beside the limit within any
/// window: 5 % of it, where nothing else is said.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
///
/// use tenantry_cache::{LeasePolicy, Rule};
///
/// # fn main() -> tenantry_core::Result<()> {
/// let policy = LeasePolicy::new(NonZeroU32::MIN.saturating_add(4));
/// let rule = Rule::new("tenant", 10_000, Duration::from_secs(60))?;
/// assert_eq!(policy.lease(&rule), 100);           // of each of five processes
/// assert_eq!(policy.overshoot(&rule), 500);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePolicy {
    nodes: NonZeroU32,
    percent: u8,
}

impl LeasePolicy {
    /// Shares 5 % of each limit among so many processes.
    ///
    /// Name the most that ever run at a time: each one more may hold a lease more.
    #[must_use]
    pub const fn new(nodes: NonZeroU32) -> Self {
        Self { nodes, percent: 5 }
    }

    /// Sets how many percent of a limit all processes together may hold: a hundred at most.
    #[must_use]
    pub const fn with_percent(mut self, percent: u8) -> Self {
        self.percent = if percent > 100 { 100 } else { percent };
        self
    }

    /// Returns how much of a limit one process holds at most; nothing where that were less than two, for
    /// which the backend is as good, and for windows shorter than a tenth of a second.
    #[must_use]
    pub fn lease(&self, rule: &Rule) -> u64 {
        let (percent, parts) = (u64::from(self.percent), 100 * u64::from(self.nodes.get()));
        let lease = match rule.most().checked_mul(percent) {
            Some(product) => product / parts,
            // So large that no more than a part in a million is lost.
            None => (rule.most() / parts).saturating_mul(percent),
        };
        match lease < 2 || rule.window() < SHORTEST {
            true => 0,
            false => lease,
        }
    }

    /// Returns how much more than the limit may be admitted within a window, by all processes together.
    #[must_use]
    pub fn overshoot(&self, rule: &Rule) -> u64 {
        self.lease(rule).saturating_mul(u64::from(self.nodes.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overshoot(nodes: u32, percent: u8, most: u64) -> (u64, u64) {
        let policy = LeasePolicy::new(NonZeroU32::new(nodes).unwrap()).with_percent(percent);
        let rule = Rule::new("rule", most, Duration::from_secs(1)).unwrap();
        (policy.lease(&rule), policy.overshoot(&rule))
    }

    #[test]
    fn all_leases_together_are_no_more_than_the_part_that_is_set() {
        assert_eq!(overshoot(1, 5, 1_000), (50, 50));
        assert_eq!(overshoot(3, 5, 1_000), (16, 48));
        assert_eq!(overshoot(5, 5, 200), (2, 10));
        assert_eq!(overshoot(4, 200, 1_000), (250, 1_000));
        assert_eq!(overshoot(1, 100, u64::MAX).0, u64::MAX / 100 * 100);
    }

    #[test]
    fn a_limit_of_which_less_than_two_are_leased_is_not_leased() {
        assert_eq!(overshoot(5, 5, 199), (0, 0));
        assert_eq!(overshoot(1, 0, 1_000_000), (0, 0));
        assert_eq!(overshoot(u32::MAX, 5, 1_000_000), (0, 0));
        let short = Rule::new("rule", 1_000, SHORTEST / 2).unwrap();
        assert_eq!(LeasePolicy::new(NonZeroU32::MIN).lease(&short), 0);
    }
}
