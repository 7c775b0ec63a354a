//! Loads of several keys at once: who has to load one of them joins the others in one call.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::{Failure, LOAD, Load, panicked};

/// The keys of one call, until it is known which of them have to be loaded.
///
/// Each is decided on by its own load: its value was there, or it has to be loaded, or another
/// process is loading it, for which the others do not wait.
pub(super) struct Batch<T, L> {
    load: Arc<L>,
    state: Mutex<State<T>>,
}

struct State<T> {
    undecided: usize,
    asked: Vec<Asked<T>>,
}

/// Who has to load the key at a place.
struct Asked<T> {
    place: usize,
    answer: oneshot::Sender<Result<Option<T>, Failure>>,
}

/// One of the keys.
pub(super) struct Part<T, L, F>
where
    T: Send + Sync + 'static,
    L: Fn(Vec<usize>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Option<T>>>> + Send + 'static,
{
    batch: Arc<Batch<T, L>>,
    place: usize,
    is_decided: Arc<AtomicBool>,
}

impl<T, L, F> Batch<T, L>
where
    T: Send + Sync + 'static,
    L: Fn(Vec<usize>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Option<T>>>> + Send + 'static,
{
    pub(super) fn new(load: Arc<L>) -> Arc<Self> {
        Arc::new(Self {
            load,
            state: Mutex::new(State {
                undecided: 0,
                asked: Vec::new(),
            }),
        })
    }

    /// Adds a key, which nobody else has added.
    pub(super) fn part(self: &Arc<Self>, place: usize) -> Part<T, L, F> {
        self.state.lock().undecided += 1;
        Part {
            batch: Arc::clone(self),
            place,
            is_decided: Arc::default(),
        }
    }

    /// Takes note that one does not load with the others, unless it is decided on already.
    fn leave(self: &Arc<Self>, is_decided: &AtomicBool) {
        if !is_decided.swap(true, Ordering::AcqRel) {
            self.decide(None);
        }
    }

    /// Takes note that one more is decided; the last has those loaded who asked for it.
    fn decide(self: &Arc<Self>, asks: Option<Asked<T>>) {
        let asked = {
            let mut state = self.state.lock();
            state.asked.extend(asks);
            state.undecided -= 1;
            match state.undecided {
                0 => mem::take(&mut state.asked),
                _ => return,
            }
        };
        if asked.is_empty() {
            return;
        }
        // Outside a runtime nobody waits for it any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let batch = Arc::clone(self);
            runtime.spawn(async move { batch.answer(asked).await });
        }
    }

    async fn answer(&self, asked: Vec<Asked<T>>) {
        let places = asked.iter().map(|asked| asked.place).collect();
        match (self.load)(places).await {
            Ok(values) if values.len() == asked.len() => {
                for (asked, value) in asked.into_iter().zip(values) {
                    // Who has gone does not hear it.
                    let _ = asked.answer.send(Ok(value));
                }
            }
            outcome => {
                let failure = Failure::new(outcome.err().unwrap_or_else(other_count));
                for asked in asked {
                    let _ = asked.answer.send(Err(failure.clone()));
                }
            }
        }
    }
}

fn other_count() -> Error {
    Error::new(ErrorKind::Unexpected, LOAD)
        .with_detail("the loader of several gave another number of values than it was asked for")
}

impl<T, L, F> Load<T> for Part<T, L, F>
where
    T: Send + Sync + 'static,
    L: Fn(Vec<usize>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Option<T>>>> + Send + 'static,
{
    fn waits(&self) -> Box<dyn Fn() + Send + Sync> {
        let (batch, is_decided) = (Arc::clone(&self.batch), Arc::clone(&self.is_decided));
        Box::new(move || batch.leave(&is_decided))
    }

    async fn load(self) -> Result<Option<T>> {
        if self.is_decided.swap(true, Ordering::AcqRel) {
            // The others have gone on without it.
            let mut values = (self.batch.load)(vec![self.place]).await?;
            return match values.len() {
                1 => Ok(values.pop().flatten()),
                _ => Err(other_count()),
            };
        }
        let (answer, answered) = oneshot::channel();
        self.batch.decide(Some(Asked {
            place: self.place,
            answer,
        }));
        match answered.await {
            Ok(outcome) => outcome.map_err(Failure::error),
            Err(_) => Err(panicked()),
        }
    }
}

impl<T, L, F> Drop for Part<T, L, F>
where
    T: Send + Sync + 'static,
    L: Fn(Vec<usize>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Option<T>>>> + Send + 'static,
{
    fn drop(&mut self) {
        self.batch.leave(&self.is_decided);
    }
}
