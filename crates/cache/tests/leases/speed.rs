//! How many decisions a second there are: a measurement, not a test. In release, with `--run-ignored all`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_cache::{LeasePolicy, LeasedLimits, MemoryLimits, RateLimiter, RateLimits, Rule};
use tenantry_core::TenantId;

const SPAN: Duration = Duration::from_secs(2);

/// Returns how many requests pass within a second, under so many limits, from each thread for one of
/// its own tenants or all for one.
fn measure(limits: &Arc<dyn RateLimits>, threads: usize, tenants: usize, stacked: usize) -> f64 {
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
    let (handle, rules) = (runtime.handle().clone(), &rules);
    let begun = Instant::now();
    let passed: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let limiter = RateLimiter::new(Arc::clone(limits));
                let tenant = limiter.tenant(tenants[thread % tenants.len()]);
                let handle = handle.clone();
                scope.spawn(move || {
                    handle.block_on(async {
                        let limits: Vec<_> = rules.iter().map(|it| it.limit("GET /")).collect();
                        let mut passed = 0;
                        while begun.elapsed() < SPAN {
                            for _ in 0..1_000 {
                                let taken = tenant.take(&limits, 1).await.unwrap();
                                passed += u64::from(taken.is_admitted());
                            }
                        }
                        passed
                    })
                })
            })
            .collect();
        workers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    u32::try_from(passed).map_or(f64::INFINITY, f64::from) / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn decisions_a_second() {
    let nodes = std::num::NonZeroU32::new(5).unwrap();
    let leased = || LeasedLimits::new(Arc::new(MemoryLimits::new()), LeasePolicy::new(nodes));
    for (threads, tenants, stacked) in [(1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 1, 3), (2, 2, 3)] {
        let of_lease = measure(&(Arc::new(leased()) as _), threads, tenants, stacked);
        let of_memory = measure(
            &(Arc::new(MemoryLimits::new()) as _),
            threads,
            tenants,
            stacked,
        );
        println!(
            "{threads} threads, {tenants} tenants, {stacked} limits: leased {:.2} M/s, memory {:.2} M/s",
            of_lease / 1e6,
            of_memory / 1e6
        );
    }
}
