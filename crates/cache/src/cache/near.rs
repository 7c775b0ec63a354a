//! The level in this process: values as they are, and the loads that are under way.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use moka::sync::Cache as Entries;
use parking_lot::Mutex;
use tenantry_core::{COARSE_LAG, Clock};
use tokio::runtime::Handle;

use super::Failure;
use super::fence::{Epoch, Fence, Stamp, Tenant, Tenants};
use super::key::{Key, KeyRef};

/// How many parts the loads are in, each behind a lock of its own.
const SHARDS: usize = 256;

/// How many values of a part rest before those that no longer do are looked for.
const FEW_RESTS: usize = 8;

/// What an entry takes beside its key and its value.
const OVERHEAD: usize = 512;
/// What a tag of it takes beside its text.
const OVERHEAD_OF_A_TAG: usize = 64;

/// A value of any type, or nothing.
pub(super) type Value = Option<Arc<dyn Any + Send + Sync>>;

/// What is kept of one key.
///
/// Readers get a clone, and hand its value on: beside that, a clone counts no reference, or readers of
/// one key in several threads would wait for each other.
#[derive(Clone)]
pub(super) struct Entry {
    /// That of the load which gave it.
    pub(super) id: u64,
    pub(super) value: Value,
    pub(super) times: Times,
    stamp: Stamp,
    weight: u32,
}

/// When a value is what, by the clock of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) refresh_at: Duration,
    pub(super) until: Duration,
    pub(super) stale_until: Duration,
}

/// How a load goes on, and what it comes to.
pub(super) type Course = BoxFuture<'static, Result<Value, Failure>>;

/// A load that is under way, for one of those who wait for it.
///
/// Whoever waits brings it on; who goes away before its end leaves that to a task.
pub(super) struct Flight {
    id: u64,
    course: Shared<Course>,
    has_ended: bool,
    /// Where it is waited for: who drops it may be outside.
    runtime: Option<Handle>,
}

/// The same for all of them, for as long as one waits or a task brings it on.
struct Known {
    id: u64,
    fence: Fence,
    course: WeakShared<Course>,
}

impl Flight {
    fn new(id: u64, course: Shared<Course>) -> Self {
        Self {
            id,
            course,
            has_ended: false,
            runtime: Handle::try_current().ok(),
        }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) async fn end(mut self) -> Result<Value, Failure> {
        let outcome = (&mut self.course).await;
        self.has_ended = true;
        outcome
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.has_ended
            && let Some(runtime) = &self.runtime
        {
            runtime.spawn(self.course.clone().map(drop));
        }
    }
}

/// What is known of a key.
pub(super) enum Found {
    /// A value; one that should be loaded anew, by somebody else, with the time until which it is fresh.
    Fresh {
        value: Value,
        due: Option<Duration>,
    },
    /// A value that is past its time, and whether anybody may try to load it anew.
    Stale {
        value: Value,
        may_load: bool,
    },
    Nothing,
}

/// The right to store what a load gives, if nothing is invalidated meanwhile.
#[derive(Clone)]
pub(super) struct Ticket {
    id: u64,
    pub(super) key: Key,
    pub(super) fence: Fence,
}

/// What happens with some of the keys.
struct Shard {
    flights: HashMap<Key, Known, RandomState>,
    /// Until when nobody loads a value anew, by its load, for the last who did so has failed.
    rests: HashMap<u64, Duration, RandomState>,
}

pub(super) struct Near {
    /// Before which time nothing can have been missed of what others have invalidated; in nanoseconds.
    sure_until: AtomicU64,
    entries: Entries<Key, Entry, RandomState>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    epoch: Epoch,
    ids: AtomicU64,
}

