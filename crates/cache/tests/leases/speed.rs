//! How many decisions a second there are: a measurement, not a test. In release, with `--run-ignored all`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_cache::{LeasePolicy, LeasedLimits, MemoryLimits, RateLimiter, RateLimits, Rule};
use tenantry_core::TenantId;

const SPAN: Duration = Duration::from_secs(2);

/// Returns how many requests pass within a second, and within a second of a processor: under so many
/// limits, from so many threads, for so many tenants.
fn measure(
    limits: &Arc<dyn RateLimits>,
    threads: usize,
    tenants: usize,
    stacked: usize,
) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let tenants: Vec<_> = (0..tenants).map(|_| TenantId::generate()).collect();
    let rules: Vec<_> = (0..stacked)
        .map(|number| {
            let name = format!("rule {number}");
            Rule::new(name, 1_000_000_000_000, Duration::from_secs(60)).unwrap()
        })
        .collect();
    let (handle, rules) = (runtime.handle(), &rules);
    let begun = Instant::now();
    let (passed, on_cpu) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let limiter = RateLimiter::new(Arc::clone(limits));
                let tenant = limiter.tenant(tenants[thread % tenants.len()]);
                scope.spawn(move || {
                    let before = on_cpu();
                    let passed = handle.block_on(async {
                        let limits: Vec<_> = rules.iter().map(|it| it.limit("GET /")).collect();
                        let mut passed = 0_u32;
                        while begun.elapsed() < SPAN {
                            for _ in 0..1_000 {
                                let taken = tenant.take(&limits, 1).await.unwrap();
                                passed += u32::from(taken.is_admitted());
                            }
                        }
                        passed
                    });
                    (f64::from(passed), on_cpu() - before)
                })
            })
            .collect();
        let ended = workers.into_iter().map(|it| it.join().unwrap());
        ended.fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    (passed / begun.elapsed().as_secs_f64(), passed / on_cpu)
}

/// Returns for how many seconds this thread has run, as Linux tells it.
fn on_cpu() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = told.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}

#[test]
#[ignore = "a measurement"]
fn decisions_a_second() {
    let nodes = NonZeroU32::new(5).unwrap();
    for (threads, tenants, stacked) in [(1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 1, 3), (2, 2, 3)] {
        let memory = Arc::new(MemoryLimits::new());
        let leased = LeasedLimits::new(Arc::clone(&memory) as _, LeasePolicy::new(nodes));
        println!("{threads} threads, {tenants} tenants, {stacked} limits, in millions:");
        for (name, limits) in [
            ("leased", Arc::new(leased) as Arc<dyn RateLimits>),
            ("memory", memory),
        ] {
            let (a_second, on_cpu) = measure(&limits, threads, tenants, stacked);
            let (a_second, on_cpu) = (a_second / 1e6, on_cpu / 1e6);
            println!("  {name} {a_second:.2} a second, {on_cpu:.2} a second of a processor");
        }
    }
}
