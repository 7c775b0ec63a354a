//! A shared level in this process, which loses what a server may lose, when a test wants it to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, ManualClock, Result, TenantId};

use super::{Invalidation, Kept, Listener, SharedFence, SharedLevel, Slot, Turn};

/// Awaited before and after each step: what another task may do in between is up to the test.
pub(crate) type Point = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;
/// Called when an invalidation is done; what it returns is called when a listener has heard of it.
pub(crate) type OnDone = Arc<dyn Fn() -> Box<dyn Fn(usize) + Send> + Send + Sync>;

pub(crate) struct MemoryLevel {
    clock: ManualClock,
    point: Point,
    on_done: OnDone,
    server: Mutex<Server>,
    /// What happens to the next step.
    trouble: Mutex<Option<Trouble>>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It does not reach the server.
    Unsent,
    /// It is done, and nobody hears of it.
    Unanswered,
}

#[derive(Default)]
struct Server {
    data: Data,
    nonces: u64,
    /// Another one after each fail-over.
    identity: u64,
}

#[derive(Default, Clone)]
struct Data {
    /// The identity of the server that the epoch is of, and the epoch.
    epoch: Option<(u64, u64)>,
    generations: HashMap<TenantId, u64>,
    tags: HashMap<(TenantId, Box<str>), u64>,
    keys: HashMap<(TenantId, Arc<str>, Arc<str>), Entry>,
}

#[derive(Clone)]
struct Entry {
    nonce: u64,
    /// Who has the turn does so by a fence, and until a time.
    lease: Option<(SharedFence, Duration)>,
    /// By schema: the fence it was stored by, the value, and until when it is fresh. As on a server, whose
    /// keys end with the last of their fields, it may lie there for longer.
    values: HashMap<u32, (SharedFence, Vec<u8>, Duration)>,
}

