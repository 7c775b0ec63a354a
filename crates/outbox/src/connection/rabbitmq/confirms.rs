//! Which of the messages of a channel were stored, and which came back.
//!
//! A server sends a message back that no queue takes, and then confirms it. Only the message itself tells which one it is:
//! the client hands it out along with whichever confirm it reads next, and that may be of another message. Taken by itself,
//! the confirm of the one that came back says then that it is stored.
//!
//! Each confirm takes with it the one that waits longest of those that came back, if there is one. So it is known of a
//! message, once all confirms are seen that were there at one moment:
//!
//! - It was handed out with any of them: it came back.
//! - It was not, and its own confirm had no message with it: none was waiting, and it did not come back.
//! - It was not, and its own confirm had another with it: it did not come back if all that were handed out are confirmed
//!   themselves. As long as they are not, it may be among those that wait.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// What a client says of a message: whether the server has it, and a message that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confirm<I> {
    pub(crate) is_stored: bool,
    pub(crate) came_back: Option<I>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    Refused,
    CameBack,
}

/// Why nothing is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost<E> {
    /// There is no confirm of it, for the channel has ended.
    Ended(E),
    /// Nobody can tell over this channel: it has ended before it was clear whether the message came back, or the same one
    /// is under way for somebody else.
    Unheard,
}

/// The messages of a channel that are under way.
pub(crate) struct Confirms<I, F, E>(Mutex<State<I, F, E>>);

struct State<I, F, E> {
    slots: HashMap<I, Slot<F, E>>,
    /// What was handed out with confirms of others, and is not confirmed itself.
    came_back: HashSet<I>,
    /// Whether nothing more is handed out.
    has_ended: bool,
}

struct Slot<F, E> {
    stage: Stage<F, E>,
    waker: Waker,
    is_abandoned: bool,
}

enum Stage<F, E> {
    UnderWay(F),
    Confirmed { is_stored: bool, with_another: bool },
    Known(Result<Outcome, Lost<E>>),
}

impl<I, F, E> Default for Confirms<I, F, E> {
    fn default() -> Self {
        Self(Mutex::new(State {
            slots: HashMap::new(),
            came_back: HashSet::new(),
            has_ended: false,
        }))
    }
}

impl<I, F, E> Confirms<I, F, E>
where
    I: Clone + Eq + Hash,
    F: Future<Output = Result<Confirm<I>, E>> + Unpin,
{
    /// Waits for what becomes of a message that `publish` sends and reads the confirm of; where the same one is under way, and
    /// whoever sent it waits no longer, for what becomes of that. Two of one identifier are not sent: nobody could tell which
    /// of both came back.
    ///
    /// # Cancel safety
    ///
    /// The message is sent, or is not; it goes on being looked after, since its confirm may tell of another.
    #[expect(clippy::future_not_send, reason = "it is where its parts are")]
    pub(crate) async fn of(&self, id: I, publish: F) -> Result<Outcome, Lost<E>> {
        if !self.0.lock().add(id.clone(), publish) {
            return Err(Lost::Unheard);
        }
        let awaited = Awaited { confirms: self, id };
        std::future::poll_fn(|context| awaited.poll(context)).await
    }
}

impl<I, F, E> fmt::Debug for Confirms<I, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirms").finish_non_exhaustive()
    }
}

/// A message that is under way, for whoever waits for it.
struct Awaited<'a, I, F, E>
where
    I: Clone + Eq + Hash,
{
    confirms: &'a Confirms<I, F, E>,
    id: I,
}

