//! Many readers and writers on several nodes, all the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenantry_cache::{
    Cache, CacheKind, CachePolicy, CheckPolicy, ConsistencyChecker, Lookup, RedisSettings,
    TenantCache,
};
use tenantry_core::TenantId;
use tenantry_testkit::RedisServer;

const KEYS: usize = 16;

const NODES: usize = 3;

/// For how long at most a node may not have heard of what another has invalidated.
const LAG: Duration = Duration::from_secs(1);

/// Rows with a version that goes up, and the last of each whose invalidation was acknowledged.
struct World {
    rows: [AtomicU64; KEYS],
    /// On any node, and on each of them.
    acknowledged: [AtomicU64; KEYS],
    by_node: [[AtomicU64; KEYS]; NODES],
    /// On any node, as long ago as every other has heard of it.
    heard: [AtomicU64; KEYS],
    reads: AtomicU64,
    loads: AtomicU64,
    writes: AtomicU64,
}

/// No read that begins after a write was acknowledged gives what was there before it: on the node that
/// wrote, at once; on others, as soon as they have heard of it. What a checker samples meanwhile is never
/// older than a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_what_was_over_when_it_began() {
    storm(Duration::from_secs(3), None).await;
}

/// The same where a tenant has room for a third of its values: what is pushed out is not what is over, and the
/// sum stays that of what is listed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_what_was_over_where_there_is_little_room() {
    storm(Duration::from_secs(3), Some(5_000)).await;
}

async fn storm(length: Duration, quota: Option<u64>) {
    let server = RedisServer::start().await.unwrap();
    let world = Arc::new(World {
        rows: Default::default(),
        acknowledged: Default::default(),
        by_node: Default::default(),
        heard: Default::default(),
        reads: AtomicU64::new(0),
        loads: AtomicU64::new(0),
        writes: AtomicU64::new(0),
    });
    let mut settings = RedisSettings::new(server.url()).with_prefix("storm");
    if let Some(bytes) = quota {
        settings = settings.with_bytes_of_a_tenant(bytes);
    }
    let tenant = TenantId::generate();
    let over = Arc::new(AtomicBool::new(false));
    let (mut tasks, mut checkers) = (Vec::new(), Vec::new());
    let checks = CheckPolicy::default()
        .with_fraction(0.1)
        .with_most_per_second(200);
    for number in 0..NODES {
        // With one byte nothing has room, and each read asks the server.
        let builder = match number {
            0 => Cache::builder().with_bytes_of_a_tenant(1),
            _ => Cache::builder(),
        };
        let builder = builder.with_redis(&settings).unwrap();
        let cache = builder.build().unwrap();
        let policy = CachePolicy::default().with_early_refresh(5.0);
        let kind: CacheKind<u64> = cache.kind("row", policy).unwrap();
        let checker = cache.checker(checks.clone()).unwrap();
        checkers.push(checker.clone());
        for task in 0..8 {
            let (world, over, checker) = (Arc::clone(&world), Arc::clone(&over), checker.clone());
            let (kind, tenant) = (kind.clone(), cache.tenant(tenant));
            tasks.push(tokio::spawn(async move {
                let mut round = number * 100 + task;
                while !over.load(Ordering::Relaxed) {
                    round += 7;
                    let key = round % KEYS;
                    match task {
                        0 => write(&world, number, &tenant, &kind, key, round).await,
                        _ => read(&world, &checker, number, &tenant, &kind, key).await,
                    }
                }
            }));
        }
    }
    let begun = Instant::now();
    let mut past = VecDeque::new();
    while begun.elapsed() < length {
        let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let now: Vec<u64> = world.acknowledged.iter().map(count).collect();
        past.push_back((begun.elapsed(), now));
        while let Some((_, versions)) = past.pop_front_if(|(at, _)| *at + LAG <= begun.elapsed()) {
            for (heard, version) in world.heard.iter().zip(versions) {
                heard.fetch_max(version, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (reads, loads) = (count(&world.reads), count(&world.loads));
    assert!(count(&world.writes) > 100, "{}", count(&world.writes));
    match quota {
        // How many, the machine decides.
        None => assert!(loads < reads, "{loads} loads of {reads} reads"),
        Some(bytes) => is_counted(&server, tenant, bytes).await,
    }
    for found in checkers.iter().flat_map(ConsistencyChecker::report) {
        assert!(found.looks > 0, "{found:?}");
        assert_eq!(found.older_than_1s, 0, "{found:?}");
    }
}

/// Says that the sum of a tenant is that of its values, and no more than it may be.
async fn is_counted(server: &RedisServer, tenant: TenantId, most: u64) {
    let lua = "local sum = 0 for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 1, -1)) do \
               sum = sum + string.match(member, '^%d+') end \
               return sum + redis.call('ZSCORE', KEYS[1], 'total') == 0 and sum";
    let key = format!("storm:{{t:{tenant}}}:bytes");
    let sum: u64 = server
        .ask(&["eval", lua, "1", &key])
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert!(sum > 0 && sum <= most, "{sum}");
}

async fn write(
    world: &World,
    node: usize,
    tenant: &TenantCache,
    kind: &CacheKind<u64>,
    key: usize,
    round: usize,
) {
    let version = world.rows[key].fetch_add(1, Ordering::SeqCst) + 1;
    match round % 5 {
        0 => tenant.invalidate_tag("all").await,
        1 => tenant.flush().await,
        _ => tenant.invalidate(kind, &key.to_string()).await,
    }
    .unwrap();
    world.by_node[node][key].fetch_max(version, Ordering::SeqCst);
    world.acknowledged[key].fetch_max(version, Ordering::SeqCst);
    world.writes.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(5)).await;
}

async fn read(
    world: &Arc<World>,
    checker: &ConsistencyChecker,
    node: usize,
    tenant: &TenantCache,
    kind: &CacheKind<u64>,
    key: usize,
) {
    let floor = world.by_node[node][key].load(Ordering::SeqCst);
    let floor = floor.max(world.heard[key].load(Ordering::SeqCst));
    let loaded = Arc::clone(world);
    let load = move || async move {
        let version = loaded.rows[key].load(Ordering::SeqCst);
        loaded.loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(u64::try_from(key % 4).unwrap())).await;
        Ok(Some(version))
    };
    let text = key.to_string();
    let lookup = Lookup::new(&text).with_tags(&["all"]);
    let read = tenant.get_or_load(kind, lookup, load.clone()).await;
    let again = move || (load.clone())();
    checker.sample(tenant.tenant(), kind, lookup, again);
    let version = *read.unwrap().unwrap();
    assert!(version >= floor, "{key}: {version} is older than {floor}");
    world.reads.fetch_add(1, Ordering::Relaxed);
}