impl MemoryLevel {
    pub(crate) fn new(clock: ManualClock, point: Point, on_done: OnDone) -> Self {
        Self {
            clock,
            point,
            on_done,
            server: Mutex::default(),
            trouble: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    /// Begins anew, for the same listeners.
    pub(crate) fn reset(&self) {
        *self.server.lock() = Server::default();
        *self.trouble.lock() = None;
    }

    /// Loses all keys for which `is_lost` says so.
    pub(crate) fn lose(&self, mut is_lost: impl FnMut() -> bool) {
        let mut server = self.server.lock();
        let data = &mut server.data;
        data.generations.retain(|_, _| !is_lost());
        data.tags.retain(|_, _| !is_lost());
        data.keys.retain(|_, _| !is_lost());
        if is_lost() {
            data.epoch = None;
        }
    }

    pub(crate) fn fail(&self, trouble: Trouble) {
        *self.trouble.lock() = Some(trouble);
    }

    /// Returns what a replica has now, to fail over to it later.
    pub(crate) fn replica(&self) -> impl FnOnce(&Self) + Send + use<> {
        let data = self.server.lock().data.clone();
        move |level: &Self| {
            let mut server = level.server.lock();
            server.data = data;
            server.identity += 1;
        }
    }

    /// Does a step on the server that is there when it begins, or fails if that is gone.
    async fn step<T>(&self, step: impl FnOnce(&mut Server, Duration) -> T) -> Result<T> {
        // Whoever connects looks first which server it is.
        let identity = {
            let mut server = self.server.lock();
            let identity = server.identity;
            if server.data.epoch.is_none_or(|(of, _)| of != identity) {
                let nonce = server.nonce();
                server.data.epoch = Some((identity, nonce));
            }
            identity
        };
        (self.point)().await;
        let trouble = self.trouble.lock().take();
        let failed = || Err(Error::new(ErrorKind::Unavailable, "call server"));
        let outcome = {
            let mut server = self.server.lock();
            if server.identity != identity || trouble == Some(Trouble::Unsent) {
                return failed();
            }
            let now = tenantry_core::Clock::monotonic(&self.clock);
            step(&mut server, now)
        };
        (self.point)().await;
        match trouble {
            Some(_) => failed(),
            None => Ok(outcome),
        }
    }
}

impl Server {
    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    /// Returns the generations that a slot is under, if all of them are there.
    fn fence(&self, slot: &Slot) -> Option<SharedFence> {
        let Data {
            epoch,
            generations,
            tags,
            keys,
        } = &self.data;
        let mut fence = vec![epoch.as_ref()?.1, *generations.get(&slot.tenant)?];
        for tag in &slot.tags {
            fence.push(*tags.get(&(slot.tenant, tag.clone()))?);
        }
        fence.push(keys.get(&key(slot))?.nonce);
        Some(SharedFence(
            fence.into_iter().flat_map(u64::to_be_bytes).collect(),
        ))
    }

    fn make_fence(&mut self, slot: &Slot) -> SharedFence {
        let nonce = self.nonce();
        let identity = self.identity;
        let data = &mut self.data;
        data.epoch.get_or_insert((identity, nonce));
        data.generations.entry(slot.tenant).or_insert(nonce);
        for tag in &slot.tags {
            data.tags.entry((slot.tenant, tag.clone())).or_insert(nonce);
        }
        data.keys.entry(key(slot)).or_insert(Entry {
            nonce,
            lease: None,
            values: HashMap::new(),
        });
        self.fence(slot).unwrap()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn key(slot: &Slot) -> (TenantId, Arc<str>, Arc<str>) {
    (slot.tenant, Arc::clone(&slot.kind), Arc::clone(&slot.key))
}

#[async_trait]
impl SharedLevel for MemoryLevel {
    async fn read(&self, slot: &Slot) -> Result<Option<Kept>> {
        self.step(|server, now| {
            let fence = server.fence(slot)?;
            let entry = server.data.keys.get(&key(slot))?;
            let (by, bytes, fresh_until) = entry.values.get(&slot.schema)?;
            (*by == fence).then(|| Kept {
                bytes: bytes.clone(),
                fresh: fresh_until.saturating_sub(now),
                until: millis(*fresh_until),
            })
        })
        .await
    }

    async fn begin(&self, slot: &Slot, lease: Duration, known: u64) -> Result<Turn> {
        self.step(|server, now| {
            let fence = server.make_fence(slot);
            let entry = server.data.keys.get_mut(&key(slot)).unwrap();
            if entry
                .lease
                .as_ref()
                .is_some_and(|(by, until)| *by == fence && now < *until)
            {
                return Turn::Wait;
            }
            if let Some((by, _, fresh)) = entry.values.get(&slot.schema)
                && *by == fence
                && now < *fresh
                && millis(*fresh) > known
            {
                return Turn::Wait;
            }
            entry.lease = Some((fence.clone(), now.saturating_add(lease)));
            Turn::Load(fence)
        })
        .await
    }

    async fn store(
        &self,
        slot: &Slot,
        fence: &SharedFence,
        bytes: Vec<u8>,
        fresh: Duration,
    ) -> Result<bool> {
        self.step(|server, now| {
            if server.fence(slot).as_ref() != Some(fence) {
                return false;
            }
            let entry = server.data.keys.get_mut(&key(slot)).unwrap();
            let value = (fence.clone(), bytes, now.saturating_add(fresh));
            entry.values.insert(slot.schema, value);
            entry.lease = None;
            true
        })
        .await
    }

    async fn give_up(&self, slot: &Slot, fence: &SharedFence) -> Result<()> {
        self.step(|server, _| {
            if server.fence(slot).as_ref() == Some(fence)
                && let Some(entry) = server.data.keys.get_mut(&key(slot))
            {
                entry.lease = None;
            }
        })
        .await
    }

    async fn invalidate(&self, tenant: TenantId, what: &[Invalidation]) -> Result<()> {
        self.step(|server, _| {
            let nonce = server.nonce();
            let data = &mut server.data;
            for what in what {
                match what {
                    Invalidation::Key { kind, key } => {
                        data.keys
                            .remove(&(tenant, Arc::clone(kind), Arc::clone(key)));
                    }
                    Invalidation::Tag(tag) => {
                        data.tags.insert((tenant, (**tag).into()), nonce);
                    }
                    Invalidation::Tenant => {
                        data.generations.insert(tenant, nonce);
                    }
                }
            }
            // In the same step, so that all hear of all in the order in which it is done.
            let heard: Arc<Mutex<Box<dyn Fn(usize) + Send>>> =
                Arc::new(Mutex::new((self.on_done)()));
            for (index, listener) in self.listeners.lock().iter().enumerate() {
                let (listener, what) = (Weak::clone(listener), what.to_vec());
                let (point, heard) = ((self.point)(), Arc::clone(&heard));
                tokio::spawn(async move {
                    point.await;
                    if let Some(listener) = listener.upgrade() {
                        listener.heard(tenant, &what);
                    }
                    heard.lock()(index);
                });
            }
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        self.step(|_, _| ()).await
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.listeners.lock().push(listener);
    }
}

impl fmt::Debug for MemoryLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLevel")
    }
}
