use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{FailurePolicy, Outbox};

/// The longest time that a setting may have.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How a worker works. No time of it is longer than a day.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_outbox::WorkerSettings;
///
/// let settings = WorkerSettings::default()
///     .with_lease(Duration::from_secs(5))
///     .with_batch(500);
/// # drop(settings);
/// ```
#[derive(Clone)]
pub struct WorkerSettings {
    pub(super) name: String,
    pub(super) lease: Duration,
    pub(super) batch: usize,
    pub(super) keys_in_flight: usize,
    pub(super) publish_timeout: Duration,
    pub(super) patience: Duration,
    pub(super) shortest_poll: Duration,
    pub(super) longest_poll: Duration,
    pub(super) idle_after: Duration,
    pub(super) idle_poll: Duration,
    pub(super) policy: FailurePolicy,
    pub(super) committed: Option<Arc<Notify>>,
    weights: HashMap<TenantId, u32>,
}

impl Default for WorkerSettings {
    /// Returns settings for a worker with a name of its own.
    fn default() -> Self {
        Self {
            name: format!("worker-{}", Uuid::now_v7()),
            lease: Duration::from_secs(10),
            batch: 2_000,
            keys_in_flight: 256,
            publish_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(1),
            shortest_poll: Duration::from_millis(5),
            longest_poll: Duration::from_secs(1),
            idle_after: Duration::from_secs(90),
            idle_poll: Duration::from_secs(5),
            policy: FailurePolicy::default(),
            committed: None,
            weights: HashMap::new(),
        }
    }
}

impl WorkerSettings {
    /// Sets the name, 1 to 200 bytes: while a worker of that name is alive, no other starts.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets after what time without a sign of life others take over, from 100 ms; 10 s without it.
    #[must_use]
    pub const fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many messages are read at a time, from 1 to 10,000; 2,000 without it. Where their payloads are more than
    /// 64 MiB together, it is as many fewer. After a crash as many are handed over twice at most.
    ///
    /// With fewer than 16 all tenants wait for each other's backlogs.
    #[must_use]
    pub const fn with_batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Sets for how many keys the publisher is called at a time, from 1; 256 without it.
    #[must_use]
    pub const fn with_keys_in_flight(mut self, keys: usize) -> Self {
        self.keys_in_flight = keys;
        self
    }

    /// Sets for how long a call of the publisher is waited for, before it counts as unavailable; 30 s without it.
    #[must_use]
    pub const fn with_publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// Sets for how long a key that is not answered is waited for while others are: then it is parked without an attempt
    /// being used up, and tried again later, and the others go on; from 10 ms, 1 s without it.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how often is looked for messages of other processes: soon after some have come, and when for long
    /// none have; 5 ms and 1 s without it.
    #[must_use]
    pub const fn with_polls(mut self, shortest: Duration, longest: Duration) -> Self {
        self.shortest_poll = shortest;
        self.longest_poll = longest;
        self
    }

    /// Sets after what time without a message the worker gives its parts back, and how often it looks then, by one
    /// query, for messages of other processes: 90 s and 5 s without it. A commit of its own process wakes it at once.
    #[must_use]
    pub const fn with_idle(mut self, after: Duration, poll: Duration) -> Self {
        self.idle_after = after;
        self.idle_poll = poll;
        self
    }

    /// Sets what becomes of messages that are not taken.
    #[must_use]
    pub fn with_failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the weight of a tenant, from 1 to 1,000; 1 without it.
    ///
    /// Tenants that have a backlog have parts of each round by their weights, those of one weight in the order of
    /// their commits. The others do not wait for them.
    #[must_use]
    pub fn with_weight(mut self, tenant: TenantId, weight: u32) -> Self {
        self.weights.insert(tenant, weight);
        self
    }

    pub(super) fn weight(&self, tenant: TenantId) -> u32 {
        self.weights.get(&tenant).copied().unwrap_or(1)
    }

    /// Lets the worker hear of the commits of an outbox of this process, without a poll.
    #[must_use]
    pub fn with_outbox(mut self, outbox: &Outbox) -> Self {
        self.committed = Some(outbox.committed());
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let is_plain = !self.name.chars().any(char::is_control);
        let wrong = if !(1..=200).contains(&self.name.len()) || !is_plain {
            "a name has 1 to 200 bytes without control characters"
        } else if self.lease < Duration::from_millis(100) {
            "a lease lasts 100 ms at least"
        } else if !(1..=10_000).contains(&self.batch) {
            "a batch has 1 to 10,000 messages"
        } else if self.patience < Duration::from_millis(10) {
            "patience lasts 10 ms at least, or what is taken is sent again"
        } else if self.keys_in_flight == 0 {
            "at least one key is in flight"
        } else if !self.weights.values().all(|it| (1..=1_000).contains(it)) {
            "the weight of a tenant is from 1 to 1,000"
        } else if self.shortest_poll.is_zero() || self.longest_poll < self.shortest_poll {
            "polls are some time apart, and the longest not less than the shortest"
        } else if self.idle_poll.is_zero() {
            "looks of an idle worker are some time apart"
        } else if [
            self.lease,
            self.publish_timeout,
            self.patience,
            self.longest_poll,
            self.idle_after,
            self.idle_poll,
        ]
        .into_iter()
        .any(|time| time > LONGEST)
        {
            "no time is longer than a day"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidSettings, "start outbox worker").with_detail(wrong))
    }
}

impl fmt::Debug for WorkerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSettings")
            .field("name", &self.name)
            .field("lease", &self.lease)
            .field("batch", &self.batch)
            .field("keys_in_flight", &self.keys_in_flight)
            .field("publish_timeout", &self.publish_timeout)
            .field("patience", &self.patience)
            .field("shortest_poll", &self.shortest_poll)
            .field("longest_poll", &self.longest_poll)
            .field("idle_after", &self.idle_after)
            .field("idle_poll", &self.idle_poll)
            .field("policy", &self.policy)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_that_no_broker_can_satisfy_is_refused() {
        let patience = |milliseconds| {
            WorkerSettings::default()
                .with_patience(Duration::from_millis(milliseconds))
                .check()
        };
        for refused in [0, 9] {
            let error = patience(refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSettings);
            assert!(error.detail().contains("patience"), "{error}");
        }
        patience(10).unwrap();
    }
}
