//! The way between this process and the level that is shared.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tenantry_core::{Error, Result, SharedClock, TenantId};
use tokio::task::AbortHandle;

use super::alarm::Alarm;
use super::kind::CachePolicy;
use super::near::{Ticket, Times};
use crate::shared::wire;
use crate::shared::{self, Invalidation, SharedFence, SharedLevel, Slot};

/// How long one of many has the turn to load; then another has it.
const LEASE: Duration = Duration::from_secs(3);
/// How long to wait before it is looked again for what another loads, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// By how much the end of a value may differ between two who have read the same.
const ALIKE: Duration = Duration::from_millis(500);

/// How many invalidations of a tenant wait for the level to come back, before all of it is flushed
/// in their place.
const MOST_PENDING: usize = 1_000;
/// How long it is left alone before it is tried again, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// For how long the level is left alone after it did not answer.
const SHORT_CIRCUIT: Duration = Duration::from_millis(500);

/// What was invalidated here and the level has not taken yet.
#[derive(Default)]
struct Pending {
    /// Each with the number of the last time that it was asked for.
    waiting: HashMap<TenantId, Vec<(Invalidation, u64)>>,
    asked: u64,
    /// Who tells the level of it.
    task: Option<AbortHandle>,
}

/// A shared level, as this process stands to it.
pub(super) struct Far {
    level: Arc<dyn SharedLevel>,
    clock: SharedClock,
    pending: Mutex<Pending>,
    /// Until when it is left alone.
    down_until: Mutex<Duration>,
    alarm: Alarm,
}

/// What lies there.
pub(super) enum Looked<T> {
    Value(Read<T>),
    /// Something that is past its time, by the clock of the level, or is no value.
    Useless(u64),
    Nothing,
}

/// What was read there.
pub(super) struct Read<T> {
    pub(super) value: Option<T>,
    pub(super) weight: usize,
    pub(super) times: Times,
    /// Until when it is fresh, by the clock of the level.
    pub(super) known: u64,
}

/// What was found there.
pub(super) enum Found<T> {
    Value(Read<T>),
    /// Nothing, and the right to store what is loaded.
    Nothing(SharedFence),
    /// It cannot be told.
    Down,
}

impl Far {
    pub(super) fn new(level: Arc<dyn SharedLevel>, clock: SharedClock) -> Self {
        Self {
            level,
            clock,
            pending: Mutex::default(),
            down_until: Mutex::new(Duration::ZERO),
            alarm: Alarm::default(),
        }
    }

    pub(super) const fn level(&self) -> &Arc<dyn SharedLevel> {
        &self.level
    }

