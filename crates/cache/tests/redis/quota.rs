//! How much of a server one tenant takes.

use std::time::Duration;

use tenantry_cache::{Cache, CacheKind, CachePolicy, RedisSettings, TenantCache};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::RedisServer;

use super::events::Events;
use super::until;

const QUOTA: u64 = 500_000;

/// A service with a quota for each tenant, before a server of its own.
struct Service {
    server: RedisServer,
    cache: Cache,
    kind: CacheKind<String>,
}

impl Service {
    async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let settings = RedisSettings::new(server.url()).with_bytes_of_a_tenant(QUOTA);
        let builder = Cache::builder().with_bytes_of_a_tenant(1);
        let cache = builder.with_redis(&settings).unwrap().build().unwrap();
        let kind = cache.kind("text", CachePolicy::default()).unwrap();
        Self {
            server,
            cache,
            kind,
        }
    }

    /// Loads a value of so many bytes, and waits until it is stored or is known not to be.
    async fn load(&self, tenant: &TenantCache, key: &str, bytes: usize) {
        self.load_as(&self.kind, tenant, key, bytes).await;
    }

    async fn load_as(
        &self,
        kind: &CacheKind<String>,
        tenant: &TenantCache,
        key: &str,
        bytes: usize,
    ) {
        let load = move || async move { Ok(Some(digits(bytes))) };
        tenant.get_or_load(kind, key, load).await.unwrap();
        let key = self.key(tenant, &format!("value:{}:{key}", kind.name()));
        until(|| async {
            let lease = self.server.ask(&["hexists", &key, "lease"]).await.unwrap();
            lease == "0"
        })
        .await;
    }

    async fn knows(&self, tenant: &TenantCache, key: &str) -> bool {
        tenant.get(&self.kind, key).await.is_some()
    }

    fn key(&self, tenant: &TenantCache, what: &str) -> String {
        format!("tenantry:{{t:{}}}:{what}", tenant.tenant())
    }

    /// Returns how many bytes the keys of a tenant take, as the server says.
    async fn used(&self, tenant: &TenantCache) -> u64 {
        let lua = "local sum = 0 for _, key in ipairs(redis.call('KEYS', ARGV[1])) do \
                   sum = sum + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0) end return sum";
        let pattern = self.key(tenant, "*");
        let used = self.server.ask(&["eval", lua, "0", &pattern]).await;
        used.unwrap().parse().unwrap()
    }

    /// Returns how many bytes a tenant is charged with.
    async fn charged(&self, tenant: &TenantCache) -> u64 {
        let key = self.key(tenant, "bytes");
        let total = self.server.ask(&["zscore", &key, "total"]).await.unwrap();
        total.strip_prefix('-').unwrap_or(&total).parse().unwrap()
    }

    /// Says that both are the same, by a tenth.
    async fn is_counted(&self, tenant: &TenantCache, why: &str) {
        let (used, charged) = (self.used(tenant).await, self.charged(tenant).await);
        assert!(
            used.abs_diff(charged) <= used / 10 + 1_000,
            "{why}: {used} and {charged}"
        );
    }
}

/// Such as no compression makes shorter.
fn digits(bytes: usize) -> String {
    let digits = (0..bytes).map(|_| char::from(b'!' + rand::random::<u8>() % 90));
    digits.collect()
}

#[tokio::test]
async fn a_tenant_that_takes_too_much_loses_its_own() {
    for (bytes, count) in [(20, 1_200), (200, 1_000), (3_000, 300), (30_000, 50)] {
        let service = Service::new().await;
        let (one, other) = (
            service.cache.tenant(TenantId::generate()),
            service.cache.tenant(TenantId::generate()),
        );
        for number in 0..20 {
            service.load(&other, &number.to_string(), 100).await;
        }
        let before = service.used(&other).await;
        let mut most = 0;
        for number in 0..count {
            service.load(&one, &number.to_string(), bytes).await;
            if number % 25 == 0 {
                most = most.max(service.used(&one).await);
                assert!(service.charged(&one).await <= QUOTA);
            }
        }
        let used = service.used(&one).await;
        assert!(
            used > QUOTA / 10 * 8 && used.max(most) < QUOTA / 10 * 11,
            "{bytes}: {used}"
        );
        service.is_counted(&one, &bytes.to_string()).await;
        // Each time the oldest of a few that are drawn.
        let (mut old, mut new) = (0, 0);
        for number in 0..count / 10 {
            let (first, last) = (number.to_string(), (count - 1 - number).to_string());
            old += usize::from(service.knows(&one, &first).await);
            new += usize::from(service.knows(&one, &last).await);
        }
        assert_eq!(new, count / 10, "{bytes}: the newest stay");
        assert!(old < new, "{bytes}: the oldest go, and {old} are there");
        assert_eq!(service.used(&other).await, before, "and none of another");
        for number in 0..20 {
            assert!(service.knows(&other, &number.to_string()).await);
        }
    }
}

#[tokio::test]
async fn what_is_over_takes_no_room() {
    let service = Service::new().await;
    let tenant = service.cache.tenant(TenantId::generate());
    for number in 0..200 {
        service.load(&tenant, &number.to_string(), 1_000).await;
    }
    service.is_counted(&tenant, "stored").await;
    for number in 0..100 {
        let key = number.to_string();
        tenant.invalidate(&service.kind, &key).await.unwrap();
    }
    service.is_counted(&tenant, "invalidated").await;
    // Stored again over what a tag has ended, of another size.
    for number in 100..150 {
        tenant.invalidate_tag("all").await.unwrap();
        let (key, load) = (number.to_string(), || async { Ok(Some(digits(2_000))) });
        let lookup = tenantry_cache::Lookup::new(&key).with_tags(&["all"]);
        tenant
            .get_or_load(&service.kind, lookup, load)
            .await
            .unwrap();
    }
    service.load(&tenant, "last", 1).await;
    service.is_counted(&tenant, "stored over").await;
}

