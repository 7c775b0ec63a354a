//! The cache as its users see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod checks;
mod fences;
mod loads;
mod memory;
mod times;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::DateTime;
use tenantry_cache::{Cache, CacheKind, CachePolicy, Lookup, TenantCache};
use tenantry_core::{Error, ErrorKind, ManualClock, Result, TenantId};
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);

/// A cache, a clock, and a source of values that counts how often it is asked.
struct Fixture {
    clock: ManualClock,
    cache: Cache,
    kind: CacheKind<String>,
    tenant: TenantCache,
    source: Arc<Source>,
}

/// What is loaded from.
#[derive(Default)]
struct Source {
    loads: AtomicUsize,
    value: parking_lot::Mutex<Option<String>>,
    error: parking_lot::Mutex<Option<ErrorKind>>,
    /// Closed, loads wait after they have read.
    gate: parking_lot::Mutex<Option<Arc<Semaphore>>>,
}

impl Source {
    fn set(&self, value: &str) {
        *self.value.lock() = Some(value.to_owned());
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    /// Makes loads wait with what they have read, until there is a permit.
    fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    fn open(&self) {
        *self.gate.lock() = None;
    }

    async fn load(&self) -> Result<Option<String>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let value = self.value.lock().clone();
        let error = *self.error.lock();
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        match error {
            Some(kind) => Err(Error::new(kind, "read source").with_detail("as the test wants")),
            None => Ok(value),
        }
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(CachePolicy::default().with_jitter(0.0))
    }

    fn with(policy: CachePolicy) -> Self {
        let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let cache = Cache::builder()
            .with_clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        let kind = cache.kind("name", policy).unwrap();
        let tenant = cache.tenant(TenantId::generate());
        let source = Arc::new(Source::default());
        source.set("one");
        Self {
            clock,
            cache,
            kind,
            tenant,
            source,
        }
    }

    async fn read(&self, lookup: impl Into<Lookup<'_>>) -> Result<Option<String>> {
        self.read_of(&self.tenant, lookup).await
    }

    async fn read_of(
        &self,
        tenant: &TenantCache,
        lookup: impl Into<Lookup<'_>>,
    ) -> Result<Option<String>> {
        let source = Arc::clone(&self.source);
        let load = move || async move { source.load().await };
        let value = tenant.get_or_load(&self.kind, lookup, load).await?;
        Ok(value.map(|value| (*value).clone()))
    }

    async fn text(&self, lookup: impl Into<Lookup<'_>>) -> String {
        self.read(lookup).await.unwrap().unwrap()
    }

    /// Begins a load that has read its value and waits with it; returns who waits for it.
    async fn begin(
        &self,
        tags: &'static [&'static str],
    ) -> tokio::task::JoinHandle<Result<Option<String>>> {
        let (tenant, kind) = (self.tenant.clone(), self.kind.clone());
        let source = Arc::clone(&self.source);
        let before = source.loads();
        let reader = tokio::spawn({
            let source = Arc::clone(&source);
            async move {
                let load = move || async move { source.load().await };
                let lookup = Lookup::new("7").with_tags(tags);
                let value = tenant.get_or_load(&kind, lookup, load).await?;
                Ok(value.map(|value| (*value).clone()))
            }
        });
        while source.loads() == before {
            tokio::task::yield_now().await;
        }
        reader
    }
}

/// Lets tasks that can go on do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
