//! Work on pieces in the order in which they come, beside whoever sends them.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// How many bytes may wait or be worked on, where they are more than one piece.
const ROOM: usize = 4 * 1024 * 1024;

/// What works on pieces.
pub(crate) trait Work: Send + 'static {
    /// What comes.
    type Piece: Send + 'static;

    /// Works on the next piece; after a failure none comes.
    fn work(&mut self, piece: Self::Piece) -> Result<()>;
}

/// Has a thread of the runtime as long as there are pieces: whoever sends them waits for none of them, and no
/// thread waits for whoever sends.
///
/// Dropped, what waits is not worked on.
pub(crate) struct Lane<W: Work> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: Work> {
    state: Mutex<State<W>>,
    /// Something has left the lane.
    moved: Notify,
}

struct State<W: Work> {
    seat: Seat<W>,
    waiting: VecDeque<(W::Piece, usize)>,
    /// How long those are together that wait or are worked on.
    length: usize,
}

/// Where it is that works.
enum Seat<W> {
    Here(W),
    InThread,
    /// It was given back, or has failed, with what nobody was told yet.
    Gone(Option<Error>),
}

impl<W: Work> Lane<W> {
    pub(crate) fn new(work: W) -> Self {
        let state = State {
            seat: Seat::Here(work),
            waiting: VecDeque::new(),
            length: 0,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                moved: Notify::new(),
            }),
        }
    }

    /// Sends a piece of this length as soon as there is room.
    ///
    /// # Errors
    ///
    /// What a piece before it has failed with, which is told once.
    pub(crate) async fn send(&mut self, piece: W::Piece, length: usize) -> Result<()> {
        let before = loop {
            {
                let state = &mut *self.shared.state.lock();
                if let Seat::Gone(failure) = &mut state.seat {
                    return Err(failure.take().unwrap_or_else(again));
                }
                if state.length == 0 || state.length.saturating_add(length) <= ROOM {
                    state.length += length;
                    state.waiting.push_back((piece, length));
                    break mem::replace(&mut state.seat, Seat::InThread);
                }
            }
            self.shared.moved.notified().await;
        };
        if let Seat::Here(work) = before {
            let turn = Turn {
                shared: Arc::clone(&self.shared),
                has_ended: false,
            };
            // A runtime that shuts down drops it on the spot, and then it locks the state.
            spawn_blocking(move || turn.take(work));
        }
        Ok(())
    }

    /// Waits until all that was sent is done, and gives back what has done it.
    ///
    /// # Errors
    ///
    /// What a piece has failed with, which is told once.
    pub(crate) async fn finish(&mut self) -> Result<W> {
        loop {
            {
                let state = &mut *self.shared.state.lock();
                match mem::replace(&mut state.seat, Seat::Gone(None)) {
                    Seat::Here(work) => return Ok(work),
                    Seat::InThread => state.seat = Seat::InThread,
                    Seat::Gone(failure) => return Err(failure.unwrap_or_else(again)),
                }
            }
            self.shared.moved.notified().await;
        }
    }

    /// Returns what works, if nothing is under way.
    pub(crate) fn here<T>(&mut self, with: impl FnOnce(&mut W) -> T) -> Option<T> {
        match &mut self.shared.state.lock().seat {
            Seat::Here(work) => Some(with(work)),
            Seat::InThread | Seat::Gone(_) => None,
        }
    }
}

impl<W: Work> fmt::Debug for Lane<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl<W: Work> Drop for Lane<W> {
    fn drop(&mut self) {
        self.shared.state.lock().waiting.clear();
    }
}

/// The time that a thread is there. Where it never runs, for the runtime shuts down, or panics, whoever
/// waits is told.
struct Turn<W: Work> {
    shared: Arc<Shared<W>>,
    has_ended: bool,
}

