//! One look at a key: the store, each level, and the store again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tokio::sync::{Semaphore, watch};

use super::report::Counts;
use super::suspects::{MARKS, Suspect, Suspects};
use super::{CacheLevel, CheckPolicy, Consistency, Verdict};
use crate::cache::{Kept, Peek};
use crate::{Cache, CacheKind, Lookup};

const CHECK: &str = "check cached value";

/// What all handles of a checker share.
pub(super) struct Checks {
    pub(super) cache: Cache,
    pub(super) policy: CheckPolicy,
    pub(super) counts: Mutex<Counts>,
    pub(super) suspects: Mutex<Suspects>,
    /// When the next sample may be taken, by the clock of the cache; in nanoseconds.
    pub(super) next_at: AtomicU64,
    pub(super) running: Arc<Semaphore>,
    pub(super) followed: Arc<Semaphore>,
    /// Dropped with the last handle; whoever waits for the next look hears of it.
    pub(super) over: watch::Sender<()>,
}

impl Checks {
    /// Looks at a key once.
    pub(super) async fn look<T, F>(
        &self,
        tenant: TenantId,
        kind: &CacheKind<T>,
        lookup: Lookup<'_>,
        load: &(impl Fn() -> F + Sync),
        is_same: fn(&T, &T) -> bool,
    ) -> Result<Verdict>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Option<T>>> + Send,
    {
        let stored = in_time(kind, load()).await?;
        let Peek { near, shared } = self.cache.peek(tenant, kind, lookup).await;
        let peeked_at = self.cache.monotonic();
        let found = |kept: Kept<T>| Found {
            entry: kept.entry,
            differs: !are_alike(kept.value.as_deref(), stored.as_ref(), is_same),
        };
        let (near, shared) = (near.map(found), shared.map(|kept| kept.map(found)));
        let all = [
            (CacheLevel::Process, Ok(near)),
            (CacheLevel::Shared, shared),
        ];
        let mut has_held = true;
        if all
            .iter()
            .any(|(_, found)| matches!(found, Ok(Some(it)) if it.differs))
        {
            let again = in_time(kind, load()).await?;
            has_held = are_alike(stored.as_ref(), again.as_ref(), is_same);
        }
        let found_at = self.cache.monotonic();
        let mut verdict = Verdict::NotKept;
        for (level, found) in all {
            let suspect = Suspect {
                tenant,
                kind: kind.shared_name(),
                key: lookup.key().into(),
                level,
            };
            let of_level = match found {
                Ok(None) => {
                    self.suspects.lock().clear(&suspect);
                    Verdict::NotKept
                }
                Ok(Some(found)) if has_held || !found.differs => {
                    self.judge(&suspect, &found, peeked_at, found_at)
                }
                _ => {
                    self.count(&suspect, |it| it.undecided += 1);
                    Verdict::Undecided
                }
            };
            verdict = verdict.or(of_level);
        }
        Ok(verdict)
    }

    /// Takes note of what lies in a level, where the store has held still.
    fn judge(
        &self,
        suspect: &Suspect,
        found: &Found,
        peeked_at: Duration,
        found_at: Duration,
    ) -> Verdict {
        if !found.differs {
            self.suspects.lock().clear(suspect);
            self.count(suspect, |it| it.looks += 1);
            return Verdict::Same;
        }
        let aged = {
            let mut suspects = self.suspects.lock();
            suspects.differs(suspect.clone(), found.entry, peeked_at, found_at)
        };
        for mark in &MARKS[aged.passed.clone()] {
            tracing::warn!(
                target: "tenantry::cache",
                tenant = %suspect.tenant,
                kind = &*suspect.kind,
                level = suspect.level.as_str(),
                older_than = mark.as_secs(),
                "a value is kept that is not what the store has: was the cache told of the change?"
            );
        }
        self.count(suspect, |it| {
            it.looks += 1;
            it.differed += u64::from(aged.is_new);
            it.longest = it.longest.max(aged.age);
            it.pass(aged.passed);
        });
        Verdict::Stale { age: aged.age }
    }

    fn count(&self, suspect: &Suspect, count: impl FnOnce(&mut Consistency)) {
        let label = self.policy.label.of(suspect.tenant);
        let mut counts = self.counts.lock();
        count(counts.of(&suspect.kind, suspect.level, label));
    }
}

/// What lies in a level, beside what the store has.
struct Found {
    entry: u64,
    differs: bool,
}

impl Verdict {
    /// Returns the graver of two, of two levels.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Stale { age: one }, Self::Stale { age: other }) => Self::Stale {
                age: one.max(other),
            },
            (it @ Self::Stale { .. }, _) | (_, it @ Self::Stale { .. }) => it,
            (it @ Self::Undecided, _) | (_, it @ Self::Undecided) => it,
            (it @ Self::Same, _) | (_, it @ Self::Same) => it,
            (Self::NotKept, Self::NotKept) => Self::NotKept,
        }
    }
}

/// Says whether two values are the same to their type, or to whoever reads them encoded: what has no
/// order may be encoded in any, and a number that is none does not equal itself.
fn are_alike<T: Serialize>(
    one: Option<&T>,
    other: Option<&T>,
    is_same: fn(&T, &T) -> bool,
) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let encoded = |value: &T| postcard::to_allocvec(value).ok();
            is_same(one, other) || encoded(one).is_some_and(|one| Some(one) == encoded(other))
        }
        _ => false,
    }
}

async fn in_time<T: 'static>(
    kind: &CacheKind<T>,
    load: impl Future<Output = Result<Option<T>>> + Send,
) -> Result<Option<T>> {
    let timeout = kind.load_timeout();
    let loaded = tokio::time::timeout(timeout, load).await;
    loaded.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, CHECK)
            .with_subject(kind.name().to_owned())
            .with_detail(format!("the store does not answer within {timeout:?}")))
    })
}