/// They are there until their time is over, and count; who loads anew has their room.
#[tokio::test]
async fn what_a_flush_has_ended_counts_and_goes_first() {
    let service = Service::new().await;
    let tenant = service.cache.tenant(TenantId::generate());
    for number in 0..100 {
        service.load(&tenant, &number.to_string(), 4_000).await;
    }
    tenant.flush().await.unwrap();
    service.is_counted(&tenant, "flushed").await;
    for number in 100..170 {
        service.load(&tenant, &number.to_string(), 4_000).await;
    }
    service.is_counted(&tenant, "loaded anew").await;
    let mut known = 0;
    for number in 100..170 {
        known += u32::from(service.knows(&tenant, &number.to_string()).await);
    }
    assert!(known > 60, "{known}: what was flushed goes first");
}

/// Evicted, expired, emptied: what is counted comes to be what is there.
#[tokio::test]
async fn what_the_server_loses_is_counted_no_more() {
    let service = Service::new().await;
    let tenant = service.cache.tenant(TenantId::generate());
    for number in 0..100 {
        service.load(&tenant, &number.to_string(), 3_000).await;
    }
    // As if they had been evicted: they count until their end, and stores go on.
    for number in 0..100 {
        let key = service.key(&tenant, &format!("value:text:{number}"));
        service.server.execute(&["del", &key]).await.unwrap();
    }
    for number in 0..200 {
        service.load(&tenant, &format!("new {number}"), 3_000).await;
        assert!(service.knows(&tenant, &format!("new {number}")).await);
    }
    service.is_counted(&tenant, "evicted").await;
    // Evicted is what counts them.
    let bytes = service.key(&tenant, "bytes");
    service.server.execute(&["del", &bytes]).await.unwrap();
    for number in 0..200 {
        service
            .load(&tenant, &format!("again {number}"), 3_000)
            .await;
    }
    assert!(service.charged(&tenant).await <= QUOTA);
    service.server.execute(&["flushall"]).await.unwrap();
    for number in 0..100 {
        service
            .load(&tenant, &format!("then {number}"), 3_000)
            .await;
    }
    service.is_counted(&tenant, "emptied").await;
}

#[tokio::test]
async fn what_has_expired_is_counted_no_more() {
    let service = Service::new().await;
    let tenant = service.cache.tenant(TenantId::generate());
    for number in 0..100 {
        service.load(&tenant, &number.to_string(), 3_000).await;
    }
    // Both the value and its entry end now; of some, a load has begun since.
    let bytes = service.key(&tenant, "bytes");
    let lua = "for index, member in ipairs(redis.call('ZRANGE', KEYS[1], 1, -1)) do \
               local key = string.match(member, '^%d+ %d+ (.*)$') \
               redis.call('ZADD', KEYS[1], index, member) \
               if index % 2 == 0 then redis.call('PEXPIRE', key, 1) end end";
    service
        .server
        .execute(&["eval", lua, "1", &bytes])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    service.load(&tenant, "more", 3_000).await;
    service.is_counted(&tenant, "expired").await;
    let listed = service.server.ask(&["zcard", &bytes]).await.unwrap();
    assert_eq!(listed, "52", "the sum, those that live on, and the last");
}

/// A kind that is kept for a short time has room among those that are kept for long, and a value that never
/// has is not stored.
#[tokio::test]
async fn all_kinds_have_room_and_what_has_none_is_told() {
    let service = Service::new().await;
    let events = Events::hear();
    let tenant = service.cache.tenant(TenantId::generate());
    let day = CachePolicy::default().with_time_to_live(Duration::from_secs(24 * 60 * 60));
    let day = service.cache.kind("day", day).unwrap();
    for number in 0..400 {
        let key = number.to_string();
        service.load_as(&day, &tenant, &key, 1_000).await;
    }
    service.load(&tenant, "brief", 3_000).await;
    assert!(service.knows(&tenant, "brief").await);
    service.is_counted(&tenant, "two kinds").await;
    assert_eq!(events.take(), "");
    let before = service.charged(&tenant).await;
    for (key, bytes) in [("huge", 700_000), ("by a little", 605_000)] {
        service.load(&tenant, key, bytes).await;
        assert!(!service.knows(&tenant, key).await);
        let told = events.take();
        assert!(told.contains("no room"), "{told}");
        let after = service.charged(&tenant).await;
        assert_eq!(after, before, "what never has room pushes nothing out");
    }
    service.is_counted(&tenant, "with what has no room").await;
    service.load(&tenant, "nearly all", 400_000).await;
    assert!(!service.knows(&tenant, "nearly all").await, "not at once");
    until(|| async {
        service.load(&tenant, "nearly all", 400_000).await;
        service.knows(&tenant, "nearly all").await
    })
    .await;
    service.is_counted(&tenant, "nearly all").await;

    let settings = RedisSettings::new(service.server.url()).with_bytes_of_a_tenant(0);
    let error = Cache::builder().with_redis(&settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
}

#[tokio::test]
async fn what_counts_has_an_end_as_well() {
    let service = Service::new().await;
    let tenant = service.cache.tenant(TenantId::generate());
    for number in 0..10 {
        service.load(&tenant, &number.to_string(), 100).await;
        tenant.invalidate(&service.kind, "3").await.unwrap();
    }
    let bytes = service.key(&tenant, "bytes");
    let lives = service.server.ask(&["pttl", &bytes]).await.unwrap();
    assert!(lives.parse::<i64>().unwrap() > 600_000, "{lives}");
}
