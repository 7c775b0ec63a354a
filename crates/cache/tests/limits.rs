//! Rate limits in this process.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Decision, Limit, MemoryLimits, OnFailure, RateLimiter, RateLimits, Rule};
use tenantry_core::{Error, ErrorKind, ManualClock, Result, TenantId};

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> ManualClock {
    ManualClock::new(Default::default())
}

fn limiter(clock: &ManualClock) -> RateLimiter {
    RateLimiter::new(Arc::new(MemoryLimits::with_clock(Arc::new(clock.clone()))))
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_pass_as_are_allowed_whoever_comes_at_once() {
    for most in [100, 1_000, 5_000] {
        let limiter = limiter(&clock());
        let rule = Rule::new("tenant", most, SECOND).unwrap();
        let tenant = limiter.tenant(TenantId::generate());
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (tenant, rule) = (tenant.clone(), rule.clone());
                tokio::spawn(async move {
                    let mut admitted = 0;
                    for _ in 0..200 {
                        let taken = tenant.take(&[rule.limit("")], 1).await.unwrap();
                        admitted += u64::from(taken.is_admitted());
                    }
                    admitted
                })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.unwrap();
        }
        assert_eq!(admitted, most);
    }
}

#[tokio::test]
async fn what_one_limit_refuses_is_charged_to_none() {
    let (clock, tenant) = (clock(), TenantId::generate());
    let tenant = limiter(&clock).tenant(tenant);
    let of_tenant = Rule::new("tenant", 10, SECOND).unwrap();
    let of_route = Rule::new("route", 1, SECOND).unwrap();
    let limits = [of_tenant.limit(""), of_route.limit("GET /")];
    let first = tenant.take(&limits, 1).await.unwrap();
    assert!(first.is_admitted());
    assert_eq!(first.retry_after(), None);
    let left: Vec<_> = first.standings().iter().map(|it| it.remaining).collect();
    assert_eq!(left, [9, 0]);
    for _ in 0..20 {
        let refused = tenant.take(&limits, 1).await.unwrap();
        assert!(!refused.is_admitted());
        assert_eq!(refused.retry_after(), Some(SECOND));
        assert_eq!(refused.tightest().unwrap().most, 1);
    }
    let seen = tenant.peek(&[of_tenant.limit("")]).await.unwrap();
    assert_eq!(seen.standings()[0].remaining, 9);
    assert!(
        tenant
            .take(&[limits[0], of_route.limit("GET /x")], 9)
            .await
            .is_err()
    );
    clock.advance(SECOND);
    assert!(tenant.take(&limits, 1).await.unwrap().is_admitted());
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    for (most, window) in [
        (0, SECOND),
        (1, Duration::ZERO),
        (1, Duration::from_micros(999)),
        (1, Duration::MAX),
    ] {
        let error = Rule::new("tenant", most, window).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let tenant = limiter(&clock()).tenant(TenantId::generate());
    let rule = Rule::new("tenant", u64::MAX, SECOND).unwrap();
    let small = Rule::new("route", 5, SECOND).unwrap();
    let five = ["a", "b", "c", "d", "e"].map(|subject| rule.limit(subject));
    for (limits, cost, told) in [
        (&five[..0], 1, "one limit to four"),
        (&five[..], 1, "one limit to four"),
        (&[five[0], five[0]], 1, "twice"),
        (&five[..1], 0, "use peek"),
        (
            &[five[0], small.limit("")],
            6,
            "route: invalid input: a cost of 6 never passes a limit of 5",
        ),
    ] {
        let error = tenant.take(limits, cost).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(told), "{error}");
    }
    let all = tenant.take(&five[..1], u64::MAX).await.unwrap();
    assert!(all.is_admitted());
    assert!(
        !tenant
            .take(&five[..1], u64::MAX)
            .await
            .unwrap()
            .is_admitted()
    );
}

#[tokio::test]
async fn subjects_beyond_the_bound_are_not_counted_and_rules_say_what_becomes_of_them() {
    let clock = clock();
    let limits = MemoryLimits::with_clock(Arc::new(clock.clone())).with_most_subjects(1_000);
    let limits = Arc::new(limits);
    let tenant = RateLimiter::new(Arc::clone(&limits) as Arc<_>).tenant(TenantId::generate());
    let open = Rule::new("address", 1, SECOND).unwrap();
    let closed = open.clone().with_on_failure(OnFailure::Refuse);
    for number in 0..100_000 {
        let address = number.to_string();
        let taken = tenant.take(&[open.limit(&address)], 1).await.unwrap();
        assert!(taken.is_admitted());
        assert_eq!(taken.failure().is_some(), number >= 1_000, "{number}");
    }
    assert!(format!("{limits:?}").contains("subjects: 1000,"));
    let refused = tenant.take(&[closed.limit("further")], 1).await.unwrap();
    assert!(!refused.is_admitted());
    assert_eq!(refused.failure().unwrap().kind(), ErrorKind::Unavailable);
    let known = tenant.take(&[closed.limit("7")], 1).await.unwrap();
    assert!(!known.is_admitted() && known.failure().is_none());
    // With the window over, there is room again.
    clock.advance(SECOND);
    let counted = tenant.take(&[closed.limit("further")], 1).await.unwrap();
    assert!(counted.is_admitted() && counted.failure().is_none());
    assert!(format!("{limits:?}").contains("subjects: 1,"), "{limits:?}");
}