impl Near {
    /// Keeps values up to so many bytes, and is sure of them only while it is told so if others can
    /// invalidate them.
    pub(super) fn new(bytes: u64, tenants: &Arc<Tenants>, is_alone: bool) -> Self {
        let hasher = RandomState::new();
        let tenants = Arc::clone(tenants);
        let entries = Entries::builder()
            .max_capacity(bytes)
            .weigher(|_: &Key, entry: &Entry| entry.weight)
            .eviction_listener(move |key: Arc<Key>, entry: Entry, _| {
                // One of whom values are kept is known.
                if let Some(tenant) = tenants.known(key.tenant()) {
                    tenant.room.give_back(entry.id);
                }
            })
            .build_with_hasher(hasher.clone());
        let shard = || {
            Mutex::new(Shard {
                flights: HashMap::with_hasher(hasher.clone()),
                rests: HashMap::with_hasher(hasher.clone()),
            })
        };
        Self {
            sure_until: AtomicU64::new(if is_alone { u64::MAX } else { 0 }),
            entries,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher,
            epoch: Epoch::default(),
            ids: AtomicU64::new(0),
        }
    }

    /// Looks what is known.
    pub(super) fn look(
        &self,
        tenant: &Tenant,
        key: KeyRef<'_>,
        tags: &[&str],
        clock: &dyn Clock,
    ) -> Found {
        let Some(entry) = self.entries.get(&key) else {
            return Found::Nothing;
        };
        // Most often nothing is near that changes with time.
        let soon = clock.monotonic_coarse().saturating_add(COARSE_LAG);
        let Times {
            refresh_at, until, ..
        } = entry.times;
        let is_far = soon < refresh_at.min(until);
        let (now, is_sure) = match is_far && self.is_sure(soon) {
            true => (soon, true),
            false => {
                let now = clock.monotonic();
                (now, self.is_sure(now))
            }
        };
        if !is_sure || !self.is_current(&entry, tenant, tags) {
            return Found::Nothing;
        }
        let (id, value) = (entry.id, entry.value);
        if now < until {
            return Found::Fresh {
                value,
                due: (now >= refresh_at && self.may_load(key, id, now)).then_some(until),
            };
        }
        if now < entry.times.stale_until {
            let may_load = self.may_load(key, id, now);
            return Found::Stale { value, may_load };
        }
        Found::Nothing
    }

    /// Returns what a reader may be given, fresh or past its time.
    pub(super) fn peek(
        &self,
        tenant: &Tenant,
        key: KeyRef<'_>,
        tags: &[&str],
        now: Duration,
    ) -> Option<Entry> {
        let entry = self.entries.get(&key).filter(|_| self.is_sure(now))?;
        let is_there = self.is_current(&entry, tenant, tags) && now < entry.times.stale_until;
        is_there.then_some(entry)
    }

    /// Says whether nothing was invalidated since it was loaded; asked last, and so of all that ended
    /// before.
    fn is_current(&self, entry: &Entry, tenant: &Tenant, tags: &[&str]) -> bool {
        entry.stamp.holds(tenant, &self.epoch) && entry.stamp.tells_of(tags)
    }

    fn may_load(&self, key: KeyRef<'_>, id: u64, now: Duration) -> bool {
        let rests = &self.shard(&key).lock().rests;
        rests.get(&id).is_none_or(|until| now >= *until)
    }

    /// Returns the load of a key that is under way, if nothing was invalidated since it began, or
    /// begins another.
    pub(super) fn flight(
        &self,
        tenant: &Arc<Tenant>,
        key: Key,
        tags: &[&str],
        start: impl FnOnce(Ticket) -> Course,
    ) -> Flight {
        let flights = &mut self.shard(&key).lock().flights;
        if let Some(known) = flights.get(&key)
            && known.fence.stamp.holds(tenant, &self.epoch)
            && known.fence.stamp.tells_of(tags)
            && let Some(course) = known.course.upgrade()
        {
            return Flight::new(known.id, course);
        }
        let ticket = Ticket {
            id: self.ids.fetch_add(1, Ordering::AcqRel),
            key: key.clone(),
            // Before the load begins, and so before it reads anything.
            fence: Fence::new(tenant, &self.epoch, tags),
        };
        let (id, fence) = (ticket.id, ticket.fence.clone());
        let course = start(ticket).shared();
        // One that has not been waited for has not ended.
        if let Some(weak) = course.downgrade() {
            let course = weak;
            flights.insert(key, Known { id, fence, course });
        }
        Flight::new(id, course)
    }

