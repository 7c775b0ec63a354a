//! Several nodes before one Redis.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(clippy::disallowed_methods, reason = "what a parent orders its child")]
#![allow(clippy::print_stdout, reason = "scripts/prove keeps what is printed")]

mod acl;
mod checks;
mod clocks;
mod coherence;
mod events;
mod faults;
mod limits;
#[cfg(unix)]
mod processes;
mod proxy;
mod quota;
mod sessions;
mod sessions_alike;
mod storm;
#[cfg(feature = "redis-tls")]
mod tls;
mod tokens;
#[cfg(all(feature = "message-pack", feature = "zstd"))]
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenantry_cache::{Cache, CacheKind, CachePolicy, Lookup, RedisSettings, TenantCache};
use tenantry_core::{Result, TenantId};
use tenantry_testkit::RedisServer;
use tokio::sync::Semaphore;

const TAGS: &[&str] = &["customer:12", "all"];
const SEVEN: Lookup<'static> = Lookup::new("7").with_tags(TAGS);

/// What is loaded from, by all nodes.
#[derive(Default)]
struct Source {
    value: parking_lot::Mutex<Option<String>>,
    loads: AtomicUsize,
    /// Closed, loads wait after they have read.
    gate: parking_lot::Mutex<Option<Arc<Semaphore>>>,
}

impl Source {
    fn set(&self, value: &str) {
        *self.value.lock() = Some(value.to_owned());
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    async fn load(&self) -> Result<Option<String>> {
        let value = self.value.lock().clone();
        let gate = self.gate.lock().clone();
        self.loads.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        Ok(value)
    }
}

/// One process, as far as the cache is concerned.
#[derive(Clone)]
struct Node {
    cache: Cache,
    kind: CacheKind<String>,
    tenant: TenantCache,
    source: Arc<Source>,
}

impl Node {
    /// Returns another node with the same tenant and source, which reaches its server in another way.
    fn another(&self, settings: &RedisSettings) -> Self {
        let builder = Cache::builder().with_redis(settings).unwrap();
        let cache = builder.build().unwrap();
        Self {
            kind: cache.kind("name", CachePolicy::default()).unwrap(),
            tenant: cache.tenant(self.tenant.tenant()),
            source: Arc::clone(&self.source),
            cache,
        }
    }

    async fn read(&self, lookup: impl Into<Lookup<'_>>) -> Option<String> {
        let source = Arc::clone(&self.source);
        let load = move || async move { source.load().await };
        let value = self.tenant.get_or_load(&self.kind, lookup, load).await;
        value.unwrap().map(|value| (*value).clone())
    }

    async fn text(&self, lookup: impl Into<Lookup<'_>>) -> String {
        self.read(lookup).await.unwrap()
    }

    async fn is_known(&self, lookup: impl Into<Lookup<'_>>) -> bool {
        self.tenant.get(&self.kind, lookup).await.is_some()
    }

    /// Begins a load that has read its value and waits with it.
    async fn begin(&self) -> tokio::task::JoinHandle<Option<String>> {
        let (node, before) = (self.clone(), self.source.loads());
        let reader = tokio::spawn(async move { node.read(SEVEN).await });
        while self.source.loads() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        reader
    }

    /// Waits until values are kept in this process too.
    async fn until_sure(&self) {
        let before = self.source.value.lock().replace("sure".to_owned());
        until(|| async {
            let known = self.cache.bytes_of(self.tenant.tenant());
            // Another one each time: what has gone meanwhile is given back just then.
            let key = format!("until sure {}", rand::random::<u64>());
            self.read(&key).await;
            self.cache.bytes_of(self.tenant.tenant()) > known
        })
        .await;
        *self.source.value.lock() = before;
    }
}

/// Several nodes with one tenant, under a prefix of their own.
struct Nodes {
    nodes: Vec<Node>,
    prefix: String,
    source: Arc<Source>,
}

impl Nodes {
    /// Which keep nothing in their own processes.
    async fn shared(count: usize) -> Self {
        let server = RedisServer::shared().await.unwrap();
        Self::at(server.url(), count).await
    }

    /// The same, before another server.
    async fn at(url: &str, count: usize) -> Self {
        // Nothing has room.
        Self::with_bytes(url, count, 1).await
    }

    /// Which keep values in their own processes as well, as soon as they are sure.
    async fn near(count: usize) -> Self {
        let server = RedisServer::shared().await.unwrap();
        Self::with_bytes(server.url(), count, 1_000_000)
            .await
            .until_sure()
            .await
    }

    async fn with_bytes(url: &str, count: usize, bytes: usize) -> Self {
        let source = Arc::new(Source::default());
        source.set("one");
        let prefix = format!("t{:032x}", rand::random::<u128>());
        let tenant = TenantId::generate();
        let nodes = (0..count)
            .map(|_| {
                let settings = RedisSettings::new(url).with_prefix(&prefix);
                let builder = Cache::builder().with_bytes_of_a_tenant(bytes);
                let cache = builder.with_redis(&settings).unwrap().build().unwrap();
                Node {
                    kind: cache.kind("name", CachePolicy::default()).unwrap(),
                    tenant: cache.tenant(tenant),
                    source: Arc::clone(&source),
                    cache,
                }
            })
            .collect();
        Self {
            nodes,
            prefix,
            source,
        }
    }

    /// With values in each process too.
    async fn until_sure(self) -> Self {
        for node in &self.nodes {
            node.until_sure().await;
        }
        self.source.loads.store(0, Ordering::SeqCst);
        self
    }
}

/// Waits until something is so, for half a minute at most.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    for _ in 0..3_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be so");
}
