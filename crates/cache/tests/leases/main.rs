//! Limits of which a part is held in advance.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod backend;
mod properties;
mod speed;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenantry_cache::{
    Decision, LeasePolicy, LeasedLimits, OnFailure, RateLimiter, Rule, TenantLimiter,
};
use tenantry_core::{ErrorKind, ManualClock, TenantId};

use self::backend::Backend;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn clock() -> ManualClock {
    ManualClock::new(Default::default())
}

fn policy(nodes: u32) -> LeasePolicy {
    LeasePolicy::new(NonZeroU32::new(nodes).unwrap())
}

fn rule(most: u64) -> Rule {
    Rule::new("tenant", most, MINUTE).unwrap()
}

/// Several nodes before one backend, which share 5 % of each limit.
struct Nodes {
    backend: Arc<Backend>,
    clock: ManualClock,
    limiters: Vec<RateLimiter>,
}

impl Nodes {
    fn new(count: u32) -> Self {
        let clock = clock();
        let backend = Arc::new(Backend::new(&clock));
        let limiters = (0..count).map(|_| {
            let limits = LeasedLimits::new(Arc::clone(&backend) as Arc<_>, policy(count));
            RateLimiter::new(Arc::new(limits.with_clock(Arc::new(clock.clone()))))
        });
        Self {
            limiters: limiters.collect(),
            backend,
            clock,
        }
    }

    fn tenant(&self, node: usize, id: TenantId) -> TenantLimiter {
        self.limiters[node].tenant(id)
    }

    fn calls(&self) -> usize {
        self.backend.takes.swap(0, Ordering::SeqCst)
    }
}

async fn take(tenant: &TenantLimiter, rule: &Rule, cost: u64) -> Decision {
    let taken = tenant.take(&[rule.limit("")], cost).await.unwrap();
    assert!(taken.failure().is_none(), "{:?}", taken.failure());
    taken
}

/// Returns how many of so many requests pass.
async fn pass(tenant: &TenantLimiter, rule: &Rule, count: u64) -> u64 {
    let mut passed = 0;
    for _ in 0..count {
        passed += u64::from(take(tenant, rule, 1).await.is_admitted());
    }
    passed
}

#[tokio::test]
async fn a_lease_is_asked_for_once_and_used_up_before_the_next_one() {
    let nodes = Nodes::new(5);
    let rule = rule(10_000);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let tenant = nodes.tenant(0, tenant);
        assert_eq!(pass(&tenant, &rule, 100).await, 100);
        assert_eq!(nodes.calls(), 1);
        let taken = take(&tenant, &rule, 1).await;
        assert_eq!(taken.standings()[0].remaining, 10_000 - 101);
        assert_eq!(nodes.calls(), 1);
    }
}

#[tokio::test]
async fn a_limit_that_is_too_small_for_a_lease_is_exact() {
    let nodes = Nodes::new(2);
    let (id, rule) = (TenantId::generate(), rule(79));
    let [one, other] = [0, 1].map(|node| nodes.tenant(node, id));
    assert_eq!(pass(&one, &rule, 40).await, 40);
    assert_eq!(pass(&other, &rule, 100).await, 39);
    assert_eq!(nodes.calls(), 140);
}

#[tokio::test]
async fn one_node_alone_refuses_nobody_without_need() {
    let nodes = Nodes::new(1);
    let (tenant, rule) = (nodes.tenant(0, TenantId::generate()), rule(1_000));
    assert!(take(&tenant, &rule, 1).await.is_admitted());
    let most = take(&tenant, &rule, 999).await;
    assert!(
        most.is_admitted(),
        "more than a lease, with what is held given back"
    );
    assert_eq!(most.standings()[0].remaining, 0);
    assert!(!take(&tenant, &rule, 1).await.is_admitted());
    nodes.clock.advance(MINUTE);
    assert_eq!(pass(&tenant, &rule, 2_000).await, 1_000);
}

