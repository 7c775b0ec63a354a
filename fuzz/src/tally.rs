//! Counts what became of the statements, for whoever reads the log of a run.

use std::time::{Duration, Instant};

use crate::finding::Verdict;

/// How many statements met which verdict.
#[derive(Debug)]
pub struct Tally {
    counts: [u64; 5],
    printed: Instant,
}

impl Tally {
    /// Starts at nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: [0; 5],
            printed: Instant::now(),
        }
    }

    /// Counts a statement, and prints all counts every few seconds.
    #[allow(
        clippy::print_stderr,
        reason = "the log of a fuzzer is what it writes there"
    )]
    pub fn count(&mut self, verdict: Verdict) {
        self.counts[match verdict {
            Verdict::Refused => 0,
            Verdict::Agreed => 1,
            Verdict::Failed => 2,
            Verdict::Undetermined => 3,
            Verdict::Skipped => 4,
        }] += 1;
        if self.printed.elapsed() < Duration::from_secs(5) {
            return;
        }
        self.printed = Instant::now();
        let [refused, agreed, failed, undetermined, skipped] = self.counts;
        eprintln!(
            "tally: {} statements, {refused} refused, {agreed} agreed, {failed} failed on both \
             sides, {undetermined} undetermined, {skipped} skipped",
            self.counts.iter().sum::<u64>()
        );
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
