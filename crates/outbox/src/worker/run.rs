//! The messages of one key in a chunk, and what becomes of them.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tenantry_core::TenantId;
use tracing::Instrument as _;

use crate::log::{Failed, Parked, Row};
use crate::{Message, PublishError, PublishErrorKind, Publisher, Stopped};

use super::{FailurePolicy, WorkerSettings};
use crate::telemetry::{Metrics, ended, sending};

/// Messages of one tenant and key, in order.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) positions: Vec<i64>,
    pub(super) messages: Vec<Message>,
    /// How many of them need nothing more.
    pub(super) done: usize,
    pub(super) failed: Vec<Failed>,
    /// What stopped the last call, where no verdict is given yet.
    pub(super) stopped: Option<PublishError>,
    /// Whether others were answered in that call, and this one was not, or not all of it: it waits aside.
    pub(super) is_silent: bool,
    /// Whether that call was broken off without an answer.
    pub(super) is_late: bool,
    /// Whether any of them was taken in the last call.
    pub(super) is_moving: bool,
}

impl Run {
    const fn new() -> Self {
        Self {
            positions: Vec::new(),
            messages: Vec::new(),
            done: 0,
            failed: Vec::new(),
            stopped: None,
            is_silent: false,
            is_late: false,
            is_moving: false,
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.positions.push(row.position);
        self.messages.push(row.message);
    }

    pub(super) fn is_done(&self) -> bool {
        self.done == self.messages.len()
    }

    /// Puts all that is left into the side table, behind what stands there.
    pub(super) fn park(&mut self) {
        let positions = self.positions[self.done..].to_vec();
        self.done = self.messages.len();
        if !positions.is_empty() {
            self.failed.push(Failed {
                positions,
                first: None,
            });
        }
    }

    /// Judges the message that was not taken; true if those behind it go on.
    pub(super) fn judge(&mut self, policy: &FailurePolicy) -> bool {
        let Some(error) = self.stopped.take() else {
            return !self.is_done();
        };
        let verdict = match self.is_silent {
            true => policy.set_aside(&error, self.is_moving),
            false => policy.judge(self.messages[self.done].event_type(), 1, &error),
        };
        let is_passed_by = verdict.state == Parked::Dead;
        let end = match is_passed_by {
            true => self.done + 1,
            false => self.messages.len(),
        };
        self.failed.push(Failed {
            positions: self.positions[self.done..end].to_vec(),
            first: Some(verdict),
        });
        self.done = end;
        !self.is_done()
    }
}

/// Sorts rows into the keys they are of, in the order in which those come up.
pub(super) fn by_key(rows: Vec<Row>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut places: HashMap<(TenantId, String), usize> = HashMap::new();
    for row in rows {
        let message = &row.message;
        let key = (message.tenant(), message.key().to_owned());
        let place = *places.entry(key).or_insert_with(|| {
            runs.push(Run::new());
            runs.len() - 1
        });
        runs[place].push(row);
    }
    runs
}

/// How many messages of a key one call of the publisher has. What a call that is broken off has handed over is not known,
/// so that each has no more than a slow broker takes in good time.
#[derive(Debug)]
pub(super) struct Slice {
    length: AtomicUsize,
    most: usize,
}

impl Slice {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            length: AtomicUsize::new(most),
            most,
        }
    }

    fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Takes note of a call of so many that was not answered in good time.
    fn was_late(&self, length: usize) {
        // One message alone says nothing of how many are too many.
        if length > 1 {
            self.length.fetch_min(length / 2, Ordering::Relaxed);
        }
    }

    /// The same of one that was answered in a small part of it.
    fn was_quick(&self, length: usize) {
        let next = length.saturating_mul(2).min(self.most);
        self.length.fetch_max(next, Ordering::Relaxed);
    }
}

/// How runs are published.
pub(super) struct Calls<'c> {
    pub(super) publisher: &'c dyn Publisher,
    pub(super) metrics: &'c Metrics,
    pub(super) settings: &'c WorkerSettings,
    pub(super) slice: &'c Slice,
    /// How long is waited for an answer where others are taken.
    pub(super) patience: Duration,
    /// Whether any run was answered: then those that are not are waited for less long, for the others wait.
    pub(super) others_are_taken: AtomicBool,
}

