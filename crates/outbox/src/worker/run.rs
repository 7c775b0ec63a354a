//! The messages of one key in a chunk, and what becomes of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use tenantry_core::TenantId;
use tracing::Instrument as _;

use crate::log::{Failed, Parked, Row};
use crate::{Message, PublishError, PublishErrorKind, Publisher, Stopped};

use super::{FailurePolicy, WorkerSettings};
use crate::telemetry::{Metrics, sending};

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
    /// Whether others were answered in that call, and this one was not.
    pub(super) is_silent: bool,
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
            true => policy.set_aside(&error),
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

/// Publishes what is left of runs, as many at a time as the settings say; what is not answered is waited for less long where
/// others are taken, or `is_aside`, for then others wait.
pub(super) async fn publish(
    publisher: &dyn Publisher,
    metrics: &Metrics,
    runs: &mut [Run],
    settings: &WorkerSettings,
    is_aside: bool,
) {
    let left = runs.iter_mut().filter(|run| !run.is_done());
    let others_are_taken = &AtomicBool::new(is_aside);
    stream::iter(left)
        .for_each_concurrent(settings.keys_in_flight, |run| async move {
            let messages = &run.messages[run.done..];
            let span = sending(publisher.system(), messages);
            let begun = Instant::now();
            let calling = publisher.publish(messages).instrument(span.clone());
            let (outcome, is_silent) = answer(calling, settings, others_are_taken).await;
            run.is_silent = is_silent;
            if outcome.is_ok() {
                others_are_taken.store(true, Ordering::Relaxed);
            }
            let failure = outcome
                .as_ref()
                .err()
                .map(|stopped| stopped.error.kind().as_str());
            span.record("tenantry.outcome", failure.unwrap_or("ok"));
            let sent = outcome
                .as_ref()
                .err()
                .map_or(messages.len(), |stopped| stopped.acknowledged);
            metrics.sent(begun.elapsed(), sent.min(messages.len()), failure);
            match outcome {
                Ok(()) => run.done = run.messages.len(),
                Err(stopped) => {
                    // Not all of it, or it would not have stopped.
                    let left = run.messages.len() - run.done;
                    run.done += stopped.acknowledged.min(left.saturating_sub(1));
                    run.stopped = Some(stopped.error);
                }
            }
        })
        .await;
}

/// Waits for an answer, and no longer than is patient where others are taken; tells whether that is why there is none.
async fn answer(
    calling: impl Future<Output = Result<(), Stopped>>,
    settings: &WorkerSettings,
    others_are_taken: &AtomicBool,
) -> (Result<(), Stopped>, bool) {
    let begun = Instant::now();
    let mut calling = std::pin::pin!(calling);
    loop {
        let left = settings.publish_timeout.saturating_sub(begun.elapsed());
        let outcome = tokio::time::timeout(left.min(settings.patience), &mut calling).await;
        if let Ok(outcome) = outcome {
            return (outcome, false);
        }
        let waited = begun.elapsed();
        let is_silent = others_are_taken.load(Ordering::Relaxed);
        if is_silent || waited >= settings.publish_timeout {
            let detail = format!("no answer within {} ms", waited.as_millis());
            let error = PublishError::new(PublishErrorKind::Unavailable, detail);
            return (Err(Stopped::new(0, error)), is_silent);
        }
    }
}
