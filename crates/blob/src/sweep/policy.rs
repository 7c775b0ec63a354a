//! How much a run does at most.

use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

/// How much one run does at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPolicy {
    pub(super) batch: usize,
    pub(super) share: u64,
    pub(super) most: u64,
    pub(super) longest: Duration,
}

impl SweepPolicy {
    /// Sets how many blobs are one batch, from 1 to 5,000: 2,000 if nothing is said.
    #[must_use]
    pub const fn with_batch(mut self, blobs: usize) -> Self {
        self.batch = blobs;
        self
    }

    /// Sets how many blobs of one tenant have their turn before all tenants had theirs, 1 at least: 1,000 if
    /// nothing is said.
    #[must_use]
    pub const fn with_share(mut self, blobs: u64) -> Self {
        self.share = blobs;
        self
    }

    /// Sets after how many blobs a run ends: 100,000 if nothing is said.
    #[must_use]
    pub const fn with_most(mut self, blobs: u64) -> Self {
        self.most = blobs;
        self
    }

    /// Sets after which time a run begins no further batch: a minute if nothing is said.
    #[must_use]
    pub const fn with_longest(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = match (self.batch, self.share) {
            (1..=5_000, 1..) => return Ok(()),
            (1..=5_000, 0) => "expected a share of one blob at least",
            _ => "expected a batch from 1 to 5,000 blobs",
        };
        Err(Error::new(ErrorKind::InvalidSettings, "make sweeper").with_detail(wrong))
    }
}

impl Default for SweepPolicy {
    fn default() -> Self {
        Self {
            batch: 2_000,
            share: 1_000,
            most: 100_000,
            longest: Duration::from_secs(60),
        }
    }
}