impl Calls<'_> {
    /// Publishes what is left of runs, as many at a time as the settings say.
    pub(super) async fn publish(&self, runs: &mut [Run]) {
        let left = runs.iter_mut().filter(|run| !run.is_done());
        stream::iter(left)
            .for_each_concurrent(self.settings.keys_in_flight, |run| self.publish_run(run))
            .await;
    }

    async fn publish_run(&self, run: &mut Run) {
        let begun = Instant::now();
        run.is_moving = false;
        run.is_late = false;
        while !run.is_done() {
            if run.is_moving
                && begun.elapsed() >= self.patience
                && self.others_are_taken.load(Ordering::Relaxed)
            {
                // The others do not wait until all of a long backlog is taken.
                run.is_silent = true;
                run.stopped = Some(late(begun.elapsed()));
                return;
            }
            let left = run.messages.len() - run.done;
            let length = left.min(self.slice.length());
            let answer = self.call(&run.messages[run.done..run.done + length]).await;
            run.is_silent = answer.is_silent;
            run.is_late = answer.is_late;
            match answer.outcome {
                Ok(()) => {
                    self.others_are_taken.store(true, Ordering::Relaxed);
                    run.done += length;
                    run.is_moving = true;
                }
                Err(stopped) => {
                    // Not all of it, or it would not have stopped.
                    let taken = stopped.acknowledged.min(length.saturating_sub(1));
                    run.done += taken;
                    run.is_moving |= taken > 0;
                    run.stopped = Some(stopped.error);
                    return;
                }
            }
        }
    }

    async fn call(&self, messages: &[Message]) -> Answer {
        let span = sending(self.publisher.system(), messages);
        let begun = Instant::now();
        // One that panics at a message has refused it.
        let calling = AssertUnwindSafe(async { self.publisher.publish(messages).await })
            .catch_unwind()
            .map(|outcome| {
                outcome.unwrap_or_else(|_| {
                    let error =
                        PublishError::new(PublishErrorKind::Refused, "the publisher panicked");
                    Err(Stopped::new(0, error))
                })
            })
            .instrument(span.clone());
        let answer = self.answer(calling).await;
        if answer.is_late {
            self.slice.was_late(messages.len());
        } else if answer.outcome.is_ok() && begun.elapsed() < self.patience / 8 {
            self.slice.was_quick(messages.len());
        }
        let stopped = answer.outcome.as_ref().err();
        let failure = stopped.map(|stopped| stopped.error.kind().as_str());
        ended(&span, "ok", failure);
        let sent = stopped.map_or(messages.len(), |stopped| stopped.acknowledged);
        self.metrics
            .sent(begun.elapsed(), sent.min(messages.len()), failure);
        answer
    }

    /// Waits for an answer, and no longer than is patient where others are taken.
    async fn answer(&self, calling: impl Future<Output = Result<(), Stopped>>) -> Answer {
        let begun = Instant::now();
        let mut calling = std::pin::pin!(calling);
        loop {
            let left = self
                .settings
                .publish_timeout
                .saturating_sub(begun.elapsed());
            let outcome = tokio::time::timeout(left.min(self.patience), &mut calling).await;
            if let Ok(outcome) = outcome {
                return Answer {
                    outcome,
                    is_silent: false,
                    is_late: false,
                };
            }
            let waited = begun.elapsed();
            let is_silent = self.others_are_taken.load(Ordering::Relaxed);
            if is_silent || waited >= self.settings.publish_timeout {
                return Answer {
                    outcome: Err(Stopped::new(0, late(waited))),
                    is_silent,
                    is_late: true,
                };
            }
        }
    }
}

/// What came of a call of the publisher.
struct Answer {
    outcome: Result<(), Stopped>,
    /// Whether others were answered, and this one was not.
    is_silent: bool,
    /// Whether it was broken off.
    is_late: bool,
}

fn late(waited: Duration) -> PublishError {
    let detail = format!("no answer within {} ms", waited.as_millis());
    PublishError::new(PublishErrorKind::Unavailable, detail)
}
