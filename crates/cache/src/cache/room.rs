//! How much of the memory one tenant may take.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

use super::key::Key;

/// The values of one tenant, by the bytes that they take.
pub(super) struct Room {
    quota: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    /// By the loads that gave the values, and so the oldest first.
    places: BTreeMap<u64, (Key, usize)>,
}

impl Room {
    pub(super) const fn new(quota: usize) -> Self {
        Self {
            quota,
            taken: Mutex::new(Taken {
                bytes: 0,
                places: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.taken.lock().bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.lock().places.is_empty()
    }

    /// Says whether a value of this size can ever have a place.
    pub(super) const fn has_place_for(&self, weight: usize) -> bool {
        weight <= self.quota
    }

    /// Takes a place for the value of a load; returns those that have to go for it, the oldest first.
    pub(super) fn take(&self, key: &Key, id: u64, weight: usize) -> Vec<(Key, u64)> {
        let taken = &mut *self.taken.lock();
        let mut gone = Vec::new();
        while taken.bytes.saturating_add(weight) > self.quota
            && let Some((id, (key, weight))) = taken.places.pop_first()
        {
            taken.bytes -= weight;
            gone.push((key, id));
        }
        taken.bytes += weight;
        taken.places.insert(id, (key.clone(), weight));
        gone
    }

    /// Gives the place of a value back, if it still has one.
    pub(super) fn give_back(&self, id: u64) {
        let taken = &mut *self.taken.lock();
        if let Some((_, weight)) = taken.places.remove(&id) {
            taken.bytes -= weight;
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("quota", &self.quota)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
