//! Rate limits of this process.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};

use crate::limit::usage::Usage;
use crate::{Decision, Limit, RateLimits, Standing};

/// How many parts the counts are in, each behind a lock of its own.
const SHARDS: usize = 64;

/// How long a part that is full is not looked through again.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Rate limits of one process.
///
/// The counts of a tenant are behind one lock, so that all limits of a request are checked and
/// charged in one step. A subject whose window is over takes no room; no more than a million are
/// counted at a time, and further ones fail as if nothing could be counted.
///
/// # Examples
///
/// See [`RateLimiter`](crate::RateLimiter).
pub struct MemoryLimits {
    clock: SharedClock,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    subjects: AtomicUsize,
    most_subjects: usize,
}

/// By the name of the rule.
type Rules = HashMap<Arc<str>, Subjects>;
type Subjects = HashMap<Box<str>, Counted>;

#[derive(Default)]
struct Shard {
    tenants: HashMap<TenantId, Rules>,
    subjects: usize,
    /// How many subjects came since those that are over were looked for, and when that may be done
    /// again though none came.
    added: usize,
    look_after: Duration,
}

#[derive(Default)]
struct Counted {
    usage: Usage,
    /// When it is over, if nothing is charged meanwhile.
    until: Duration,
}

impl MemoryLimits {
    /// Counts by the clock of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Counts by this clock.
    #[must_use]
    pub fn with_clock(clock: SharedClock) -> Self {
        Self {
            clock,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            subjects: AtomicUsize::new(0),
            most_subjects: 1_000_000,
        }
    }

    /// Sets how many subjects are counted at a time: a million by default.
    #[must_use]
    pub const fn with_most_subjects(mut self, subjects: usize) -> Self {
        self.most_subjects = subjects;
        self
    }

    fn shard(&self, tenant: TenantId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(tenant);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        &self.shards[index]
    }

    /// Makes room for the subjects of a request that are not counted yet.
    fn make_room(
        &self,
        shard: &mut Shard,
        tenant: TenantId,
        limits: &[Limit<'_>],
        now: Duration,
    ) -> Result<()> {
        let mut new = shard.unknown(tenant, limits);
        if new == 0 {
            return Ok(());
        }
        // As often as there are subjects, so that few are looked at for each that is added.
        let is_due = shard.added > shard.subjects / 2;
        if is_due || (self.is_full(new) && now >= shard.look_after) {
            self.forget_past(shard, now);
            // Of those that were known, some may be over.
            new = shard.unknown(tenant, limits);
        }
        if self.is_full(new) {
            self.forget_elsewhere(now);
        }
        if self.is_full(new) {
            return Err(
                Error::new(ErrorKind::Unavailable, "count subject").with_detail(
                    "too many subjects are counted at a time: name fewer, or allow more by \
                 with_most_subjects",
                ),
            );
        }
        for limit in limits {
            let rules = shard.tenants.entry(tenant).or_default();
            let subjects = match rules.get_mut(limit.rule().name()) {
                Some(subjects) => subjects,
                None => rules.entry(limit.rule().name().into()).or_default(),
            };
            if !subjects.contains_key(limit.subject()) {
                subjects.insert(limit.subject().into(), Counted::default());
            }
        }
        shard.added += new;
        shard.subjects += new;
        self.subjects.fetch_add(new, Ordering::Relaxed);
        Ok(())
    }

    /// Takes away what is over in other parts; one that is in use is left to whoever uses it.
    fn forget_elsewhere(&self, now: Duration) {
        for shard in &self.shards {
            if let Some(mut shard) = shard.try_lock()
                && now >= shard.look_after
            {
                self.forget_past(&mut shard, now);
            }
        }
    }

    fn is_full(&self, new: usize) -> bool {
        self.subjects.load(Ordering::Relaxed).saturating_add(new) > self.most_subjects
    }

    fn forget_past(&self, shard: &mut Shard, now: Duration) {
        let mut left = 0;
        for rules in shard.tenants.values_mut() {
            for subjects in rules.values_mut() {
                subjects.retain(|_, counted| counted.until > now);
                left += subjects.len();
            }
            rules.retain(|_, subjects| !subjects.is_empty());
        }
        shard.tenants.retain(|_, rules| !rules.is_empty());
        self.subjects
            .fetch_sub(shard.subjects - left, Ordering::Relaxed);
        (shard.subjects, shard.added) = (left, 0);
        shard.look_after = now.saturating_add(LOOK_PAUSE);
    }
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    /// Returns how many of the subjects are not counted yet.
    fn unknown(&self, tenant: TenantId, limits: &[Limit<'_>]) -> usize {
        let known = self.tenants.get(&tenant);
        let is_new = |limit: &&Limit<'_>| {
            known
                .and_then(|rules| rules.get(limit.rule().name()))
                .is_none_or(|subjects| !subjects.contains_key(limit.subject()))
        };
        limits.iter().filter(is_new).count()
    }

    fn counted(&mut self, tenant: TenantId, limit: &Limit<'_>) -> Option<&mut Counted> {
        let rules = self.tenants.get_mut(&tenant)?;
        rules.get_mut(limit.rule().name())?.get_mut(limit.subject())
    }

    /// Says whether a cost passes each of the limits, and what is left of them.
    fn standings(
        &mut self,
        tenant: TenantId,
        limits: &[Limit<'_>],
        cost: u64,
        now: Duration,
    ) -> (bool, Vec<Standing>) {
        let mut passes = true;
        let standings = limits.iter().map(|limit| {
            let mut unused = Usage::default();
            let usage = match self.counted(tenant, limit) {
                Some(counted) => &mut counted.usage,
                None => &mut unused,
            };
            let (passes_it, standing) = usage.standing(limit.rule(), cost, now);
            passes &= passes_it;
            standing
        });
        let standings = standings.collect();
        (passes, standings)
    }
}

#[async_trait]
impl RateLimits for MemoryLimits {
    async fn take(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<Decision> {
        let mut shard = self.shard(tenant).lock();
        // Inside of the lock: what is charged later has a later time.
        let now = self.clock.monotonic();
        self.make_room(&mut shard, tenant, limits, now)?;
        let (passes, mut standings) = shard.standings(tenant, limits, cost, now);
        if passes {
            for (limit, standing) in limits.iter().zip(&mut standings) {
                let Some(counted) = shard.counted(tenant, limit) else {
                    continue;
                };
                counted.usage.charge(limit.rule(), cost, now);
                standing.remaining = standing.remaining.saturating_sub(cost);
                standing.reset_after = counted.usage.reset(limit.rule(), now);
                counted.until = now.saturating_add(standing.reset_after);
            }
        }
        Ok(Decision::new(passes, standings))
    }

    async fn peek(&self, tenant: TenantId, limits: &[Limit<'_>]) -> Result<Decision> {
        let mut shard = self.shard(tenant).lock();
        let now = self.clock.monotonic();
        let (passes, standings) = shard.standings(tenant, limits, 1, now);
        Ok(Decision::new(passes, standings))
    }

    async fn refund(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<()> {
        let mut shard = self.shard(tenant).lock();
        let now = self.clock.monotonic();
        for limit in limits {
            if let Some(counted) = shard.counted(tenant, limit) {
                // What is over is not counted, and not what is taken back.
                counted.usage.used(limit.rule(), now);
                counted.usage.refund(cost);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLimits")
            .field("subjects", &self.subjects.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
