//! Following one secret.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Result, SecretGeneration, SecretGenerations, SecretReference, SecretWatch};

use super::entry::{Entry, Following, Reaction};
use super::{Inner, in_runtime};

const REPORT: &str = "report failed secret";

/// Follows one secret; with the last of its kind the reading ends.
pub(super) struct Watch {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    /// The value that was told last.
    last: Mutex<SecretGeneration>,
    _following: Arc<Following>,
}

impl Watch {
    /// Keeps a secret known, and has it read time and again, from before its first read.
    pub(super) fn begin(inner: &Arc<Inner>, entry: &Arc<Entry>) -> Arc<Following> {
        entry.follow(|| {
            let (inner, entry) = (Arc::downgrade(inner), Arc::downgrade(entry));
            tokio::spawn(read_on(inner, entry)).abort_handle()
        })
    }

    pub(super) fn follow(
        inner: &Arc<Inner>,
        entry: Arc<Entry>,
        current: SecretGeneration,
        following: Arc<Following>,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            entry,
            last: Mutex::new(current),
            _following: following,
        }
    }
}

/// Reads a secret time and again, until nobody follows it any more.
async fn read_on(inner: Weak<Inner>, entry: Weak<Entry>) {
    let mut shortest = SHORTEST_PAUSE;
    loop {
        let pause = match (inner.upgrade(), entry.upgrade()) {
            (Some(inner), Some(entry)) => entry.pause(inner.clock.monotonic()),
            _ => return,
        };
        tokio::time::sleep(shortest).await;
        let Some(outdated) = entry.upgrade() else {
            return;
        };
        let woken = outdated.outdated.notified();
        let _ = tokio::time::timeout(pause.saturating_sub(shortest), woken).await;
        drop(outdated);
        let (Some(inner), Some(entry)) = (inner.upgrade(), entry.upgrade()) else {
            return;
        };
        // Another may have read it meanwhile. What it fails with stands in the entry, and decides how
        // long it is left alone, though for no shorter than a moment.
        shortest = SHORTEST_PAUSE;
        if entry.pause(inner.clock.monotonic()).is_zero()
            && inner.read_since(&entry, 0).await.is_err()
        {
            shortest = PAUSE_AFTER_FAILURE;
        }
    }
}

/// However short a time values are kept.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

#[async_trait]
impl SecretWatch for Watch {
    fn reference(&self) -> &SecretReference {
        &self.entry.reference
    }

    fn generations(&self) -> SecretGenerations {
        let mut last = self.last.lock();
        match self.entry.generations(self.inner.clock.now()) {
            Some(known) => {
                *last = known.current.clone();
                known
            }
            None => SecretGenerations {
                current: last.clone(),
                previous: None,
            },
        }
    }

    async fn changed_from(&self, number: u64) -> SecretGenerations {
        let mut numbers = self.entry.numbers();
        loop {
            let known = self.generations();
            if known.current.number() != number {
                return known;
            }
            if in_runtime(REPORT).is_err() {
                if numbers.changed().await.is_err() {
                    return known;
                }
                continue;
            }
            // Who read it time and again may have done so in a runtime that has ended.
            drop(Self::begin(&self.inner, &self.entry));
            let a_while = self.inner.policy.time_to_live.max(SHORTEST_PAUSE);
            if let Ok(Err(_)) = tokio::time::timeout(a_while, numbers.changed()).await {
                return known;
            }
        }
    }

    async fn report_failure(&self, number: u64) -> Result<SecretGenerations> {
        in_runtime(REPORT)?;
        let now = self.inner.clock.monotonic();
        let interval = self.inner.policy.failure_interval;
        let reaction = self.entry.report(number, interval, now);
        if reaction != Reaction::Nothing {
            tracing::warn!(
                target: "tenantry::secrets",
                reference = %self.entry.reference,
                generation = number,
                "secret was refused where it was used"
            );
            let outcome = match reaction {
                Reaction::Join(demand) if self.entry.has_answered(demand) => Ok(()),
                Reaction::Join(demand) | Reaction::Read(demand) => {
                    self.inner.read_since(&self.entry, demand).await
                }
                Reaction::Nothing => Ok(()),
            };
            outcome.map_err(|failure| failure.error(REPORT, &self.entry.reference))?;
        }
        Ok(self.generations())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("reference", &self.entry.reference)
            .field("generation", &self.generations().current.number())
            .finish_non_exhaustive()
    }
}
