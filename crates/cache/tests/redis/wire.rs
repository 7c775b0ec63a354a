//! Processes that write values in different ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenantry_cache::{Cache, CacheKind, CachePolicy, Format, RedisSettings, TenantCache};
use tenantry_core::TenantId;
use tenantry_testkit::RedisServer;

use super::events::Events;
use super::until;

const FORMATS: [Format; 3] = [Format::Postcard, Format::Json, Format::MessagePack];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Old {
    name: String,
    number: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct New {
    number: u64,
    #[serde(default)]
    mail: Option<String>,
    name: String,
}

/// One process, which keeps nothing by itself.
struct Process<T> {
    kind: CacheKind<T>,
    tenant: TenantCache,
}

impl<T: Serialize + DeserializeOwned + Send + Sync + Clone + 'static> Process<T> {
    fn new(url: &str, prefix: &str, tenant: TenantId, schema: u32, policy: CachePolicy) -> Self {
        let settings = RedisSettings::new(url).with_prefix(prefix);
        let builder = Cache::builder().with_bytes_of_a_tenant(1);
        let cache = builder.with_redis(&settings).unwrap().build().unwrap();
        Self {
            kind: cache.kind("name", policy).unwrap().with_schema(schema),
            tenant: cache.tenant(tenant),
        }
    }

    async fn read(&self, value: T) -> T {
        let load = || async move { Ok(Some(value)) };
        let read = self.tenant.get_or_load(&self.kind, "7", load).await;
        (*read.unwrap().unwrap()).clone()
    }

    async fn known(&self) -> Option<T> {
        let known = self.tenant.get(&self.kind, "7").await?;
        known.map(|value| (*value).clone())
    }

    async fn invalidate(&self) {
        self.tenant.invalidate(&self.kind, "7").await.unwrap();
    }
}

fn prefix() -> String {
    format!("t{:032x}", rand::random::<u128>())
}

fn with(format: Format) -> CachePolicy {
    CachePolicy::default().with_format(format)
}

fn old(number: u64) -> Old {
    Old {
        name: "Ada ".repeat(1_000),
        number,
    }
}

fn new(number: u64) -> New {
    New {
        number,
        mail: Some("ada@example.com".to_owned()),
        name: "Ada ".repeat(1_000),
    }
}

/// Each reads what the other has written, and ends it.
#[tokio::test]
async fn a_format_is_rolled_out() {
    let server = RedisServer::shared().await.unwrap();
    let events = Events::hear();
    for before in FORMATS {
        for after in FORMATS {
            let (prefix, tenant) = (prefix(), TenantId::generate());
            let process =
                |format| Process::<Old>::new(server.url(), &prefix, tenant, 0, with(format));
            let pair = [process(before), process(after)];
            for round in 0..4_u64 {
                let [one, other] = match round % 2 {
                    0 => [&pair[0], &pair[1]],
                    _ => [&pair[1], &pair[0]],
                };
                assert_eq!(one.read(old(round)).await, old(round));
                until(|| async { other.known().await.is_some() }).await;
                assert_eq!(other.read(old(99)).await, old(round));
                other.invalidate().await;
                assert_eq!(one.known().await, None);
            }
        }
    }
    assert_eq!(events.take(), "");
}

/// Old and new types, by schema, and with different formats of each: nobody reads what is not its own, or is
/// over.
#[tokio::test]
async fn a_schema_is_rolled_out_with_different_formats() {
    let server = RedisServer::shared().await.unwrap();
    let events = Events::hear();
    let (prefix, tenant) = (prefix(), TenantId::generate());
    let olds = FORMATS.map(|it| Process::<Old>::new(server.url(), &prefix, tenant, 0, with(it)));
    let news = FORMATS.map(|it| Process::<New>::new(server.url(), &prefix, tenant, 1, with(it)));
    let now = Arc::new(AtomicU64::new(0));
    for _ in 0..600 {
        let which = rand::random::<u32>() as usize % 3;
        let number = now.load(Ordering::SeqCst);
        match rand::random::<u32>() % 6 {
            0 | 1 => assert_eq!(olds[which].read(old(number)).await.number, number),
            2 | 3 => assert_eq!(news[which].read(new(number)).await, new(number)),
            4 => {
                now.fetch_add(1, Ordering::SeqCst);
                olds[which].invalidate().await;
            }
            _ => {
                now.fetch_add(1, Ordering::SeqCst);
                news[which].invalidate().await;
            }
        }
    }
    assert_eq!(events.take(), "");
}

