//! Looks in the background at what was sampled, until it is as it should be.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_core::{Result, TenantId};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Verdict;
use super::look::Checks;
use super::suspects::MARKS;
use crate::{CacheKind, Lookup};

/// How long to wait before it is looked again where nothing could be told.
const AGAIN: Duration = Duration::from_secs(1);
/// By how much a look comes after the age that it is to see.
const SLACK: Duration = Duration::from_millis(20);

/// A key, and how to look at it.
pub(super) struct Followed<T, L> {
    tenant: TenantId,
    kind: CacheKind<T>,
    key: Box<str>,
    tags: Box<[Box<str>]>,
    load: L,
    is_same: fn(&T, &T) -> bool,
}

impl<T, L, F> Followed<T, L>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    L: Fn() -> F + Send + Sync,
    F: Future<Output = Result<Option<T>>> + Send,
{
    pub(super) fn new(
        tenant: TenantId,
        kind: &CacheKind<T>,
        lookup: Lookup<'_>,
        load: L,
        is_same: fn(&T, &T) -> bool,
    ) -> Self {
        Self {
            tenant,
            kind: kind.clone(),
            key: lookup.key().into(),
            tags: lookup.tags().iter().map(|tag| Box::from(*tag)).collect(),
            load,
            is_same,
        }
    }

    /// Looks once, and again at each age that is counted, for as long as it differs.
    pub(super) async fn until_it_has_gone(
        self,
        checks: Weak<Checks>,
        mut over: watch::Receiver<()>,
        running: OwnedSemaphorePermit,
    ) {
        let tags: Vec<&str> = self.tags.iter().map(|tag| &**tag).collect();
        let lookup = Lookup::new(&self.key).with_tags(&tags);
        // Others are looked at for the first time meanwhile.
        let (mut running, mut followed) = (Some(running), None);
        loop {
            let Some(checks) = checks.upgrade() else {
                return;
            };
            let verdict = checks
                .look(self.tenant, &self.kind, lookup, &self.load, self.is_same)
                .await;
            if followed.is_none() {
                let Ok(Verdict::Stale { .. }) = verdict else {
                    return;
                };
                let Ok(place) = Arc::clone(&checks.followed).try_acquire_owned() else {
                    return;
                };
                followed = Some(place);
                running = None;
            }
            drop((checks, running.take()));
            let pause = match verdict {
                Ok(Verdict::Stale { age }) => until_next(age),
                Ok(Verdict::Undecided) | Err(_) => AGAIN,
                Ok(Verdict::Same | Verdict::NotKept) => return,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Nobody sends anything: the checker is gone.
                _ = over.changed() => return,
            }
        }
    }
}

/// Returns how long it is until the next age that is counted; after the last it is looked now and then.
fn until_next(age: Duration) -> Duration {
    let next = MARKS.iter().find(|mark| **mark > age);
    next.map_or(MARKS[MARKS.len() - 1], |mark| *mark - age) + SLACK
}