    /// Keeps what a load gave, unless something of it was invalidated since it began.
    pub(super) fn store(
        &self,
        ticket: &Ticket,
        value: Value,
        weight: usize,
        times: Times,
        now: Duration,
    ) {
        let Ticket { id, key, fence } = ticket;
        let tags = fence.tags().map(|tag| tag.len() + OVERHEAD_OF_A_TAG);
        let weight = weight.saturating_add(key.len() + OVERHEAD + tags.sum::<usize>());
        let tenant = fence.tenant();
        if !tenant.room.has_place_for(weight) {
            self.forget_older(ticket);
            return;
        }
        let entry = Entry {
            id: *id,
            value,
            times,
            stamp: fence.stamp.clone(),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
        };
        let shard = self.shard(key).lock();
        // Who invalidates a key takes its load away, under this lock. What else is invalidated from
        // here on is told by the stamp that stays with the value.
        let is_current = shard.flights.get(key).is_some_and(|it| it.id == *id);
        if !is_current || !fence.stamp.holds(tenant, &self.epoch) || !self.is_sure(now) {
            return;
        }
        let mut gone = tenant.room.take(key, *id, weight);
        self.entries.insert(key.clone(), entry);
        drop(shard);
        if !tenant.room.has(*id) {
            // Whoever has taken its place since may have looked for it too early.
            gone.push((key.clone(), *id));
        }
        for (key, id) in gone {
            // Another value may be in its place since.
            if self.entries.get(&key).is_some_and(|kept| kept.id == id) {
                self.entries.invalidate(&key);
            }
        }
    }

    /// Forgets what was kept before a load whose value is not kept: nobody is given what is older than
    /// what was seen.
    pub(super) fn forget_older(&self, ticket: &Ticket) {
        let Ticket { id, key, .. } = ticket;
        let shard = self.shard(key).lock();
        if shard.flights.get(key).is_some_and(|it| it.id == *id) {
            self.entries.invalidate(key);
        }
    }

    /// Says that a load has ended.
    pub(super) fn landed(&self, ticket: &Ticket) {
        let flights = &mut self.shard(&ticket.key).lock().flights;
        if flights
            .get(&ticket.key)
            .is_some_and(|flight| flight.id == ticket.id)
        {
            flights.remove(&ticket.key);
        }
    }

    /// Says that a load has failed: the value that there is rests for a while.
    pub(super) fn rest(&self, ticket: &Ticket, now: Duration, until: Duration) {
        if let Some(entry) = self.entries.get(&ticket.key) {
            let rests = &mut self.shard(&ticket.key).lock().rests;
            if rests.len() >= FEW_RESTS {
                rests.retain(|_, until| now < *until);
            }
            rests.insert(entry.id, until);
        }
    }

    /// Forgets a key, and keeps those who load it from storing what they get.
    pub(super) fn invalidate(&self, key: &Key) {
        let mut shard = self.shard(key).lock();
        shard.flights.remove(key);
        self.entries.invalidate(key);
    }

    /// Returns a number that no load has which has begun, and each has at least that begins from here on.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.load(Ordering::Acquire)
    }

    pub(super) fn is_sure(&self, now: Duration) -> bool {
        nanos(now) < self.sure_until.load(Ordering::Acquire)
    }

    /// Says that nothing can be missed until a time. What was kept, or is being loaded, from before it
    /// was not sure is of no use.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "told by each backend")
    )]
    pub(super) fn is_sure_until(&self, until: Duration, now: Duration) {
        if !self.is_sure(now) {
            self.clear();
        }
        self.sure_until.fetch_max(nanos(until), Ordering::AcqRel);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.epoch.end();
        // What they take is freed in time; nobody is given any of them from here on.
        self.entries.invalidate_all();
    }

    /// Returns how many values there are, and how many bytes they take.
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    /// Returns where a key belongs, which may be a reference to one.
    fn shard(&self, key: &impl Hash) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        // Other bits than those that choose the place in the part.
        let index = usize::try_from(hash >> 56).unwrap_or_default() % SHARDS;
        &self.shards[index]
    }
}

/// Returns a time of the clock as a number; it is past the end of all numbers after 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Entry {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("times", &self.times)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}
