//! One lane for each tenant and key: its messages wait there for their turn.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tenantry_core::TenantId;
use tenantry_store::TenantStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::delivery::{Delivery, Receipt, Source};
use super::hands::Hands;
use super::{ConsumerSettings, MessageHandler};
use crate::Inbox;
use crate::telemetry::Consumed;

/// After what time a message is given back over which this process has panicked.
const AFTER_PANIC: Duration = Duration::from_secs(1);

pub(super) struct Lanes {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    /// Says that nothing more is asked for.
    asked: watch::Sender<bool>,
}

pub(super) struct Shared {
    pub(super) store: TenantStore,
    pub(super) inbox: Inbox,
    pub(super) handler: Arc<dyn MessageHandler>,
    pub(super) settings: ConsumerSettings,
    pub(super) system: &'static str,
    pub(super) metrics: Consumed,
    pub(super) stopped: watch::Receiver<bool>,
    /// Once it is stopped: whether the broker is asked for nothing any more.
    pub(super) asked: watch::Receiver<bool>,
    /// Of those that are held.
    places: Arc<Semaphore>,
    /// Of those that are being handled.
    pub(super) hands: Arc<Hands>,
    lanes: Mutex<HashMap<Lane, VecDeque<Waiting>>>,
    /// What was taken and is not acknowledged.
    held: Arc<Receipts>,
    /// How many bytes of it are in memory.
    bytes: Arc<watch::Sender<usize>>,
    next: AtomicU64,
    /// Once it is stopped: whether the broker takes what is given back.
    pub(super) is_heard: AtomicBool,
}

type Receipts = Mutex<HashMap<u64, Arc<dyn Receipt>>>;

/// What stays in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Lane {
    Key(TenantId, String),
    /// What is no message is behind nothing.
    Alone(u64),
}

struct Waiting {
    delivery: Delivery,
    _kept: Kept,
    _place: OwnedSemaphorePermit,
}

/// Among those of which the broker hears that they are wanted, until it is dropped.
struct Kept {
    held: Arc<Receipts>,
    all_bytes: Arc<watch::Sender<usize>>,
    number: u64,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.held.lock().remove(&self.number);
        self.all_bytes.send_modify(|held| *held -= self.bytes);
    }
}

/// A lane that is served, until it is empty or this is dropped: then whoever comes next is served anew.
struct Served<'a> {
    shared: &'a Shared,
    lane: Option<&'a Lane>,
}

impl Served<'_> {
    fn next(&mut self) -> Option<Waiting> {
        let lane = self.lane?;
        let mut lanes = self.shared.lanes.lock();
        let next = lanes.get_mut(lane).and_then(VecDeque::pop_front);
        if next.is_none() {
            lanes.remove(lane);
            self.lane = None;
        }
        next
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane {
            self.shared.lanes.lock().remove(lane);
        }
    }
}

impl Lanes {
    pub(super) fn new(
        store: &TenantStore,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
        system: &'static str,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let (asked, is_asked) = watch::channel(false);
        let shared = Shared {
            store: store.clone(),
            inbox: Inbox::new(store),
            handler,
            system,
            metrics: Consumed::new(system, &settings.name),
            stopped: stopped.clone(),
            asked: is_asked,
            places: Arc::new(Semaphore::new(settings.prefetch())),
            hands: Hands::new(settings.in_flight),
            settings,
            lanes: Mutex::default(),
            held: Arc::default(),
            bytes: Arc::default(),
            next: AtomicU64::default(),
            is_heard: AtomicBool::new(true),
        };
        Self {
            shared: Arc::new(shared),
            stopped,
            asked,
        }
    }

