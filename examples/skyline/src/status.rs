//! How a service is doing, for the operator's page.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tenantry::blob::{BlobStore, SweepPolicy, Sweeper};
use tenantry::cache::CacheCounts;
use tenantry::core::{Clock as _, SystemClock};
use tenantry::outbox::OutboxStatus;
use tenantry::{Result, Storage};

/// How a service is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) service: String,
    pub(crate) is_ready: bool,
    pub(crate) outbox: Lag,
    pub(crate) cache: Option<Cached>,
    pub(crate) retention: Option<Kept>,
}

/// What has not left the outbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lag {
    pub(crate) workers: u64,
    pub(crate) backlog: u64,
    /// Since the first of them occurred.
    pub(crate) oldest_seconds: i64,
    pub(crate) waiting: u64,
    pub(crate) given_up: u64,
}

/// How often the cache had what it was asked for.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Cached {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// What a sweep of the blobs would find.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) examined: u64,
    /// How many are over, or are to be archived.
    pub(crate) due: u64,
    pub(crate) failed: u64,
}

impl From<CacheCounts> for Cached {
    fn from(counts: CacheCounts) -> Self {
        Self {
            hits: counts.hits + counts.shared_hits,
            misses: counts.misses,
        }
    }
}

impl Cached {
    /// Returns the part that was there, in percent; nothing where nobody has asked.
    pub(crate) fn rate(self) -> Option<u64> {
        (self.hits * 100).checked_div(self.hits + self.misses)
    }
}

impl Status {
    /// Asks what every service has.
    pub(crate) async fn of(service: &str, storage: &Storage) -> Result<Self> {
        let outbox = OutboxStatus::read(storage.platform()?).await?;
        let age = outbox
            .oldest_unsent
            .map_or(TimeDelta::zero(), |oldest| SystemClock.now() - oldest);
        Ok(Self {
            service: service.to_owned(),
            is_ready: storage.health().await.is_ready(),
            outbox: Lag {
                workers: outbox.workers,
                backlog: outbox.backlog,
                oldest_seconds: age.num_seconds().max(0),
                waiting: outbox.waiting,
                given_up: outbox.blocked + outbox.dead,
            },
            cache: None,
            retention: None,
        })
    }

    /// Adds what a sweep of these blobs would find.
    pub(crate) async fn with_blobs(mut self, blobs: &BlobStore) -> Result<Self> {
        let plan = Sweeper::new(blobs, SweepPolicy::default())?.plan().await?;
        self.retention = Some(Kept {
            examined: plan.examined,
            due: plan.deleted + plan.archived + plan.backlog,
            failed: plan.failed,
        });
        Ok(self)
    }
}