#[tokio::test]
async fn what_is_refused_is_not_asked_for_again_until_it_passes_or_a_second_is_over() {
    let nodes = Nodes::new(1);
    let tenant = nodes.tenant(0, TenantId::generate());
    let rule = rule(100);
    assert_eq!(pass(&tenant, &rule, 50).await, 50);
    nodes.clock.advance(SECOND);
    assert_eq!(pass(&tenant, &rule, 50).await, 50);
    nodes.calls();
    assert_eq!(pass(&tenant, &rule, 1_000).await, 0);
    assert_eq!(nodes.calls(), 2, "for a lease, and for what is needed");
    let refused = take(&tenant, &rule, 1).await;
    assert_eq!(refused.retry_after(), Some(59 * SECOND));
    nodes.clock.advance(SECOND);
    let refused = take(&tenant, &rule, 1).await;
    assert_eq!(refused.retry_after(), Some(58 * SECOND));
    assert_eq!(nodes.calls(), 2);
    nodes.clock.advance(58 * SECOND);
    assert_eq!(pass(&tenant, &rule, 100).await, 50);
}

#[tokio::test]
async fn what_is_taken_back_is_let_in_at_once() {
    let nodes = Nodes::new(1);
    let (tenant, rule) = (nodes.tenant(0, TenantId::generate()), rule(100));
    assert_eq!(pass(&tenant, &rule, 101).await, 100);
    tenant.refund(&[rule.limit("")], 3).await.unwrap();
    let seen = tenant.peek(&[rule.limit("")]).await.unwrap();
    assert_eq!(seen.standings()[0].remaining, 3);
    assert_eq!(pass(&tenant, &rule, 10).await, 3);
}

#[tokio::test]
async fn what_one_limit_refuses_is_charged_to_none() {
    let nodes = Nodes::new(1);
    let tenant = nodes.tenant(0, TenantId::generate());
    let of_tenant = rule(1_000);
    let of_route = Rule::new("route", 100, MINUTE).unwrap();
    let limits = [of_tenant.limit(""), of_route.limit("GET /")];
    let mut passed = 0;
    for _ in 0..300 {
        let taken = tenant.take(&limits, 1).await.unwrap();
        passed += u32::from(taken.is_admitted());
        if !taken.is_admitted() {
            assert_eq!(taken.standings()[0].retry_after, Duration::ZERO);
            assert_eq!(taken.retry_after(), Some(MINUTE));
        }
    }
    assert_eq!(passed, 100);
    let seen = tenant.peek(&[of_tenant.limit("")]).await.unwrap();
    assert_eq!(seen.standings()[0].remaining, 900);
    assert!(nodes.calls() < 30, "each lease of the route is of five");
}

#[tokio::test]
async fn another_limit_applies_at_once_as_far_as_it_is_not_held() {
    let nodes = Nodes::new(1);
    let tenant = nodes.tenant(0, TenantId::generate());
    assert_eq!(pass(&tenant, &rule(1_000), 110).await, 110);
    let lowered = pass(&tenant, &rule(100), 50).await;
    assert_eq!(lowered, policy(1).overshoot(&rule(100)));
    assert_eq!(pass(&tenant, &rule(20), 50).await, 0);
    let raised = pass(&tenant, &rule(2_000), 3_000).await;
    assert_eq!(
        110 + lowered + raised,
        2_000 - (40 - lowered),
        "what was let go of is lost"
    );
}

#[tokio::test]
async fn who_waits_for_a_lease_may_be_dropped_and_the_next_one_has_it() {
    let nodes = Nodes::new(1);
    let (tenant, rule) = (nodes.tenant(0, TenantId::generate()), rule(1_000));
    nodes.backend.close();
    for _ in 0..10 {
        let limits = [rule.limit("")];
        let waits = tenant.take(&limits, 1);
        let waited = tokio::time::timeout(Duration::from_millis(1), waits).await;
        assert!(waited.is_err());
    }
    nodes.backend.open();
    assert_eq!(pass(&tenant, &rule, 2_000).await, 1_000);
}

#[tokio::test]
async fn those_who_wait_together_ask_once_and_fail_together() {
    let nodes = Nodes::new(1);
    let tenant = nodes.tenant(0, TenantId::generate());
    let rule = rule(1_000).with_on_failure(OnFailure::Refuse);
    nodes.backend.close();
    let limits = [rule.limit("")];
    let waiting = futures_util::future::join_all((0..50).map(|_| tenant.take(&limits, 1)));
    let fails = async {
        tokio::task::yield_now().await;
        nodes.backend.fail(true);
        nodes.backend.open();
    };
    let (decisions, ()) = futures_util::future::join(waiting, fails).await;
    for decision in decisions {
        let decision = decision.unwrap();
        assert!(!decision.is_admitted());
        let failure = decision.failure().unwrap();
        assert_eq!(failure.kind(), ErrorKind::Unavailable);
        assert_eq!(failure.to_string(), "take from rate limits: unavailable");
    }
    assert_eq!(nodes.calls(), 1);
    nodes.backend.fail(false);
    assert!(take(&tenant, &rule, 1).await.is_admitted());
}

