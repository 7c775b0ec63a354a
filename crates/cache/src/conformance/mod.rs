//! What every backend must do, as functions to call: the contracts in a form that runs.
//!
//! The names in here may change in any release.

mod sessions;

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::TenantId;

pub use self::sessions::session_store_conformance;
use crate::{RateLimiter, RateLimits, Rule, TenantLimiter};

/// So long that no window ends while it is looked at.
const HOUR: Duration = Duration::from_secs(3_600);

/// Holds a backend to the contract of [`RateLimits`], as far as that can be seen without a clock.
///
/// It takes tenants that nobody has used yet: any backend will do.
///
/// # Panics
///
/// If the backend breaks its contract; the message says in what.
pub async fn rate_limits_conformance(limits: Arc<dyn RateLimits>) {
    let limiter = RateLimiter::new(limits);
    what_one_limit_refuses_is_charged_to_none(&limiter).await;
    a_refund_makes_room_and_a_look_takes_none(&limiter).await;
    names_are_counted_apart_whatever_they_are(&limiter).await;
    another_limit_under_the_same_name_goes_on(&limiter).await;
    as_many_pass_as_are_allowed_whoever_comes_at_once(&limiter).await;
}

fn rule(name: &str, most: u64) -> Rule {
    Rule::new(name, most, HOUR).expect("a rule")
}

async fn takes(tenant: &TenantLimiter, rule: &Rule, cost: u64) -> bool {
    let taken = tenant
        .take(&[rule.limit("")], cost)
        .await
        .expect("a decision");
    assert!(taken.failure().is_none(), "{:?}", taken.failure());
    taken.is_admitted()
}

async fn what_one_limit_refuses_is_charged_to_none(limiter: &RateLimiter) {
    let tenant = limiter.tenant(TenantId::generate());
    let (of_tenant, of_route) = (rule("tenant", 10), rule("route", 1));
    let limits = [of_tenant.limit(""), of_route.limit("GET /")];
    let first = tenant.take(&limits, 1).await.expect("a decision");
    assert!(first.is_admitted());
    assert_eq!(first.retry_after(), None);
    let left: Vec<_> = first.standings().iter().map(|it| it.remaining).collect();
    assert_eq!(left, [9, 0], "what is left after it");
    for _ in 0..20 {
        let refused = tenant.take(&limits, 1).await.expect("a decision");
        assert!(!refused.is_admitted(), "the route is used up");
        let wait = refused.retry_after().expect("a wait");
        assert!(wait > HOUR * 9 / 10 && wait <= HOUR, "{wait:?}");
        assert_eq!(refused.standings()[0].retry_after, Duration::ZERO);
        assert_eq!(refused.tightest().map(|it| it.most), Some(1));
    }
    let seen = tenant.peek(&[of_tenant.limit("")]).await.expect("a look");
    assert_eq!(seen.standings()[0].remaining, 9, "charged once");
}

async fn a_refund_makes_room_and_a_look_takes_none(limiter: &RateLimiter) {
    for most in [3, 3_000] {
        let tenant = limiter.tenant(TenantId::generate());
        let rule = rule("exports", most);
        let limits = [rule.limit("user:17")];
        let takes = async |cost| tenant.take(&limits, cost).await.expect("a decision");
        for _ in 0..10 {
            assert!(tenant.peek(&limits).await.expect("a look").is_admitted());
        }
        for cost in [1, most - 1] {
            assert!(takes(cost).await.is_admitted());
        }
        assert!(!tenant.peek(&limits).await.expect("a look").is_admitted());
        tenant.refund(&limits, 2).await.expect("a refund");
        let seen = tenant.peek(&limits).await.expect("a look");
        assert_eq!(seen.standings()[0].remaining, 2);
        assert!(takes(2).await.is_admitted());
        tenant.refund(&limits, u64::MAX).await.expect("a refund");
        assert!(takes(most).await.is_admitted(), "no more than there was");
    }
}

async fn names_are_counted_apart_whatever_they_are(limiter: &RateLimiter) {
    let long = "x".repeat(300);
    let names = ["", "a", "a:b", "A", "{x}", "*", "\0", "a\0b", &long];
    for _ in 0..2 {
        let tenant = limiter.tenant(TenantId::generate());
        for name in names {
            let rule = rule(name, 1);
            for subject in names {
                let limit = [rule.limit(subject)];
                for is_first in [true, false] {
                    let taken = tenant.take(&limit, 1).await.expect("a decision");
                    assert_eq!(taken.is_admitted(), is_first, "{name:?} {subject:?}");
                }
            }
        }
    }
}

async fn another_limit_under_the_same_name_goes_on(limiter: &RateLimiter) {
    let tenant = limiter.tenant(TenantId::generate());
    assert!(takes(&tenant, &rule("tenant", 100), 60).await);
    assert!(!takes(&tenant, &rule("tenant", 50), 1).await);
    assert!(takes(&tenant, &rule("tenant", 2_000), 1_940).await);
    assert!(!takes(&tenant, &rule("tenant", 2_000), 1).await);
}

async fn as_many_pass_as_are_allowed_whoever_comes_at_once(limiter: &RateLimiter) {
    for most in [1, 100, 1_000, 3_000] {
        let tenant = limiter.tenant(TenantId::generate());
        let rule = rule("tenant", most);
        let callers = (0..64).map(|_| async {
            let mut admitted = 0;
            for _ in 0..=most / 32 {
                admitted += u64::from(takes(&tenant, &rule, 1).await);
            }
            admitted
        });
        let admitted: u64 = futures_util::future::join_all(callers).await.iter().sum();
        assert_eq!(admitted, most);
    }
}
