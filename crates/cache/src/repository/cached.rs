//! A repository with a cache in front.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tenantry_store::{Aggregate, Changes, Filter, Page, Query, Repository, Value, Version};

use super::row::{KeptPage, KeptRow};
use super::{CachedAggregate, Checked, end, end_again};
use crate::shared::Invalidation;
use crate::{Lookup, TenantCache, hexadecimal};

/// A repository with a cache in front: [`find`](Repository::find), [`get_many`](Repository::get_many)
/// and, where [asked for](CachedAggregate::with_lists), [`list`](Repository::list) are answered from
/// what is kept.
///
/// Made by [`CachedAggregate::repository`] and [`CachedAggregate::wrap`]. Everything else goes to the
/// repository behind: `exists`, `count` and `stream` always read, and writes write. Inside a unit of
/// work use the repositories of that, which read and write past the cache.
///
/// # Isolation
///
/// What is kept stands under the tenant of the repository behind.
///
/// # Errors
///
/// Those of the repository behind, told to all who waited for one load; `Unavailable` where that takes
/// longer than the policy allows. That the cache does not answer is no error.
///
/// # Cancel safety
///
/// A read that is dropped goes on, and what it gives is kept. A write that is dropped may have been
/// committed or not, and what is kept of it ends.
pub struct CachedRepository<A, R> {
    kept: CachedAggregate<A>,
    tenant: TenantCache,
    inner: Arc<R>,
    /// Nobody else may hear of what is written here.
    ends_itself: bool,
}

impl<A, R> CachedRepository<A, R>
where
    A: Aggregate + Clone,
    R: Repository<A> + 'static,
{
    pub(super) fn new(kept: &CachedAggregate<A>, inner: R, ends_itself: bool) -> Self {
        Self {
            kept: kept.clone(),
            tenant: kept.store.cache.tenant(inner.tenant()),
            inner: Arc::new(inner),
            ends_itself,
        }
    }

    /// Returns the repository behind.
    #[must_use]
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// Returns what ends with the change of one row.
    fn row(&self, id: &A::Id) -> Vec<Invalidation> {
        self.rows([id])
    }

    /// The same of several; nothing where the store tells of it.
    fn rows<'i>(&self, ids: impl IntoIterator<Item = &'i A::Id>) -> Vec<Invalidation> {
        if !self.ends_itself {
            return Vec::new();
        }
        let ids: Vec<_> = ids.into_iter().map(ToString::to_string).collect();
        let ids = ids.iter().map(|id| &**id).collect();
        let by_table = HashMap::from([(A::DESCRIPTOR.table(), ids)]);
        self.kept
            .store
            .tables
            .over_of(&by_table, std::iter::empty())
    }

    /// Returns what ends with a change of which it is not known what it has changed.
    fn all(&self) -> Vec<Invalidation> {
        if !self.ends_itself {
            return Vec::new();
        }
        let table = std::iter::once(A::DESCRIPTOR.table());
        self.kept.store.tables.over_of(&HashMap::new(), table)
    }

    /// Writes, and ends what is kept of it, whatever the outcome and also where this is dropped.
    async fn write<T>(
        &self,
        over: Vec<Invalidation>,
        writing: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if over.is_empty() {
            return writing.await;
        }
        let mut ending = Ending {
            tenant: self.tenant.clone(),
            over,
        };
        let outcome = writing.await;
        let is_unknown = |error: &Error| error.kind() == ErrorKind::CommitUnknown;
        if outcome.as_ref().is_err_and(is_unknown) {
            // It may land yet.
            end_again(ending.tenant.clone(), ending.over.clone());
        }
        ending.end().await;
        outcome
    }
}

/// Ends what is kept, at the latest when it is dropped.
struct Ending {
    tenant: TenantCache,
    over: Vec<Invalidation>,
}

impl Ending {
    async fn end(&mut self) {
        end(&self.tenant, self.over.clone()).await;
        self.over.clear();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.over.is_empty() {
            let over = std::mem::take(&mut self.over);
            // It may go on, and land later.
            if tokio::runtime::Handle::try_current().is_ok() {
                end_again(self.tenant.clone(), over.clone());
            }
            self.tenant.end_later(&over);
        }
    }
}