impl<W: Work> Turn<W> {
    fn take(mut self, mut work: W) {
        loop {
            let (piece, length) = {
                let mut state = self.shared.state.lock();
                let Some(next) = state.waiting.pop_front() else {
                    state.seat = Seat::Here(work);
                    break;
                };
                next
            };
            if let Err(error) = work.work(piece) {
                // Whoever is told may rely on it that it is gone, with the file that it had open.
                drop(work);
                let mut state = self.shared.state.lock();
                state.seat = Seat::Gone(Some(error));
                state.waiting.clear();
                break;
            }
            let mut state = self.shared.state.lock();
            state.length = state.length.saturating_sub(length);
            drop(state);
            self.shared.moved.notify_one();
        }
        self.has_ended = true;
        self.shared.moved.notify_one();
    }
}

impl<W: Work> Drop for Turn<W> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let ended = Error::new(ErrorKind::Unavailable, "work on blob")
            .with_detail("the runtime shuts down");
        self.shared.state.lock().seat = Seat::Gone(Some(ended));
        self.shared.moved.notify_one();
    }
}

fn again() -> Error {
    Error::new(ErrorKind::WorkAborted, "work on blob")
        .with_detail("it has failed before: begin anew")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes pieces down, each when it may.
    struct Slow {
        may: Receiver<()>,
        done: Vec<u32>,
    }

    impl Work for Slow {
        type Piece = u32;

        fn work(&mut self, piece: u32) -> Result<()> {
            self.may.recv().unwrap();
            if piece == 99 {
                return Err(Error::new(ErrorKind::StorageFull, "work"));
            }
            self.done.push(piece);
            Ok(())
        }
    }

    fn slow() -> (Sender<()>, Lane<Slow>) {
        let (let_go, may) = channel();
        let done = Vec::new();
        (let_go, Lane::new(Slow { may, done }))
    }

    #[tokio::test]
    async fn pieces_are_worked_on_in_order_and_wait_for_room() {
        let (let_go, mut lane) = slow();
        lane.send(0, ROOM / 2).await.unwrap();
        lane.send(1, ROOM / 2).await.unwrap();
        {
            let mut third = std::pin::pin!(lane.send(2, 1));
            assert!(futures_util::poll!(&mut third).is_pending(), "no room");
            let_go.send(()).unwrap();
            third.await.unwrap();
        }
        for _ in 0..2 {
            let_go.send(()).unwrap();
        }
        assert_eq!(lane.finish().await.unwrap().done, [0, 1, 2]);
        assert_eq!(
            lane.send(3, 1).await.unwrap_err().kind(),
            ErrorKind::WorkAborted
        );
    }

    #[tokio::test]
    async fn a_piece_that_is_longer_than_the_room_goes_alone() {
        let (let_go, mut lane) = slow();
        lane.send(0, 10 * ROOM).await.unwrap();
        {
            let mut second = std::pin::pin!(lane.send(1, 1));
            assert!(futures_util::poll!(&mut second).is_pending());
            let_go.send(()).unwrap();
            second.await.unwrap();
        }
        let_go.send(()).unwrap();
        assert_eq!(lane.finish().await.unwrap().done, [0, 1]);
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_nothing_comes_behind_it() {
        let (let_go, mut lane) = slow();
        for piece in [0, 99, 1] {
            lane.send(piece, 1).await.unwrap();
        }
        for _ in 0..2 {
            let_go.send(()).unwrap();
        }
        assert_eq!(
            lane.finish().await.err().unwrap().kind(),
            ErrorKind::StorageFull
        );
        assert_eq!(
            lane.finish().await.err().unwrap().kind(),
            ErrorKind::WorkAborted
        );
        let_go.send(()).unwrap_err();
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_a_panic() {
        let (let_go, mut lane) = slow();
        lane.send(0, 1).await.unwrap();
        drop(let_go);
        let error = lane.finish().await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn whoever_sends_is_told_when_the_runtime_has_shut_down() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _inside = handle.enter();
        let (_let_go, mut lane) = slow();
        let told = async {
            lane.send(0, 1).await.unwrap();
            lane.finish().await.err().unwrap()
        };
        let told = futures_util::FutureExt::now_or_never(told).unwrap();
        assert_eq!(told.kind(), ErrorKind::Unavailable);
    }
}
