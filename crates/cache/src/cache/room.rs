//! How much of the memory one tenant may take.

use std::collections::VecDeque;
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
    /// By the loads that gave the values, and so the oldest first; nothing where one has gone.
    places: VecDeque<(u64, Option<Place>)>,
    gone: usize,
}

struct Place {
    key: Key,
    weight: usize,
}

impl Taken {
    fn find(&self, id: u64) -> Result<usize, usize> {
        self.places.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// Takes the oldest away.
    fn pop(&mut self) -> Option<(Key, u64)> {
        while let Some((id, place)) = self.places.pop_front() {
            match place {
                Some(Place { key, weight }) => {
                    self.bytes -= weight;
                    return Some((key, id));
                }
                None => self.gone -= 1,
            }
        }
        None
    }
}

impl Room {
    pub(super) const fn new(quota: usize) -> Self {
        Self {
            quota,
            taken: Mutex::new(Taken {
                bytes: 0,
                places: VecDeque::new(),
                gone: 0,
            }),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.taken.lock().bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        let taken = self.taken.lock();
        taken.places.len() == taken.gone
    }

    /// Says whether the value of a load has a place.
    pub(super) fn has(&self, id: u64) -> bool {
        let taken = self.taken.lock();
        let found = taken.find(id);
        found.is_ok_and(|index| taken.places[index].1.is_some())
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
            && let Some(oldest) = taken.pop()
        {
            gone.push(oldest);
        }
        taken.bytes += weight;
        let key = key.clone();
        if taken.places.is_empty() {
            // Many tenants have but one.
            taken.places.reserve_exact(1);
        }
        // A load gives one value, and most often the newest one.
        let (Ok(index) | Err(index)) = taken.find(id);
        taken
            .places
            .insert(index, (id, Some(Place { key, weight })));
        gone
    }

    /// Gives the place of a value back, if it still has one.
    pub(super) fn give_back(&self, id: u64) {
        let taken = &mut *self.taken.lock();
        if let Ok(index) = taken.find(id)
            && let Some(place) = taken.places[index].1.take()
        {
            taken.bytes -= place.weight;
            taken.gone += 1;
        }
        if taken.gone == taken.places.len() {
            // Of a tenant of whom nothing is kept, nothing remains.
            taken.places = VecDeque::new();
            taken.gone = 0;
        } else if taken.gone > taken.places.len() / 2 {
            taken.places.retain(|(_, place)| place.is_some());
            taken.gone = 0;
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
