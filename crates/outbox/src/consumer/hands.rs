//! Hands for messages that are handled side by side, given round the tenants.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::TenantId;
use tokio::sync::oneshot;

/// As many hands as there are, and who waits for them.
///
/// One that is free goes to the tenant that has the fewest, and of those to the one that has waited longest: whoever has
/// much to be handled, or is slow, holds up nobody else by what it has behind that.
pub(super) struct Hands {
    all: usize,
    turns: Mutex<Turns>,
}

struct Turns {
    free: usize,
    tenants: HashMap<TenantId, Share>,
    /// Those of them that wait: how many hands they have, and since which turn.
    order: BTreeSet<(usize, u64, TenantId)>,
    next_turn: u64,
}

/// What a tenant has, and what it waits for.
#[derive(Default)]
struct Share {
    held: usize,
    /// Since when it waits with as many as it has.
    turn: u64,
    waiting: VecDeque<Asking>,
}

struct Asking {
    count: usize,
    to: oneshot::Sender<Hand>,
}

/// One hand, or all of them, until it is dropped.
pub(super) struct Hand {
    hands: Arc<Hands>,
    tenant: TenantId,
    count: usize,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.hands.turns.lock().put_back(self.tenant, self.count);
        self.hands.give_out();
    }
}

impl Hands {
    pub(super) fn new(all: usize) -> Arc<Self> {
        let turns = Turns {
            free: all,
            tenants: HashMap::new(),
            order: BTreeSet::new(),
            next_turn: 0,
        };
        Arc::new(Self {
            all,
            turns: Mutex::new(turns),
        })
    }

    /// Waits for one hand.
    pub(super) async fn one(self: &Arc<Self>, tenant: TenantId) -> Option<Hand> {
        self.take(tenant, 1).await
    }

    /// Waits for all of them: when its turn comes, nobody gets another until they are free.
    pub(super) async fn all(self: &Arc<Self>, tenant: TenantId) -> Option<Hand> {
        self.take(tenant, self.all).await
    }

    async fn take(self: &Arc<Self>, tenant: TenantId, count: usize) -> Option<Hand> {
        let (to, given) = oneshot::channel();
        self.turns.lock().ask(tenant, Asking { count, to });
        self.give_out();
        // Nobody lets go of it but for one who has gone.
        given.await.ok()
    }

    /// Gives out what is free, outside of the lock: what nobody takes any more comes back under it.
    fn give_out(self: &Arc<Self>) {
        loop {
            let next = self.turns.lock().next();
            let Some((tenant, Asking { count, to })) = next else {
                return;
            };
            let hand = Hand {
                hands: Arc::clone(self),
                tenant,
                count,
            };
            drop(to.send(hand));
        }
    }
}

impl Turns {
    fn ask(&mut self, tenant: TenantId, asking: Asking) {
        let share = self.tenants.entry(tenant).or_default();
        share.waiting.push_back(asking);
        if share.waiting.len() == 1 {
            self.queue(tenant);
        }
    }

    /// Takes the next one who is given a hand, if there is one and it is free.
    fn next(&mut self) -> Option<(TenantId, Asking)> {
        loop {
            let &(_, _, tenant) = self.order.first()?;
            let share = self.tenants.get_mut(&tenant)?;
            while share.waiting.front().is_some_and(|it| it.to.is_closed()) {
                share.waiting.pop_front();
            }
            match share.waiting.front() {
                // Those behind wait as well: or one who waits for all would do so for ever.
                Some(asking) if asking.count > self.free => return None,
                Some(_) => {}
                None => {
                    self.change(tenant, |_| {});
                    continue;
                }
            }
            let asking = share.waiting.pop_front()?;
            self.free -= asking.count;
            self.change(tenant, |held| *held += asking.count);
            return Some((tenant, asking));
        }
    }

    fn put_back(&mut self, tenant: TenantId, count: usize) {
        self.free += count;
        self.change(tenant, |held| *held -= count);
    }

    /// Changes how many hands a tenant has, and puts it where it belongs then.
    fn change(&mut self, tenant: TenantId, change: impl FnOnce(&mut usize)) {
        let Some(share) = self.tenants.get_mut(&tenant) else {
            return;
        };
        self.order.remove(&(share.held, share.turn, tenant));
        change(&mut share.held);
        if !share.waiting.is_empty() {
            self.queue(tenant);
        } else if share.held == 0 {
            self.tenants.remove(&tenant);
        }
    }

