//! Makes up for invalidations that were recorded and not done.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};
use tenantry_store::{
    ChangedRow, Filter, PlatformScope, PlatformStore, Repository as _, TenantStore,
};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::record::InvalidationRecord;
use super::{CachedStore, MOST_ROWS};
use crate::Cache;
use crate::shared::Invalidation;

/// How often it is looked for records, and those that are done are removed. One that is there when it
/// is looked for the second time is made up for: within two of these and what that takes.
const PERIOD: Duration = Duration::from_millis(750);

/// How many records one look takes.
const MOST_RECORDS: usize = 10_000;

/// How many records are remembered as done at a time; beyond, they are removed by who makes up for them.
const MOST_ACKNOWLEDGED: usize = 100_000;

/// The records whose invalidations are done, by tenant; noted while somebody removes them.
#[derive(Debug, Default)]
pub(super) struct Acknowledged(Mutex<Option<Done>>);

#[derive(Debug, Default)]
struct Done {
    by_tenant: HashMap<TenantId, Vec<Uuid>>,
    count: usize,
}

impl Acknowledged {
    pub(super) fn add<'r>(&self, tenant: TenantId, records: impl Iterator<Item = &'r ChangedRow>) {
        if let Some(done) = &mut *self.0.lock() {
            for id in records.filter_map(|row| row.id.parse().ok()) {
                if done.count < MOST_ACKNOWLEDGED {
                    done.by_tenant.entry(tenant).or_default().push(id);
                    done.count += 1;
                }
            }
        }
    }

    /// Returns those that were noted since the last time, and notes what is done from here on.
    fn take(&self) -> HashMap<TenantId, Vec<Uuid>> {
        let done = self.0.lock().replace(Done::default());
        done.unwrap_or_default().by_tenant
    }

    fn forget(&self) {
        *self.0.lock() = None;
    }
}

/// Makes up for invalidations until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, it ends"]
pub struct Replay {
    task: AbortHandle,
    acknowledged: Arc<Acknowledged>,
    panics: Arc<AtomicU64>,
}

impl Replay {
    pub(super) fn start(cached: &CachedStore, platform: &PlatformStore) -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Unsupported, "replay invalidations")
                .with_detail("start it inside a runtime of Tokio, in which it goes on")
        })?;
        let looking = Looking {
            store: cached.store.clone(),
            cache: cached.cache.clone(),
            acknowledged: Arc::clone(&cached.acknowledged),
            scope: platform
                .scope("replay of cache invalidations", RequestContext::system())?
                .for_background(),
            seen: HashSet::new(),
        };
        let panics = Arc::new(AtomicU64::new(0));
        let task = runtime.spawn(go_on(looking, Arc::clone(&panics)));
        Ok(Self {
            task: task.abort_handle(),
            acknowledged: Arc::clone(&cached.acknowledged),
            panics,
        })
    }

    /// Returns whether it still looks for records: it ends with the runtime in which it was started.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Returns how often a look has panicked: a defect, of which an event at `ERROR` tells as well. The
    /// next look begins anew, and misses nothing.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
        self.acknowledged.forget();
    }
}

struct Looking {
    store: TenantStore,
    cache: Cache,
    acknowledged: Arc<Acknowledged>,
    scope: PlatformScope,
    /// What was there at the last look.
    seen: HashSet<(TenantId, Uuid)>,
}

/// Who looks for records.
trait Look: Send {
    /// Removes the records of what is done, and makes up for what has not been done since the last look.
    fn look(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Looks again and again, whatever comes of it.
async fn go_on(mut looking: impl Look, panics: Arc<AtomicU64>) {
    let mut is_down = false;
    loop {
        let outcome = AssertUnwindSafe(looking.look()).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            let panics = panics.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(
                target: "tenantry::cache",
                panics,
                "a look for recorded invalidations has panicked, and is begun anew"
            );
            Ok(())
        });
        if let Err(error) = &outcome
            && !is_down
        {
            tracing::warn!(
                target: "tenantry::cache",
                %error,
                "recorded invalidations cannot be looked for, and are as soon as they can"
            );
        }
        is_down = outcome.is_err();
        tokio::time::sleep(PERIOD).await;
    }
}

impl Look for Looking {
    async fn look(&mut self) -> Result<()> {
        for (tenant, ids) in self.acknowledged.take() {
            self.remove(tenant, ids).await?;
        }
        let mut records = self.scope.stream(Filter::<InvalidationRecord>::all());
        let (mut seen, mut due) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
        while seen.len() < MOST_RECORDS
            && let Some((tenant, record)) = records.try_next().await?
        {
            seen.insert((tenant, record.id));
            if self.seen.contains(&(tenant, record.id)) {
                due.entry(tenant).or_default().push(record);
            }
        }
        drop(records);
        self.seen = seen;
        for (tenant, records) in due {
            let ids: Vec<_> = records.iter().map(|record| record.id).collect();
            let over = records.into_iter().flat_map(InvalidationRecord::into_over);
            let over: HashSet<Invalidation> = over.collect();
            let mut over: Vec<_> = over.into_iter().collect();
            // Their process may have done so, and has not said it here.
            tracing::debug!(
                target: "tenantry::cache",
                %tenant,
                transactions = ids.len(),
                "recorded invalidations are done once more"
            );
            if over.len() > MOST_ROWS {
                over = vec![Invalidation::Tenant];
            }
            self.cache.tenant(tenant).end_all(over).await?;
            self.remove(tenant, ids).await?;
        }
        Ok(())
    }
}

impl Looking {
    async fn remove(&self, tenant: TenantId, ids: Vec<Uuid>) -> Result<()> {
        let records = self.store.tenant(tenant).repository::<InvalidationRecord>();
        for ids in ids.chunks(1_000) {
            let done = InvalidationRecord::ID.one_of(ids.iter().copied());
            records.delete_where(done, 1_000).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics every other time.
    struct Defect(Arc<AtomicU64>);

    impl Look for Defect {
        async fn look(&mut self) -> Result<()> {
            let looks = self.0.fetch_add(1, Ordering::Relaxed);
            assert!(looks % 2 == 1, "as the test wants");
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_panics_is_counted_and_the_next_begins_anew() {
        let (looks, panics) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let going = go_on(Defect(Arc::clone(&looks)), Arc::clone(&panics));
        let going = tokio::time::timeout(4 * PERIOD - PERIOD / 2, going).await;
        going.unwrap_err();
        let counted = [looks, panics].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted, [4, 2]);
    }
}