#[tokio::test]
async fn a_subject_that_is_over_is_counted_once_when_it_comes_again_with_another() {
    let clock = clock();
    let limits = Arc::new(MemoryLimits::with_clock(Arc::new(clock.clone())));
    let tenant = RateLimiter::new(Arc::clone(&limits) as Arc<_>).tenant(TenantId::generate());
    let rule = Rule::new("route", 10, SECOND).unwrap();
    for (subjects, counted) in [
        (&["old"][..], "subjects: 1,"),
        (&["old", "new"], "subjects: 2,"),
        (&["another"], "subjects: 3,"),
    ] {
        let under: Vec<_> = subjects.iter().map(|it| rule.limit(it)).collect();
        assert!(tenant.take(&under, 1).await.unwrap().is_admitted());
        assert!(format!("{limits:?}").contains(counted), "{limits:?}");
        if subjects.len() == 1 {
            clock.advance(SECOND);
        }
    }
}

/// Counts nothing.
#[derive(Debug)]
struct Broken;

#[async_trait::async_trait]
impl RateLimits for Broken {
    async fn take(&self, _: TenantId, _: &[Limit<'_>], _: u64) -> Result<Decision> {
        Err(Error::new(ErrorKind::Unavailable, "count"))
    }

    async fn peek(&self, _: TenantId, _: &[Limit<'_>]) -> Result<Decision> {
        Err(Error::new(ErrorKind::Unavailable, "count"))
    }

    async fn refund(&self, _: TenantId, _: &[Limit<'_>], _: u64) -> Result<()> {
        Err(Error::new(ErrorKind::Unavailable, "count"))
    }
}

#[tokio::test]
async fn where_nothing_can_be_counted_each_process_admits_its_share() {
    let processes = NonZeroU32::new(8).unwrap();
    let hour = 3_600 * SECOND;
    let rule = |most| {
        let rule = Rule::new("tenant", most, hour).unwrap();
        rule.with_on_failure(OnFailure::Share(processes))
    };
    let id = TenantId::generate();
    let mut admitted = 0;
    for _ in 0..8 {
        let limiter = RateLimiter::new(Arc::new(Broken));
        let (tenant, rule) = (limiter.tenant(id), rule(100));
        for _ in 0..100 {
            let taken = tenant.take(&[rule.limit("")], 1).await.unwrap();
            assert!(taken.failure().is_some());
            admitted += u64::from(taken.is_admitted());
        }
    }
    assert_eq!(admitted, 96, "12 of each");
    let tenant = RateLimiter::new(Arc::new(Broken)).tenant(id);
    let refuses = Rule::new("route", 100, hour)
        .unwrap()
        .with_on_failure(OnFailure::Refuse);
    for (limits, cost) in [
        (&[rule(7).limit("no share")][..], 1),
        (&[rule(100).limit("too much")][..], 13),
        (&[rule(100).limit("both"), refuses.limit("")][..], 1),
    ] {
        let taken = tenant.take(limits, cost).await.unwrap();
        assert!(!taken.is_admitted(), "{limits:?}");
    }
    let charged = tenant.take(&[rule(100).limit("both")], 12).await.unwrap();
    assert!(charged.is_admitted(), "what was refused is charged to none");
}

/// Of three uses one is taken back, the newest: the others count for as long as they would have.
#[tokio::test]
async fn a_refund_lets_no_window_have_too_many() {
    let clock = clock();
    let tenant = limiter(&clock).tenant(TenantId::generate());
    let rule = Rule::new("tenant", 2, SECOND).unwrap();
    let limits = [rule.limit("")];
    let takes = async || tenant.take(&limits, 1).await.unwrap().is_admitted();
    assert!(takes().await);
    clock.advance(SECOND / 2);
    assert!(takes().await);
    tenant.refund(&limits, 1).await.unwrap();
    clock.advance(SECOND / 4);
    assert!(takes().await, "half a second after the one that stays");
    clock.advance(SECOND / 4);
    assert!(!takes().await, "there are two within half a second");
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn conforms() {
    use tenantry_cache::conformance::rate_limits_conformance;

    rate_limits_conformance(Arc::new(MemoryLimits::new())).await;
}