    /// Looks for a value; where there is none, waits for the turn to load it.
    ///
    /// Who refreshes a value before its time is over takes another that is fresh for longer, or else
    /// loads it; one that another is loading is left to that.
    pub(super) async fn look<T: DeserializeOwned>(
        self: &Arc<Self>,
        slot: &Slot,
        policy: &CachePolicy,
        refresh: Option<Duration>,
        waits: impl Fn() + Sync,
    ) -> Found<T> {
        let begun = self.clock.monotonic();
        let mut pause = FIRST_PAUSE;
        loop {
            let (mut due, mut known) = (None, 0);
            match self.read(slot, policy).await {
                Ok(Looked::Value(found)) => {
                    let is_due = refresh.is_some_and(|known| found.times.until <= known + ALIKE);
                    if !is_due {
                        return Found::Value(found);
                    }
                    known = found.known;
                    due = Some(found);
                }
                Ok(Looked::Useless(until)) => known = until,
                Ok(Looked::Nothing) => {}
                Err(()) => return Found::Down,
            }
            match self.told(self.level.begin(slot, LEASE, known).await) {
                Ok(shared::Turn::Load(fence)) => return Found::Nothing(fence),
                Ok(shared::Turn::Wait) => {
                    if let Some(found) = due {
                        return Found::Value(found);
                    }
                    waits();
                }
                Err(()) => return Found::Down,
            }
            // Who has the turn may have gone, and the clock of the level may differ from that of here.
            if self.clock.monotonic().saturating_sub(begun) > 2 * LEASE {
                return Found::Down;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Looks for a value, and for nothing else.
    pub(super) async fn read<T: DeserializeOwned>(
        self: &Arc<Self>,
        slot: &Slot,
        policy: &CachePolicy,
    ) -> Result<Looked<T>, ()> {
        let now = self.clock.monotonic();
        if self.is_pending(slot.tenant) {
            self.tell_on();
            return Err(());
        }
        if now < *self.down_until.lock() {
            return Err(());
        }
        let Some(kept) = self.told(self.level.read(slot).await)? else {
            return Ok(Looked::Nothing);
        };
        if kept.fresh.is_zero() {
            return Ok(Looked::Useless(kept.until));
        }
        let read = wire::read(slot, &kept.bytes).and_then(|written| {
            let (value, weight) = written.value::<T>(policy.encoding.most)?;
            Ok((value, weight, written.took))
        });
        let (value, weight, took) = match read {
            Ok(read) => read,
            Err(damage) => {
                self.alarm.useless(slot, damage, now);
                return Ok(Looked::Useless(kept.until));
            }
        };
        // No longer than any is, whatever the clock of the level does.
        let until = now.saturating_add(kept.fresh.min(policy.time_to_live));
        let times = policy.times(value.is_some(), now, until, took);
        Ok(Looked::Value(Read {
            value,
            weight,
            times,
            known: kept.until,
        }))
    }

    /// Stores what was loaded, if the fence holds; whether it does or not, others may go on.
    async fn store(&self, slot: &Slot, fence: &SharedFence, bytes: Vec<u8>, fresh: Duration) {
        match self.is_pending(slot.tenant) {
            true => self.give_up(slot, fence).await,
            false => drop(self.told(self.level.store(slot, fence, bytes, fresh).await)),
        }
    }

    /// Lets another load what was not loaded here.
    async fn give_up(&self, slot: &Slot, fence: &SharedFence) {
        let _ = self.told(self.level.give_up(slot, fence).await);
    }

    /// Ends these for all processes, now or as soon as the level can be reached.
    pub(super) async fn invalidate(
        self: &Arc<Self>,
        tenant: TenantId,
        over: &[Invalidation],
    ) -> Result<()> {
        // Dropped half way, it may be done or not: it is tried again.
        let unfinished = Unfinished {
            far: self,
            tenant,
            over,
        };
        let outcome = self.level.invalidate(tenant, over).await;
        if outcome.is_ok() {
            unfinished.finish();
        }
        outcome.map_err(later)
    }

    fn is_pending(&self, tenant: TenantId) -> bool {
        self.pending.lock().waiting.contains_key(&tenant)
    }

    pub(super) fn wait_with(self: &Arc<Self>, tenant: TenantId, what: Invalidation) {
        let mut pending = self.pending.lock();
        pending.asked += 1;
        let asked = pending.asked;
        let waiting = pending.waiting.entry(tenant).or_default();
        let whole = waiting
            .iter()
            .position(|(it, _)| *it == Invalidation::Tenant);
        let same = waiting.iter().position(|(it, _)| *it == what);
        match whole.or(same) {
            // What was told of it meanwhile is from before this.
            Some(place) => waiting[place].1 = asked,
            None if waiting.len() >= MOST_PENDING => *waiting = vec![(Invalidation::Tenant, asked)],
            None => waiting.push((what, asked)),
        }
        drop(pending);
        self.tell_on();
    }

    /// Has somebody tell the level of what waits, if nobody does so: a task ends with its runtime.
    fn tell_on(self: &Arc<Self>) {
        let mut pending = self.pending.lock();
        let is_told = pending.task.as_ref().is_some_and(|it| !it.is_finished());
        if pending.waiting.is_empty() || is_told {
            return;
        }
        // Outside a runtime nobody can; the next who comes does.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let task = runtime.spawn(Arc::clone(self).catch_up());
            pending.task = Some(task.abort_handle());
        }
    }

    /// Invalidates what waits, until nothing does.
    async fn catch_up(self: Arc<Self>) {
        let mut pause = FIRST_RETRY;
        loop {
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
            let tenants: Vec<_> = self.pending.lock().waiting.keys().copied().collect();
            let mut is_down = false;
            for tenant in tenants {
                let (what, asked) = {
                    let pending = self.pending.lock();
                    let waiting = pending.waiting.get(&tenant).into_iter().flatten();
                    let what: Vec<_> = waiting.map(|(what, _)| what.clone()).collect();
                    (what, pending.asked)
                };
                if self.level.invalidate(tenant, &what).await.is_err() {
                    is_down = true;
                    continue;
                }
                let mut pending = self.pending.lock();
                if let Some(waiting) = pending.waiting.get_mut(&tenant) {
                    // What was asked for again meanwhile is not done.
                    waiting.retain(|(_, again)| *again > asked);
                    if waiting.is_empty() {
                        pending.waiting.remove(&tenant);
                    }
                }
            }
            {
                let mut pending = self.pending.lock();
                if pending.waiting.is_empty() {
                    // Under the lock under which the next begins another.
                    pending.task = None;
                    return;
                }
            }
            pause = match is_down {
                true => (2 * pause).min(LONGEST_RETRY),
                false => FIRST_RETRY,
            };
        }
    }

    /// Takes note of whether the level answers; without an answer it is left alone for a moment.
    fn told<T>(&self, outcome: Result<T>) -> Result<T, ()> {
        outcome.map_err(|error| {
            let until = self.clock.monotonic().saturating_add(SHORT_CIRCUIT);
            let before = mem::replace(&mut *self.down_until.lock(), until);
            // Once for each time that it goes down.
            if before.saturating_add(SHORT_CIRCUIT) < until {
                tracing::warn!(
                    target: "tenantry::cache",
                    %error,
                    "the shared cache does not answer, and is done without"
                );
            }
        })
    }
}

/// The turn to load for all processes; dropped, another has it.
pub(super) struct Turn {
    far: Arc<Far>,
    slot: Slot,
    /// Taken when something is stored by it.
    fence: Option<SharedFence>,
}

impl Turn {
    pub(super) fn new(far: &Arc<Far>, slot: Slot, fence: SharedFence) -> Self {
        Self {
            far: Arc::clone(far),
            slot,
            fence: Some(fence),
        }
    }

    pub(super) const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Stores what was loaded.
    pub(super) async fn store(mut self, bytes: Vec<u8>, fresh: Duration) {
        if let Some(fence) = self.fence.take() {
            self.far.store(&self.slot, &fence, bytes, fresh).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(fence) = self.fence.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (far, slot) = (Arc::clone(&self.far), self.slot.clone());
            runtime.spawn(async move { far.give_up(&slot, &fence).await });
        }
    }
}

fn later(error: Error) -> Error {
    Error::new(error.kind(), "invalidate in shared cache")
        .with_detail(
            "it is forgotten here, and in other processes as soon as the cache can be reached",
        )
        .with_source(error)
}

/// An invalidation that is not acknowledged yet.
struct Unfinished<'f> {
    far: &'f Arc<Far>,
    tenant: TenantId,
    over: &'f [Invalidation],
}

impl Unfinished<'_> {
    fn finish(mut self) {
        self.over = &[];
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        for what in self.over {
            self.far.wait_with(self.tenant, what.clone());
        }
    }
}

/// Returns what a value is kept under, by whoever loads it.
pub(super) fn slot(ticket: &Ticket, schema: u32) -> Slot {
    let (key, tags) = (&ticket.key, ticket.fence.tags());
    Slot::new(
        key.tenant(),
        key.kind(),
        schema,
        Arc::clone(key.text()),
        tags,
    )
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far")
            .field("level", &self.level)
            .field("pending", &self.pending.lock().waiting.len())
            .finish_non_exhaustive()
    }
}
