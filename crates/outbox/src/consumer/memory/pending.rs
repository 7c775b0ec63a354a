//! Who waits for what becomes of a message.
//!
//! A worker waits for a second or so where others are answered, and hands the message over again later. So a message that
//! takes long is not begun a second time beside the first, and one that has failed meanwhile has failed for whoever asks
//! next: each attempt of the outbox is one of the handler.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tenantry_core::TenantId;
use tokio::sync::oneshot;

use crate::publisher::{Handled, Unhandled};
use crate::{MessageId, PublishErrorKind};

/// Of how many failures is kept what nobody has heard.
const MOST_UNHEARD: usize = 1_024;

/// Two tenants may have a message of one identifier.
pub(super) type Key = (TenantId, MessageId);

#[derive(Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: HashMap<Key, Vec<oneshot::Sender<Handled>>>,
    /// The oldest first.
    unheard: VecDeque<(Key, Unhandled)>,
}

impl Pending {
    /// Lets somebody wait for a message; returns whether it is to be handled now.
    pub(super) fn begin(&self, key: Key, waiting: oneshot::Sender<Handled>) -> bool {
        let mut state = self.0.lock();
        let unheard = state.unheard.iter().position(|(of, _)| *of == key);
        if let Some((_, why)) = unheard.and_then(|at| state.unheard.remove(at)) {
            state.tell(key, vec![waiting], Err(why));
            return false;
        }
        match state.under_way.entry(key) {
            Entry::Occupied(mut others) => {
                others.get_mut().retain(|other| !other.is_closed());
                others.get_mut().push(waiting);
                false
            }
            Entry::Vacant(vacant) => {
                vacant.insert(vec![waiting]);
                true
            }
        }
    }

    /// Says what became of a message, to all who wait for it or else to who asks next.
    pub(super) fn end(&self, key: Key, handled: Handled) {
        let mut state = self.0.lock();
        let waiting = state.under_way.remove(&key).unwrap_or_default();
        state.tell(key, waiting, handled);
    }

    /// Says to all who wait for a message that nothing will be said of it.
    pub(super) fn forget(&self, key: Key) {
        self.0.lock().under_way.remove(&key);
    }
}

impl State {
    fn tell(&mut self, key: Key, waiting: Vec<oneshot::Sender<Handled>>, handled: Handled) {
        let mut is_heard = false;
        for one in waiting {
            is_heard |= one.send(handled.clone()).is_ok();
        }
        match handled {
            // What was handled the inbox knows, and one that ends has not tried.
            Err(why) if !is_heard && why.kind != PublishErrorKind::Unavailable => {
                if self.unheard.len() == MOST_UNHEARD {
                    self.unheard.pop_front();
                }
                self.unheard.push_back((key, why));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Handled {
        let detail = "has failed".into();
        let kind = PublishErrorKind::Refused;
        Err(Unhandled { kind, detail })
    }

    #[test]
    fn what_failed_while_nobody_listened_has_failed_for_who_asks_next_and_once() {
        let pending = Pending::default();
        let tenants = [TenantId::generate(), TenantId::generate()];
        let [key, foreign] = tenants.map(|tenant| (tenant, MessageId::generate()));
        for key in [key, foreign] {
            let (waiting, gone) = oneshot::channel();
            assert!(pending.begin(key, waiting));
            drop(gone);
        }
        pending.end(key, failed());
        pending.end(foreign, Ok(()));
        let (waiting, mut told) = oneshot::channel();
        assert!(!pending.begin(key, waiting));
        assert!(told.try_recv().unwrap().is_err());
        for key in [key, foreign] {
            assert!(pending.begin(key, oneshot::channel().0));
        }
    }

    #[test]
    fn all_who_wait_for_a_message_hear_of_its_one_attempt() {
        let pending = Pending::default();
        let key = (TenantId::generate(), MessageId::generate());
        let (first, gone) = oneshot::channel();
        assert!(pending.begin(key, first));
        drop(gone);
        let others = [(); 2].map(|()| oneshot::channel());
        let told = others.map(|(waiting, told)| {
            assert!(!pending.begin(key, waiting));
            told
        });
        pending.end(key, failed());
        for mut told in told {
            assert!(told.try_recv().unwrap().is_err());
        }
        // It was heard: the next attempt is one.
        assert!(pending.begin(key, oneshot::channel().0));
        pending.forget(key);
        assert!(pending.begin(key, oneshot::channel().0));
    }
}