#[tokio::test]
async fn where_the_backend_fails_what_is_held_is_used_up_first() {
    let nodes = Nodes::new(1);
    let tenant = nodes.tenant(0, TenantId::generate());
    let rule = rule(1_000).with_on_failure(OnFailure::Refuse);
    assert!(take(&tenant, &rule, 1).await.is_admitted());
    nodes.backend.fail(true);
    assert_eq!(pass(&tenant, &rule, 49).await, 49);
    let refused = tenant.take(&[rule.limit("")], 1).await.unwrap();
    assert!(!refused.is_admitted() && refused.failure().is_some());
}

#[tokio::test]
async fn a_lease_ends_with_the_window_in_which_it_was_charged() {
    let nodes = Nodes::new(1);
    let tenant = nodes.tenant(0, TenantId::generate());
    let rule = rule(1_000).with_on_failure(OnFailure::Refuse);
    assert!(take(&tenant, &rule, 1).await.is_admitted());
    nodes.backend.fail(true);
    nodes.clock.advance(MINUTE - SECOND);
    assert!(take(&tenant, &rule, 1).await.is_admitted());
    nodes.clock.advance(SECOND);
    let refused = tenant.take(&[rule.limit("")], 1).await.unwrap();
    assert!(!refused.is_admitted() && refused.failure().is_some());
}

#[tokio::test]
async fn subjects_beyond_the_bound_go_to_the_backend() {
    let clock = clock();
    let backend = Arc::new(Backend::new(&clock));
    let limits = LeasedLimits::new(Arc::clone(&backend) as Arc<_>, policy(1))
        .with_clock(Arc::new(clock.clone()))
        .with_most_subjects(100);
    let limits = Arc::new(limits);
    let tenant = RateLimiter::new(Arc::clone(&limits) as Arc<_>).tenant(TenantId::generate());
    let rule = rule(1_000);
    for _ in 0..2 {
        for number in 0..1_000 {
            let address = number.to_string();
            let taken = tenant.take(&[rule.limit(&address)], 1).await.unwrap();
            assert!(taken.is_admitted() && taken.failure().is_none());
        }
    }
    assert_eq!(backend.takes.load(Ordering::SeqCst), 100 + 2 * 900);
    assert!(
        format!("{limits:?}").contains("subjects: 100"),
        "{limits:?}"
    );
    clock.advance(MINUTE);
    let taken = tenant.take(&[rule.limit("another")], 1).await.unwrap();
    assert!(taken.is_admitted());
    assert!(format!("{limits:?}").contains("subjects: 1,"), "{limits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_pass_as_are_allowed_whoever_comes_at_once() {
    for (count, most) in [(1, 900), (1, 5_000), (4, 5_000)] {
        let nodes = Nodes::new(count);
        let (id, rule) = (TenantId::generate(), rule(most));
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let node = task % nodes.limiters.len();
                let (tenant, rule) = (nodes.tenant(node, id), rule.clone());
                tokio::spawn(async move { pass(&tenant, &rule, 200).await })
            })
            .collect();
        let mut passed = 0;
        for task in tasks {
            passed += task.await.unwrap();
        }
        assert!(passed <= most, "{passed} of {most}");
        let held = match count {
            1 => 0,
            _ => policy(count).overshoot(&rule),
        };
        assert!(passed >= most - held, "{passed} of {most}");
    }
}

#[tokio::test]
async fn without_a_runtime_the_backend_is_asked() {
    let nodes = Nodes::new(1);
    let (tenant, rule) = (nodes.tenant(0, TenantId::generate()), rule(1_000));
    let thread = std::thread::spawn(move || {
        use futures_util::FutureExt as _;

        let limits = [rule.limit("")];
        let taken = tenant.take(&limits, 1).now_or_never().unwrap().unwrap();
        taken.standings()[0].remaining
    });
    assert_eq!(thread.join().unwrap(), 999);
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn conforms() {
    use tenantry_cache::conformance::rate_limits_conformance;

    let backend = Arc::new(Backend::new(&clock()));
    rate_limits_conformance(Arc::new(LeasedLimits::new(backend, policy(1)))).await;
}