    /// Lets a tenant wait, behind those that have as few hands.
    fn queue(&mut self, tenant: TenantId) {
        if let Some(share) = self.tenants.get_mut(&tenant) {
            share.turn = self.next_turn;
            self.next_turn += 1;
            self.order.insert((share.held, share.turn, tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use super::*;

    fn tenants<const N: usize>() -> [TenantId; N] {
        std::array::from_fn(|_| TenantId::generate())
    }

    async fn given(hands: &Arc<Hands>, tenant: TenantId) -> Hand {
        hands.one(tenant).await.unwrap()
    }

    /// Whatever has come of those that wait.
    fn come<F: Future>(waiting: &mut FuturesUnordered<F>) -> Vec<F::Output> {
        let next = || waiting.next().now_or_never().flatten();
        std::iter::from_fn(next).collect()
    }

    #[tokio::test]
    async fn the_next_hand_goes_to_whoever_has_the_fewest() {
        let [much, little] = tenants();
        let hands = Hands::new(3);
        let mut waiting: FuturesUnordered<_> = [much; 10]
            .into_iter()
            .chain([little; 3])
            .map(|tenant| given(&hands, tenant))
            .collect();
        let mut held = come(&mut waiting);
        let of = |held: &[Hand], tenant| held.iter().filter(|it| it.tenant == tenant).count();
        assert_eq!((of(&held, much), of(&held, little)), (3, 0));
        // As one is done with, the other's is next, until both have as many.
        for expected in [(2, 1), (1, 2)] {
            let done = held.iter().position(|it| it.tenant == much).unwrap();
            drop(held.swap_remove(done));
            held.extend(come(&mut waiting));
            assert_eq!((of(&held, much), of(&held, little)), expected);
        }
        // What is left goes to whoever waits.
        drop(held);
        let mut all = 0;
        while !waiting.is_empty() {
            all += come(&mut waiting).len();
        }
        assert_eq!(all, 13 - 5);
    }

    /// One at a time, of tenants that have much and one that asks again each time.
    #[tokio::test]
    async fn those_with_as_few_take_turns() {
        let [a, b, again] = tenants();
        let hands = Hands::new(1);
        let first = given(&hands, a).await;
        let mut waiting: FuturesUnordered<_> = [a, b, a, b, a, b, again]
            .map(|tenant| given(&hands, tenant))
            .into_iter()
            .collect();
        assert!(come(&mut waiting).is_empty());
        let mut turns = Vec::new();
        let mut held = Some(first);
        for _ in 0..9 {
            drop(held.take());
            let mut got = come(&mut waiting);
            let hand = got.pop().unwrap();
            assert!(got.is_empty());
            turns.push(hand.tenant);
            if hand.tenant == again {
                waiting.push(given(&hands, again));
                assert!(come(&mut waiting).is_empty());
            }
            held = Some(hand);
        }
        assert_eq!(turns, [b, again, a, b, again, a, b, again, a]);
    }

    /// Nobody overtakes it for long, and it has nobody beside it.
    #[tokio::test]
    async fn who_asks_for_all_gets_them_in_its_turn() {
        let [busy, alone, late] = tenants();
        let hands = Hands::new(2);
        let (first, second) = (given(&hands, busy).await, given(&hands, busy).await);
        let mut all = pin!(hands.all(alone));
        assert!(all.as_mut().now_or_never().is_none());
        let mut waiting: FuturesUnordered<_> =
            [late; 2].map(|it| given(&hands, it)).into_iter().collect();
        assert!(come(&mut waiting).is_empty());
        drop(first);
        assert!(come(&mut waiting).is_empty(), "it would wait for ever");
        assert!(all.as_mut().now_or_never().is_none());
        drop(second);
        assert!(come(&mut waiting).is_empty());
        let alone = all.now_or_never().flatten().unwrap();
        drop(alone);
        assert_eq!(come(&mut waiting).len(), 2);
    }

    /// Also where it was given a hand already, and has not heard of it.
    #[tokio::test]
    async fn who_has_gone_takes_no_hand_along() {
        let [one, two] = tenants();
        let hands = Hands::new(1);
        let held = given(&hands, one).await;
        {
            let mut gone = pin!(given(&hands, two));
            assert!(gone.as_mut().now_or_never().is_none());
            let mut heard = pin!(given(&hands, one));
            assert!(heard.as_mut().now_or_never().is_none());
            // It is given to the one who goes.
            drop(held);
        }
        {
            let mut gone = pin!(hands.all(one));
            let other = given(&hands, two).await;
            assert!(gone.as_mut().now_or_never().is_none());
            drop(other);
        }
        drop(given(&hands, one).await);
        let turns = hands.turns.lock();
        assert_eq!(turns.free, 1);
        assert!(turns.tenants.is_empty() && turns.order.is_empty());
    }
}
