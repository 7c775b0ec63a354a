//! Makes up for invalidations that were recorded and not done.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
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
        let task = runtime.spawn(looking.go_on()).abort_handle();
        Ok(Self {
            task,
            acknowledged: Arc::clone(&cached.acknowledged),
        })
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

impl Looking {
    async fn go_on(mut self) {
        let mut is_down = false;
        loop {
            let outcome = self.look().await;
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

    /// Removes the records of what is done, and makes up for what has not been done since the last look.
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

    async fn remove(&self, tenant: TenantId, ids: Vec<Uuid>) -> Result<()> {
        let records = self.store.tenant(tenant).repository::<InvalidationRecord>();
        for ids in ids.chunks(1_000) {
            let done = InvalidationRecord::ID.one_of(ids.iter().copied());
            records.delete_where(done, 1_000).await?;
        }
        Ok(())
    }
}
