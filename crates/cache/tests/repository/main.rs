//! Repositories with a cache in front: what is read, and what ends it.

#![cfg(feature = "repository")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(clippy::disallowed_methods, reason = "what a parent orders its child")]

mod checks;
mod ends;
mod reads;
#[cfg(feature = "redis")]
mod records;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use tenantry_cache::{Cache, CachePolicy, CachedAggregate, CachedRepository, CachedStore};
use tenantry_core::{Result, TenantId};
use tenantry_store::conformance::{SQLITE_SCHEMA, Specimen, SpecimenId, Subject};
use tenantry_store::{
    Changes, Filter, Migrations, Page, Query, Repository, SqlRepository, SqliteSettings,
    TenantScope, TenantStore, Version, sqlite,
};

/// A store whose specimens are kept, their lists as well.
struct Kept {
    store: TenantStore,
    specimens: CachedAggregate<Specimen>,
}

impl Kept {
    async fn open() -> Self {
        let store = store().await;
        let cache = Cache::builder().build().unwrap();
        Self::over(store, &cache)
    }

    /// Which keeps nothing in its own process.
    #[cfg(feature = "redis")]
    async fn shared() -> Self {
        let server = tenantry_testkit::RedisServer::shared().await.unwrap();
        let prefix = format!("t{:032x}", rand::random::<u128>());
        let settings = tenantry_cache::RedisSettings::new(server.url()).with_prefix(prefix);
        let builder = Cache::builder().with_bytes_of_a_tenant(1);
        let cache = builder.with_redis(&settings).unwrap().build().unwrap();
        Self::over(store().await, &cache)
    }

    fn over(store: TenantStore, cache: &Cache) -> Self {
        let cached = CachedStore::new(&store, cache).unwrap();
        let specimens = cached.aggregate(CachePolicy::default()).unwrap();
        Self {
            store,
            specimens: specimens.with_lists(CachePolicy::default()).unwrap(),
        }
    }

    fn tenant(&self) -> TenantScope {
        self.store.tenant(TenantId::generate())
    }

    fn of(
        &self,
        scope: &TenantScope,
    ) -> CachedRepository<Specimen, SqlRepository<'static, Specimen>> {
        self.specimens.repository(scope).unwrap()
    }

    /// Returns the same of a scope, with its reads counted.
    fn counted(&self, scope: &TenantScope) -> (CachedRepository<Specimen, Counted>, Reads) {
        let reads = Reads::default();
        let inner = Counted {
            inner: scope.repository(),
            reads: reads.clone(),
        };
        (self.specimens.wrap(inner), reads)
    }
}

impl Subject for Kept {
    fn store(&self) -> &TenantStore {
        &self.store
    }

    fn specimens(&self, scope: &TenantScope) -> Arc<dyn Repository<Specimen>> {
        Arc::new(self.of(scope))
    }
}

/// Waits until something is so, for half a minute at most.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    for _ in 0..3_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never came to be so");
}

async fn store() -> TenantStore {
    let settings = SqliteSettings::temporary()
        .with_max_readers(2)
        .with_relaxed_durability();
    let migrations = Migrations::embedded(&[(1, "conformance", SQLITE_SCHEMA)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    TenantStore::sqlite(settings).await.unwrap()
}

mod in_process {
    tenantry_store::conformance_suite!(crate::Kept::open);
}

#[cfg(feature = "redis")]
mod in_redis {
    tenantry_store::conformance_suite!(crate::Kept::shared);
}

/// How often it was read, and how many rows were asked for by each call of `get_many`.
#[derive(Debug, Clone, Default)]
struct Reads {
    calls: Arc<AtomicUsize>,
    asked: Arc<parking_lot::Mutex<Vec<usize>>>,
}

impl Reads {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Counts what is read.
struct Counted {
    inner: SqlRepository<'static, Specimen>,
    reads: Reads,
}

impl Counted {
    fn reads(&self) -> &SqlRepository<'static, Specimen> {
        self.reads.calls.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

#[async_trait]
impl Repository<Specimen> for Counted {
    fn tenant(&self) -> TenantId {
        self.inner.tenant()
    }

    async fn find(&self, id: &SpecimenId) -> Result<Option<Specimen>> {
        self.reads().find(id).await
    }

    async fn get_many(&self, ids: &[SpecimenId]) -> Result<Vec<Specimen>> {
        self.reads.asked.lock().push(ids.len());
        self.reads().get_many(ids).await
    }

    async fn exists(&self, id: &SpecimenId) -> Result<bool> {
        self.reads().exists(id).await
    }

    async fn count(&self, filter: Filter<Specimen>) -> Result<u64> {
        self.reads().count(filter).await
    }

    async fn list(&self, query: Query<Specimen>) -> Result<Page<Specimen>> {
        self.reads().list(query).await
    }

    fn stream(&self, query: Query<Specimen>) -> BoxStream<'_, Result<Specimen>> {
        self.reads().stream(query)
    }

    async fn insert(&self, aggregate: &mut Specimen) -> Result<()> {
        self.inner.insert(aggregate).await
    }

    async fn insert_many(&self, aggregates: &mut [Specimen]) -> Result<()> {
        self.inner.insert_many(aggregates).await
    }

    async fn update(&self, aggregate: &mut Specimen) -> Result<()> {
        self.inner.update(aggregate).await
    }

    async fn delete_by_id(&self, id: &SpecimenId, expected: Option<Version>) -> Result<()> {
        self.inner.delete_by_id(id, expected).await
    }

    async fn upsert(&self, aggregate: &mut Specimen) -> Result<()> {
        self.inner.upsert(aggregate).await
    }

    async fn update_where(
        &self,
        filter: Filter<Specimen>,
        changes: Changes<Specimen>,
        limit: u32,
    ) -> Result<u64> {
        self.inner.update_where(filter, changes, limit).await
    }

    async fn delete_where(&self, filter: Filter<Specimen>, limit: u32) -> Result<u64> {
        self.inner.delete_where(filter, limit).await
    }

    async fn restore(&self, id: &SpecimenId) -> Result<()> {
        self.inner.restore(id).await
    }

    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
        self.inner.purge(deleted_before, limit).await
    }
}
