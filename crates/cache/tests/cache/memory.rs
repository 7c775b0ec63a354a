//! How much is kept, and of whom.

use std::sync::Arc;

use tenantry_cache::{Cache, CacheKind, CachePolicy, Lookup, TenantCache};
use tenantry_core::TenantId;

async fn load(tenant: &TenantCache, kind: &CacheKind<String>, key: &str, bytes: usize) {
    let load = move || async move { Ok(Some("x".repeat(bytes))) };
    tenant.get_or_load(kind, key, load).await.unwrap();
}

async fn is_known(tenant: &TenantCache, kind: &CacheKind<String>, key: &str) -> bool {
    tenant.get(kind, key).await.is_some()
}

#[tokio::test]
async fn a_tenant_takes_no_more_than_its_part_and_its_oldest_go_first() {
    const QUOTA: usize = 1_000_000;
    let cache = Cache::builder()
        .with_bytes_of_a_tenant(QUOTA)
        .build()
        .unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    let (small, large) = (
        cache.tenant(TenantId::generate()),
        cache.tenant(TenantId::generate()),
    );
    load(&small, &kind, "7", 1_000).await;
    for number in 0..5_000 {
        load(&large, &kind, &number.to_string(), 1_000).await;
        let bytes = cache.bytes_of(large.tenant());
        assert!(bytes <= QUOTA, "{bytes} after {number}");
    }
    assert!(cache.bytes_of(large.tenant()) > QUOTA * 95 / 100);
    assert!(is_known(&small, &kind, "7").await);
    assert!(is_known(&large, &kind, "4999").await);
    assert!(!is_known(&large, &kind, "0").await);

    load(&large, &kind, "huge", QUOTA).await;
    assert!(!is_known(&large, &kind, "huge").await);
    assert!(
        is_known(&large, &kind, "4999").await,
        "and pushes nobody out"
    );
}

#[tokio::test]
async fn what_goes_gives_its_room_back() {
    let cache = Cache::builder().build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    for number in 0..100 {
        load(&tenant, &kind, &number.to_string(), 1_000).await;
    }
    assert!(cache.bytes_of(tenant.tenant()) > 100_000);
    for number in 0..100 {
        tenant.invalidate(&kind, &number.to_string()).await.unwrap();
    }
    assert_eq!(cache.bytes_of(tenant.tenant()), 0);
    for _ in 0..1_000 {
        load(&tenant, &kind, "7", 1_000).await;
        tenant.invalidate_tag("none").await.unwrap();
        tenant.flush().await.unwrap();
    }
    let bytes = cache.bytes_of(tenant.tenant());
    assert!(bytes < 2_000, "{bytes}");
}

#[tokio::test]
async fn all_together_take_no_more_than_allowed() {
    let cache = Cache::builder().with_bytes(1_000_000).build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    for _ in 0..100 {
        let tenant = cache.tenant(TenantId::generate());
        for number in 0..50 {
            load(&tenant, &kind, &number.to_string(), 1_000).await;
        }
    }
    let shown = format!("{cache:?}");
    let bytes: u64 = shown
        .rsplit("bytes: ")
        .next()
        .and_then(|rest| rest.split(|it: char| !it.is_ascii_digit()).next())
        .unwrap()
        .parse()
        .unwrap();
    assert!(bytes <= 1_000_000, "{shown}");
}

/// From several threads, of one tenant: nothing is counted twice, and nothing for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn room_is_counted_right_by_many_threads() {
    let cache = Cache::builder()
        .with_bytes_of_a_tenant(100_000)
        .build()
        .unwrap();
    let kind: CacheKind<String> = cache.kind("name", CachePolicy::default()).unwrap();
    let id = TenantId::generate();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (tenant, kind) = (cache.tenant(id), kind.clone());
            tokio::spawn(async move {
                for round in 0..2_000 {
                    let key = ((task + round * 7) % 300).to_string();
                    load(&tenant, &kind, &key, 500).await;
                    if round % 3 == 0 {
                        tenant.invalidate(&kind, &key).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let tenant = cache.tenant(id);
    for key in 0..300 {
        tenant.invalidate(&kind, &key.to_string()).await.unwrap();
    }
    let _ = format!("{cache:?}");
    assert_eq!(cache.bytes_of(id), 0);
    let _ = Arc::new(cache);
}

#[tokio::test]
async fn tags_take_room_as_values_do() {
    const QUOTA: usize = 200_000;
    let builder = Cache::builder().with_bytes_of_a_tenant(QUOTA);
    let cache = builder.build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let keep = async |key: &str, tags: usize| {
        let tags: Vec<_> = (0..tags).map(|tag| format!("{tag:01000}")).collect();
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        let load = || async { Ok(Some("x".to_owned())) };
        let lookup = Lookup::new(key).with_tags(&tags);
        tenant.get_or_load(&kind, lookup, load).await.unwrap();
        cache.bytes_of(tenant.tenant())
    };
    let without = keep("0", 0).await;
    let with = keep("1", 100).await - without;
    assert!((100_000..110_000).contains(&(with - without)), "{with}");
    for key in 2..10 {
        let bytes = keep(&key.to_string(), 100).await;
        assert!(bytes <= QUOTA, "{bytes}");
    }
    keep("huge", 300).await;
    assert!(!is_known(&tenant, &kind, "huge").await);
}
