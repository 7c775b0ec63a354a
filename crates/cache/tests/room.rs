//! How much memory the values of a process take.

use tenantry_cache::{Cache, CacheKind, CachePolicy};
use tenantry_core::TenantId;

/// Whatever many threads do, what is there takes no more than the quota, and all of it is counted.
#[test]
fn what_is_kept_of_a_tenant_is_counted_and_within_its_quota() {
    const KEYS: usize = 4_000;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(8)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Room for about eight values.
        let quota = 6_500;
        let cache = Cache::builder().with_bytes_of_a_tenant(quota).build().unwrap();
        let kind: CacheKind<String> = cache.kind("name", CachePolicy::default()).unwrap();
        let id = TenantId::generate();
        let mut worst = 0;
        for round in 0..10 {
            let tasks: Vec<_> = (0..8)
                .map(|task| {
                    let (tenant, kind) = (cache.tenant(id), kind.clone());
                    tokio::spawn(async move {
                        for number in (task..KEYS).step_by(8) {
                            let load = || async {
                                tokio::task::yield_now().await;
                                Ok(Some("x".repeat(500)))
                            };
                            let key = format!("{round} {number}");
                            tenant.get_or_load(&kind, &key, load).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let tenant = cache.tenant(id);
            let mut there = 0;
            for earlier in 0..=round {
                for number in 0..KEYS {
                    let key = format!("{earlier} {number}");
                    there += usize::from(tenant.get(&kind, &key).await.is_some());
                }
            }
            worst = worst.max(there);
        }
        let bytes = cache.bytes_of(id);
        assert!(
            worst * 756 <= quota,
            "{worst} values of 756 bytes or more are there, and {bytes} bytes are counted of {quota}"
        );
    });
}

/// Many tenants with one small value each take about what is counted.
#[tokio::test]
async fn what_many_tenants_take_is_about_what_is_counted() {
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
    }
    const BYTES: u64 = 8 * 1024 * 1024;
    let cache = Cache::builder().with_bytes(BYTES).build().unwrap();
    let kind: CacheKind<u8> = cache.kind("name", CachePolicy::default()).unwrap();
    let before = resident();
    for _ in 0..50_000 {
        let tenant = cache.tenant(TenantId::generate());
        tenant
            .get_or_load(&kind, "7", || async { Ok(Some(7)) })
            .await
            .unwrap();
    }
    let took = resident() - before;
    let most = usize::try_from(BYTES).unwrap();
    assert!(
        took < 3 * most,
        "{took} bytes are taken where {most} are allowed: {cache:?}"
    );
}