#[async_trait]
impl<A, R> Repository<A> for CachedRepository<A, R>
where
    A: Aggregate + Clone,
    R: Repository<A> + 'static,
{
    fn tenant(&self) -> TenantId {
        self.inner.tenant()
    }

    async fn find(&self, id: &A::Id) -> Result<Option<A>> {
        let key = id.to_string();
        let tags = [&*self.kept.tag_of_rows];
        let lookup = Lookup::new(&key).with_tags(&tags);
        let load = || {
            let (inner, wanted) = (Arc::clone(&self.inner), id.clone());
            move || {
                let (inner, wanted) = (Arc::clone(&inner), wanted.clone());
                async move { Ok(inner.find(&wanted).await?.map(KeptRow)) }
            }
        };
        let found = self
            .tenant
            .get_or_load(&self.kept.rows, lookup, load())
            .await?;
        if let Some(Checked { checker, is_same }) = &self.kept.checked
            && checker.is_drawn()
        {
            let (tenant, rows) = (self.tenant.tenant(), &self.kept.rows);
            checker.follow(tenant, rows, lookup, load(), *is_same);
        }
        Ok(found.map(|row| row.0.clone()))
    }

    async fn get_many(&self, ids: &[A::Id]) -> Result<Vec<A>> {
        if ids.len() > MOST_AT_ONCE {
            // It says that they are too many, as it would without a cache.
            return self.inner.get_many(ids).await;
        }
        let mut by_key = HashMap::with_capacity(ids.len());
        for id in ids {
            by_key.entry(id.to_string()).or_insert_with(|| id.clone());
        }
        let (keys, ids): (Vec<String>, Vec<A::Id>) = by_key.into_iter().unzip();
        let tags = [&*self.kept.tag_of_rows];
        let lookups: Vec<_> = keys
            .iter()
            .map(|key| Lookup::new(key).with_tags(&tags))
            .collect();
        let inner = Arc::clone(&self.inner);
        let load = move |missing: Vec<usize>| {
            let inner = Arc::clone(&inner);
            let missing: Vec<A::Id> = missing.iter().map(|place| ids[*place].clone()).collect();
            async move {
                let mut found: HashMap<String, A> = HashMap::with_capacity(missing.len());
                for aggregate in inner.get_many(&missing).await? {
                    found.insert(aggregate.id().to_string(), aggregate);
                }
                let rows = missing.iter().map(|id| found.remove(&id.to_string()));
                Ok(rows.map(|row| row.map(KeptRow)).collect())
            }
        };
        let found = self
            .tenant
            .get_or_load_many(&self.kept.rows, &lookups, load)
            .await?;
        let mut found: Vec<A> = found
            .into_iter()
            .flatten()
            .map(|row| row.0.clone())
            .collect();
        found.sort_by(|one, other| by_id(one.id(), other.id()));
        Ok(found)
    }

    async fn exists(&self, id: &A::Id) -> Result<bool> {
        self.inner.exists(id).await
    }

    async fn count(&self, filter: Filter<A>) -> Result<u64> {
        self.inner.count(filter).await
    }

    async fn list(&self, query: Query<A>) -> Result<Page<A>> {
        let Some(lists) = &self.kept.lists else {
            return self.inner.list(query).await;
        };
        let Ok(digest) = query.digest() else {
            // It says what is wrong with it.
            return self.inner.list(query).await;
        };
        let key = hexadecimal(&digest);
        let tags = [&*self.kept.tag_of_rows, &*self.kept.tag_of_lists];
        let lookup = Lookup::new(&key).with_tags(&tags);
        let inner = Arc::clone(&self.inner);
        let load = move || async move { Ok(Some(KeptPage::of(inner.list(query).await?))) };
        let page = self.tenant.get_or_load(lists, lookup, load).await?;
        Ok(page.map_or_else(|| Page::new(Vec::new(), None, None), |page| page.page()))
    }

    fn stream(&self, query: Query<A>) -> BoxStream<'_, Result<A>> {
        self.inner.stream(query)
    }

    async fn insert(&self, aggregate: &mut A) -> Result<()> {
        let over = self.row(aggregate.id());
        self.write(over, self.inner.insert(aggregate)).await
    }

    async fn insert_many(&self, aggregates: &mut [A]) -> Result<()> {
        let over = self.rows(aggregates.iter().map(Aggregate::id));
        self.write(over, self.inner.insert_many(aggregates)).await
    }

    async fn update(&self, aggregate: &mut A) -> Result<()> {
        let over = self.row(aggregate.id());
        self.write(over, self.inner.update(aggregate)).await
    }

    async fn delete_by_id(&self, id: &A::Id, expected: Option<Version>) -> Result<()> {
        self.write(self.row(id), self.inner.delete_by_id(id, expected))
            .await
    }

    async fn upsert(&self, aggregate: &mut A) -> Result<()> {
        let over = self.row(aggregate.id());
        self.write(over, self.inner.upsert(aggregate)).await
    }

    async fn update_where(
        &self,
        filter: Filter<A>,
        changes: Changes<A>,
        limit: u32,
    ) -> Result<u64> {
        self.write(self.all(), self.inner.update_where(filter, changes, limit))
            .await
    }

    async fn delete_where(&self, filter: Filter<A>, limit: u32) -> Result<u64> {
        self.write(self.all(), self.inner.delete_where(filter, limit))
            .await
    }

    async fn restore(&self, id: &A::Id) -> Result<()> {
        self.write(self.row(id), self.inner.restore(id)).await
    }

    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
        self.write(self.all(), self.inner.purge(deleted_before, limit))
            .await
    }
}

/// How many identifiers a repository takes at once.
const MOST_AT_ONCE: usize = 10_000;

/// Compares two identifiers as a database orders them: a UUID by its bytes, a text by its code points.
fn by_id<I: tenantry_store::AggregateId>(one: &I, other: &I) -> std::cmp::Ordering {
    match (Value::of(one), Value::of(other)) {
        (Ok(Value::Uuid(one)), Ok(Value::Uuid(other))) => one.cmp(&other),
        (Ok(Value::Int64(one)), Ok(Value::Int64(other))) => one.cmp(&other),
        (Ok(Value::Text(one)), Ok(Value::Text(other))) => one.cmp(&other),
        _ => std::cmp::Ordering::Equal,
    }
}

impl<A, R> Clone for CachedRepository<A, R> {
    fn clone(&self) -> Self {
        Self {
            kept: self.kept.clone(),
            tenant: self.tenant.clone(),
            inner: Arc::clone(&self.inner),
            ends_itself: self.ends_itself,
        }
    }
}

impl<A, R> fmt::Debug for CachedRepository<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedRepository")
            .field("kept", &self.kept)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