impl<I, F, E> Awaited<'_, I, F, E>
where
    I: Clone + Eq + Hash,
    F: Future<Output = Result<Confirm<I>, E>> + Unpin,
{
    fn poll(&self, context: &Context<'_>) -> Poll<Result<Outcome, Lost<E>>> {
        let mut wakers = Vec::new();
        let mut state = self.confirms.0.lock();
        if state.has_come(&self.id, context.waker()) {
            state.settle(&mut wakers);
        }
        let known = state.take(&self.id);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        known.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<I, F, E> Drop for Awaited<'_, I, F, E>
where
    I: Clone + Eq + Hash,
{
    fn drop(&mut self) {
        let mut state = self.confirms.0.lock();
        let Some(slot) = state.slots.get_mut(&self.id) else {
            return;
        };
        match slot.stage {
            Stage::Known(_) => drop(state.slots.remove(&self.id)),
            Stage::UnderWay(_) | Stage::Confirmed { .. } => {
                slot.is_abandoned = true;
                slot.waker = Waker::noop().clone();
            }
        }
    }
}

impl<I, F, E> State<I, F, E>
where
    I: Clone + Eq + Hash,
{
    fn add(&mut self, id: I, publish: F) -> bool {
        match self.slots.entry(id) {
            Entry::Vacant(free) => {
                free.insert(Slot {
                    stage: Stage::UnderWay(publish),
                    waker: Waker::noop().clone(),
                    is_abandoned: false,
                });
                true
            }
            Entry::Occupied(mut sent) => std::mem::take(&mut sent.get_mut().is_abandoned),
        }
    }

    /// Returns what is known of a message, once.
    fn take(&mut self, id: &I) -> Option<Result<Outcome, Lost<E>>> {
        let is_known = |slot: &Slot<F, E>| matches!(slot.stage, Stage::Known(_));
        self.slots.get(id).filter(|slot| is_known(slot))?;
        match self.slots.remove(id)?.stage {
            Stage::Known(known) => Some(known),
            _ => None,
        }
    }
}

impl<I, F, E> State<I, F, E>
where
    I: Clone + Eq + Hash,
    F: Future<Output = Result<Confirm<I>, E>> + Unpin,
{
    /// Looks whether a message is confirmed of which nothing is known so far; else the waker is called when it is.
    fn has_come(&mut self, id: &I, waker: &Waker) -> bool {
        let Some(slot) = self.slots.get_mut(id) else {
            return false;
        };
        slot.waker.clone_from(waker);
        match slot.stage {
            Stage::Confirmed { .. } => true,
            _ => slot.look(id, &mut self.came_back, &mut self.has_ended),
        }
    }

    /// Says what is known, of all messages.
    fn settle(&mut self, wakers: &mut Vec<Waker>) {
        // In one pass some are looked at before and some behind a moment; where it finds nothing, all are as they were.
        loop {
            let mut any = false;
            for (id, slot) in &mut self.slots {
                if slot.look(id, &mut self.came_back, &mut self.has_ended) {
                    any = true;
                    wakers.push(slot.waker.clone());
                }
            }
            if !any {
                break;
            }
        }
        self.came_back.retain(|id| match self.slots.get_mut(id) {
            Some(slot) if matches!(slot.stage, Stage::Confirmed { .. }) => {
                slot.stage = Stage::Known(Ok(Outcome::CameBack));
                wakers.push(slot.waker.clone());
                false
            }
            _ => true,
        });
        let some_wait = !self.came_back.is_empty();
        for slot in self.slots.values_mut() {
            let Stage::Confirmed {
                is_stored,
                with_another,
            } = slot.stage
            else {
                continue;
            };
            let may_wait = with_another && some_wait;
            slot.stage = Stage::Known(match (may_wait, is_stored) {
                (true, _) if self.has_ended => Err(Lost::Unheard),
                (true, _) => continue,
                (false, true) => Ok(Outcome::Stored),
                (false, false) => Ok(Outcome::Refused),
            });
            wakers.push(slot.waker.clone());
        }
        self.slots
            .retain(|_, slot| !slot.is_abandoned || !matches!(slot.stage, Stage::Known(_)));
    }
}

impl<F, E> Slot<F, E> {
    /// Returns whether there is a confirm that was not seen before.
    fn look<I>(&mut self, id: &I, came_back: &mut HashSet<I>, has_ended: &mut bool) -> bool
    where
        I: Clone + Eq + Hash,
        F: Future<Output = Result<Confirm<I>, E>> + Unpin,
    {
        let Stage::UnderWay(publish) = &mut self.stage else {
            return false;
        };
        let mut context = Context::from_waker(&self.waker);
        let Poll::Ready(confirm) = Pin::new(publish).poll(&mut context) else {
            return false;
        };
        self.stage = match confirm {
            Err(error) => {
                *has_ended = true;
                Stage::Known(Err(Lost::Ended(error)))
            }
            Ok(confirm) if confirm.came_back.as_ref() == Some(id) => {
                Stage::Known(Ok(Outcome::CameBack))
            }
            Ok(confirm) => {
                let with_another = confirm.came_back.is_some();
                came_back.extend(confirm.came_back);
                Stage::Confirmed {
                    is_stored: confirm.is_stored,
                    with_another,
                }
            }
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{RngExt as _, SeedableRng as _};
    use tokio::sync::oneshot;

    use super::*;

    type Publishing = BoxFuture<'static, Result<Confirm<u32>, &'static str>>;

    /// A client that hands out what came back as that of RabbitMQ does: with the next confirm that it reads.
    #[derive(Default)]
    struct Client {
        waiting: VecDeque<u32>,
        under_way: HashMap<u32, oneshot::Sender<Confirm<u32>>>,
    }

    impl Client {
        fn publish(&mut self, id: u32) -> Publishing {
            let (sender, receiver) = oneshot::channel();
            self.under_way.insert(id, sender);
            async move { receiver.await.map_err(|_| "ended") }.boxed()
        }

        fn comes_back(&mut self, id: u32) {
            self.waiting.push_back(id);
        }

        fn is_confirmed(&mut self, id: u32, is_stored: bool) {
            let came_back = self.waiting.pop_front();
            let confirm = Confirm {
                is_stored,
                came_back,
            };
            let _ = self.under_way.remove(&id).unwrap().send(confirm);
        }
    }

    type Known = Result<Outcome, Lost<&'static str>>;

    /// Messages that are waited for, and what became of them.
    #[derive(Default)]
    struct Waiting {
        confirms: Arc<Confirms<u32, Publishing, &'static str>>,
        tasks: Vec<(u32, BoxFuture<'static, Known>)>,
        known: HashMap<u32, Known>,
    }

    impl Waiting {
        fn publish(&mut self, client: &mut Client, id: u32) {
            let (confirms, publishing) = (Arc::clone(&self.confirms), client.publish(id));
            let mut task = async move { confirms.of(id, publishing).await }.boxed();
            assert!((&mut task).now_or_never().is_none());
            self.tasks.push((id, task));
        }

        /// Polls one of those that wait.
        fn poll(&mut self, index: usize) {
            let (id, task) = &mut self.tasks[index];
            if let Some(known) = task.now_or_never() {
                self.known.insert(*id, known);
                drop(self.tasks.swap_remove(index));
            }
        }

        fn poll_all(&mut self) {
            for index in (0..self.tasks.len()).rev() {
                self.poll(index);
            }
        }
    }

    #[test]
    fn who_came_back_is_told_so_though_another_was_handed_it() {
        let (mut client, mut waiting) = (Client::default(), Waiting::default());
        for id in [1, 2] {
            waiting.publish(&mut client, id);
        }
        client.comes_back(1);
        client.is_confirmed(2, true);
        waiting.poll_all();
        assert!(waiting.known.is_empty(), "1 may wait behind what 2 has");
        client.is_confirmed(1, true);
        waiting.poll_all();
        assert_eq!(waiting.known[&1], Ok(Outcome::CameBack));
        assert_eq!(waiting.known[&2], Ok(Outcome::Stored));
    }

    #[test]
    fn what_nobody_waits_for_tells_of_others() {
        let (mut client, mut waiting) = (Client::default(), Waiting::default());
        for id in [1, 2] {
            waiting.publish(&mut client, id);
        }
        drop(waiting.tasks.pop());
        client.comes_back(1);
        client.is_confirmed(2, true);
        client.is_confirmed(1, true);
        waiting.poll_all();
        assert_eq!(waiting.known[&1], Ok(Outcome::CameBack));
        assert!(waiting.confirms.0.lock().slots.is_empty());
    }

    #[test]
    fn the_same_is_not_sent_twice() {
        let (mut client, mut waiting) = (Client::default(), Waiting::default());
        waiting.publish(&mut client, 1);
        let never = || async { unreachable!("it is not sent") }.boxed();
        let beside = waiting.confirms.of(1, never());
        assert_eq!(beside.now_or_never(), Some(Err(Lost::Unheard)));
        waiting.tasks.clear();
        let mut again = Box::pin(waiting.confirms.of(1, never()));
        assert_eq!((&mut again).now_or_never(), None);
        client.is_confirmed(1, true);
        assert_eq!(again.now_or_never(), Some(Ok(Outcome::Stored)));
    }

    #[test]
    fn an_end_leaves_nobody_waiting_and_nothing_stored_that_may_have_come_back() {
        let (mut client, mut waiting) = (Client::default(), Waiting::default());
        for id in [1, 2, 3] {
            waiting.publish(&mut client, id);
        }
        client.is_confirmed(3, true);
        client.comes_back(1);
        client.comes_back(2);
        client.is_confirmed(2, true);
        client.under_way.clear();
        waiting.poll_all();
        assert_eq!(waiting.known[&1], Err(Lost::Ended("ended")));
        assert_eq!(waiting.known[&2], Err(Lost::Unheard));
        assert_eq!(waiting.known[&3], Ok(Outcome::Stored));
    }

    /// Whatever the order of confirms, and whoever looks when: nobody is told another's outcome.
    #[test]
    fn everyone_is_told_what_became_of_it() {
        for seed in 0..3_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut client, mut waiting) = (Client::default(), Waiting::default());
            let fates: HashMap<u32, Outcome> = (0..rng.random_range(1..12))
                .map(|id| match rng.random_range(0..4) {
                    0 => (id, Outcome::Refused),
                    1 => (id, Outcome::Stored),
                    _ => (id, Outcome::CameBack),
                })
                .collect();
            // Each comes back some time before its own confirm.
            let mut steps: Vec<(u32, bool)> = fates.keys().map(|id| (*id, true)).collect();
            steps.sort_unstable();
            steps.shuffle(&mut rng);
            for id in fates
                .keys()
                .filter(|id| fates[*id] == Outcome::CameBack)
                .collect::<std::collections::BTreeSet<_>>()
            {
                let confirmed = steps.iter().position(|step| *step == (*id, true)).unwrap();
                steps.insert(rng.random_range(0..=confirmed), (*id, false));
            }
            for id in 0..u32::try_from(fates.len()).unwrap() {
                waiting.publish(&mut client, id);
            }
            for (id, is_confirm) in steps {
                match is_confirm {
                    true => client.is_confirmed(id, fates[&id] != Outcome::Refused),
                    false => client.comes_back(id),
                }
                while !waiting.tasks.is_empty() && rng.random_bool(0.4) {
                    waiting.poll(rng.random_range(0..waiting.tasks.len()));
                }
            }
            waiting.poll_all();
            let told: HashMap<_, _> = waiting
                .known
                .iter()
                .map(|(id, known)| (*id, known.clone().unwrap()))
                .collect();
            assert_eq!(told, fates, "seed {seed}");
            assert!(waiting.confirms.0.lock().slots.is_empty());
        }
    }
}