/// A field with a default that was added, with names: of the same schema.
#[tokio::test]
async fn with_names_a_field_is_added_without_another_schema() {
    let server = RedisServer::shared().await.unwrap();
    for format in [Format::Json, Format::MessagePack] {
        let (prefix, tenant) = (prefix(), TenantId::generate());
        let before = Process::<Old>::new(server.url(), &prefix, tenant, 0, with(format));
        let after = Process::<New>::new(server.url(), &prefix, tenant, 0, with(format));
        before.read(old(1)).await;
        until(|| async { after.known().await.is_some() }).await;
        let read = after.read(new(2)).await;
        assert_eq!((read.number, read.mail), (1, None));
        after.invalidate().await;
        after.read(new(3)).await;
        until(|| async { before.known().await.is_some() }).await;
        assert_eq!(before.read(old(4)).await.number, 3);
    }
}

/// Somebody has forgotten to count the schema up: it is told, and nobody is misled.
#[tokio::test]
async fn what_is_of_another_type_is_for_others() {
    let server = RedisServer::shared().await.unwrap();
    let events = Events::hear();
    let (prefix, tenant) = (prefix(), TenantId::generate());
    let before = Process::<Old>::new(server.url(), &prefix, tenant, 0, CachePolicy::default());
    let after = Process::<u8>::new(server.url(), &prefix, tenant, 0, CachePolicy::default());
    before.read(old(1)).await;
    until(|| async { before.known().await.is_some() }).await;
    for _ in 0..10 {
        assert_eq!(after.known().await, None);
    }
    let told = events.take();
    assert_eq!(told.matches("WARN").count(), 1, "{told}");
    assert!(told.contains("count=1") && !told.contains("Ada"), "{told}");
    assert_eq!(
        before.known().await,
        Some(old(1)),
        "it stays for those who read it"
    );
    assert_eq!(after.read(7).await, 7);
    until(|| async { after.known().await == Some(7) }).await;
    assert_eq!(
        before.known().await,
        None,
        "a load of its own is stored over it"
    );
    assert!(!events.take().contains("ERROR"));
}

#[tokio::test]
async fn what_is_too_large_is_kept_in_the_process_alone() {
    let server = RedisServer::shared().await.unwrap();
    let events = Events::hear();
    let (prefix, tenant) = (prefix(), TenantId::generate());
    let process = |most| {
        let policy = CachePolicy::default().with_max_value_bytes(most);
        Process::<Old>::new(server.url(), &prefix, tenant, 0, policy)
    };
    let (small, large) = (process(1_000), process(10_000));
    let begun = std::time::Instant::now();
    small.read(old(1)).await;
    let told = events.take();
    assert!(
        told.contains("too large") && told.contains("bytes=4003"),
        "{told}"
    );
    // Nobody waits for one who has nothing to store.
    assert_eq!(large.read(old(2)).await.number, 2);
    assert!(begun.elapsed().as_secs() < 2);
    until(|| async { large.known().await.is_some() }).await;
    // A few bytes there, and more than is allowed when they are undone.
    assert_eq!(small.known().await, None);
    let told = events.take();
    assert!(
        told.contains("ERROR") && told.contains("Oversized"),
        "{told}"
    );
    assert_eq!(small.read(old(3)).await.number, 3);
    assert_eq!(large.known().await, Some(old(2)));
}