    /// Takes deliveries until it is stopped, and then waits for those that are being handled.
    pub(super) async fn run<S: Source>(mut self, mut source: S) {
        // Dropped with this future, it ends them.
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(every) = source.keep_every() {
            tasks.spawn(Arc::clone(&self.shared).keep(every));
        }
        let mut failures = 0;
        while !*self.stopped.borrow() {
            let Some(room) = self.room().await else {
                break;
            };
            let Some(mut places) = self.places().await else {
                break;
            };
            let next = source.next(places.num_permits(), room);
            let next = match S::MAY_BE_DROPPED {
                false => next.await,
                true => tokio::select! {
                    next = next => next,
                    _ = self.stopped.wait_for(|stopped| *stopped) => break,
                },
            };
            match next {
                Ok(deliveries) => {
                    failures = 0;
                    if !deliveries.is_empty() {
                        self.shared.metrics.received(deliveries.len());
                    }
                    for delivery in deliveries {
                        // Never more than places.
                        if let Some(place) = places.split(1) {
                            self.dispatch(&mut tasks, delivery, place);
                        }
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(
                            target: "tenantry::outbox",
                            consumer = self.shared.settings.name,
                            %error,
                            "the broker gives nothing out: it is asked again"
                        );
                    }
                    drop(places);
                    let wait = Duration::from_millis(50) * (1 << failures.min(6));
                    self.shared.rest(wait).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        self.asked.send_replace(true);
        // Whoever holds a place is being handled, or is given back.
        let all = u32::try_from(self.shared.settings.prefetch()).unwrap_or(u32::MAX);
        let _ = self.shared.places.acquire_many(all).await;
        source.end().await;
    }

    /// Waits until fewer bytes are held than may be, and returns how many more; nothing once it is stopped.
    async fn room(&mut self) -> Option<usize> {
        let most = self.shared.settings.prefetch_bytes;
        let mut held = self.shared.bytes.subscribe();
        tokio::select! {
            held = held.wait_for(|held| *held < most) => held.ok().map(|held| most - *held),
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// Waits for a free place, and takes all that there are; nothing once it is stopped.
    async fn places(&mut self) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.shared.places);
        let mut first = tokio::select! {
            first = Arc::clone(&places).acquire_owned() => first.ok()?,
            _ = self.stopped.wait_for(|stopped| *stopped) => return None,
        };
        while let Ok(another) = Arc::clone(&places).try_acquire_owned() {
            first.merge(another);
        }
        Some(first)
    }

    fn dispatch(
        &self,
        tasks: &mut tokio::task::JoinSet<()>,
        delivery: Delivery,
        place: OwnedSemaphorePermit,
    ) {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let lane = match &delivery.read {
            Ok(message) => Lane::Key(message.tenant(), message.key().to_owned()),
            Err(_) => Lane::Alone(number),
        };
        self.shared
            .held
            .lock()
            .insert(number, Arc::clone(&delivery.receipt));
        let bytes = delivery.bytes;
        self.shared.bytes.send_modify(|held| *held += bytes);
        let waiting = Waiting {
            delivery,
            _kept: Kept {
                held: Arc::clone(&self.shared.held),
                all_bytes: Arc::clone(&self.shared.bytes),
                number,
                bytes,
            },
            _place: place,
        };
        match self.shared.lanes.lock().entry(lane) {
            Entry::Occupied(mut lane) => lane.get_mut().push_back(waiting),
            Entry::Vacant(vacant) => {
                let lane = vacant.key().clone();
                vacant.insert(VecDeque::new());
                tasks.spawn(Arc::clone(&self.shared).serve(lane, waiting));
            }
        }
    }
}

impl Shared {
    /// Settles the deliveries of a lane one after the other, until there is none.
    async fn serve(self: Arc<Self>, lane: Lane, first: Waiting) {
        let mut served = Served {
            shared: &self,
            lane: Some(&lane),
        };
        let mut next = Some(first);
        while let Some(waiting) = next {
            // One that panics, in code of others that is called here, does not take with it what stands behind it.
            let settling = AssertUnwindSafe(self.settle(&waiting.delivery)).catch_unwind();
            let settled = match settling.await {
                Ok(settled) => settled,
                Err(_) => {
                    self.rest(AFTER_PANIC).await;
                    self.give_back(&waiting.delivery).await
                }
            };
            self.metrics.settled(settled);
            drop(waiting);
            next = served.next();
        }
    }

    /// Says of all that is held that it is still wanted.
    async fn keep(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let held: Vec<_> = self.held.lock().values().cloned().collect();
            for receipt in held {
                // Whoever is not heard gets it again, and the inbox knows it. So it is with those behind it.
                if receipt.keep().await.is_err() {
                    break;
                }
            }
        }
    }
}
