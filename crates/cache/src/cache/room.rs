//! How much of the memory one tenant may take.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::key::Key;
use super::near::Entry;

/// How many places are remembered before those of values that have gone are looked for.
const FEW_PLACES: usize = 64;

/// The values of one tenant, by the bytes that they take.
#[derive(Debug)]
pub(super) struct Room {
    quota: usize,
    bytes: AtomicUsize,
    values: AtomicUsize,
    /// The oldest first, with those that have gone meanwhile.
    order: Mutex<VecDeque<(Key, Weak<Entry>)>>,
}

impl Room {
    pub(super) const fn new(quota: usize) -> Self {
        Self {
            quota,
            bytes: AtomicUsize::new(0),
            values: AtomicUsize::new(0),
            order: Mutex::new(VecDeque::new()),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Says whether a value of this size can ever have a place.
    pub(super) const fn has_place_for(&self, weight: usize) -> bool {
        weight <= self.quota
    }

    /// Takes a place for a value; returns the keys of those that have to go for it, the oldest first.
    pub(super) fn take(&self, key: &Key, entry: &Arc<Entry>) -> Vec<(Key, Arc<Entry>)> {
        let mut over = (self.bytes.fetch_add(entry.weight(), Ordering::Relaxed) + entry.weight())
            .saturating_sub(self.quota);
        let values = self.values.fetch_add(1, Ordering::Relaxed) + 1;
        let mut order = self.order.lock();
        let mut gone = Vec::new();
        while over > 0
            && let Some((key, value)) = order.pop_front()
        {
            if let Some(value) = value.upgrade() {
                over = over.saturating_sub(value.weight());
                gone.push((key, value));
            }
        }
        if order.len() > 2 * values.max(FEW_PLACES) {
            order.retain(|(_, value)| value.strong_count() > 0);
        }
        order.push_back((key.clone(), Arc::downgrade(entry)));
        gone
    }

    /// Gives the place of a value back.
    pub(super) fn give_back(&self, weight: usize) {
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        self.values.fetch_sub(1, Ordering::Relaxed);
    }
}
