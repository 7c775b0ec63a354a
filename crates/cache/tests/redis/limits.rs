//! Rate limits that several processes share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_cache::{OnFailure, RateLimiter, RedisLimits, RedisSettings, Rule, TenantLimiter};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::{RedisServer, StopMode};

const MINUTE: Duration = Duration::from_secs(60);

fn limiter(url: &str) -> RateLimiter {
    let settings = RedisSettings::new(url).with_prefix("limits");
    RateLimiter::new(Arc::new(RedisLimits::new(&settings).unwrap()))
}

async fn shared() -> RateLimiter {
    limiter(RedisServer::shared().await.unwrap().url())
}

async fn takes(tenant: &TenantLimiter, rule: &Rule, cost: u64) -> bool {
    let taken = tenant.take(&[rule.limit("")], cost).await.unwrap();
    assert!(taken.failure().is_none(), "{:?}", taken.failure());
    taken.is_admitted()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_pass_as_are_allowed_on_eight_nodes() {
    let server = RedisServer::shared().await.unwrap();
    for most in [1, 100, 1_000, 3_000] {
        let id = TenantId::generate();
        let rule = Rule::new("tenant", most, MINUTE).unwrap();
        let tasks: Vec<_> = (0..8)
            .flat_map(|_| {
                let limiter = limiter(server.url());
                (0..64).map(move |_| limiter.tenant(id))
            })
            .map(|tenant| {
                let rule = rule.clone();
                tokio::spawn(async move {
                    let mut admitted = 0;
                    for _ in 0..8 {
                        admitted += u64::from(takes(&tenant, &rule, 1).await);
                    }
                    admitted
                })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.unwrap();
        }
        assert_eq!(admitted, most.min(8 * 64 * 8));
    }
}

#[tokio::test]
async fn what_one_limit_refuses_is_charged_to_none() {
    let tenant = shared().await.tenant(TenantId::generate());
    let of_tenant = Rule::new("tenant", 10, MINUTE).unwrap();
    let of_route = Rule::new("route", 1, MINUTE).unwrap();
    let limits = [of_tenant.limit(""), of_route.limit("GET /")];
    let first = tenant.take(&limits, 1).await.unwrap();
    assert!(first.is_admitted());
    let left: Vec<_> = first.standings().iter().map(|it| it.remaining).collect();
    assert_eq!(left, [9, 0]);
    for _ in 0..20 {
        let refused = tenant.take(&limits, 1).await.unwrap();
        assert!(!refused.is_admitted());
        let wait = refused.retry_after().unwrap();
        assert!(wait > MINUTE * 9 / 10 && wait <= MINUTE, "{wait:?}");
        assert_eq!(refused.standings()[0].retry_after, Duration::ZERO);
    }
    let seen = tenant.peek(&[of_tenant.limit("")]).await.unwrap();
    assert_eq!(seen.standings()[0].remaining, 9);
}

#[tokio::test]
async fn a_refund_makes_room_and_a_look_takes_none() {
    for most in [3, 3_000] {
        let tenant = shared().await.tenant(TenantId::generate());
        let rule = Rule::new("exports", most, MINUTE).unwrap();
        let limits = [rule.limit("user:17")];
        for _ in 0..10 {
            assert!(tenant.peek(&limits).await.unwrap().is_admitted());
        }
        for cost in [1, most - 1] {
            assert!(tenant.take(&limits, cost).await.unwrap().is_admitted());
        }
        assert!(!tenant.peek(&limits).await.unwrap().is_admitted());
        tenant.refund(&limits, 2).await.unwrap();
        let seen = tenant.peek(&limits).await.unwrap();
        assert_eq!(seen.standings()[0].remaining, 2);
        assert!(tenant.take(&limits, 2).await.unwrap().is_admitted());
        tenant.refund(&limits, u64::MAX).await.unwrap();
        assert!(tenant.take(&limits, most).await.unwrap().is_admitted());
    }
}

#[tokio::test]
async fn tenants_rules_and_subjects_are_counted_apart_whatever_they_are_called() {
    let limiter = shared().await;
    let names = [
        "",
        "a",
        "a:b",
        "A",
        "{x}",
        "*",
        "\0",
        "a\0b",
        &"x".repeat(300),
    ];
    for _ in 0..2 {
        let tenant = limiter.tenant(TenantId::generate());
        for name in names {
            let rule = Rule::new(name, 1, MINUTE).unwrap();
            for subject in names {
                let limit = [rule.limit(subject)];
                assert!(tenant.take(&limit, 1).await.unwrap().is_admitted());
                assert!(!tenant.take(&limit, 1).await.unwrap().is_admitted());
            }
        }
    }
}

#[tokio::test]
async fn another_limit_under_the_same_name_goes_on_from_the_same_count() {
    let tenant = shared().await.tenant(TenantId::generate());
    let rule = |most| Rule::new("tenant", most, MINUTE).unwrap();
    assert!(takes(&tenant, &rule(100), 60).await);
    assert!(!takes(&tenant, &rule(50), 1).await);
    assert!(takes(&tenant, &rule(2_000), 1_940).await);
    assert!(!takes(&tenant, &rule(2_000), 1).await);
}

/// By the times between which each was admitted: whatever was surely within one window is no more than
/// allowed. And who waits as told is let in.
#[tokio::test(flavor = "multi_thread")]
async fn no_window_has_more_than_the_limit_and_the_wait_that_is_told_is_enough() {
    let window = Duration::from_millis(100);
    for most in [5, 1_200] {
        let tenant = shared().await.tenant(TenantId::generate());
        let rule = Rule::new("tenant", most, window).unwrap();
        let cost = most / 5;
        let begun = Instant::now();
        let mut admitted: Vec<(Duration, Duration)> = Vec::new();
        let mut refusals = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            let before = begun.elapsed();
            let taken = tenant.take(&[rule.limit("")], cost).await.unwrap();
            let after = begun.elapsed();
            if taken.is_admitted() {
                admitted.push((before, after));
                continue;
            }
            refusals += 1;
            let wait = taken.retry_after().unwrap();
            assert!(
                wait <= window + window / 60 + Duration::from_millis(1),
                "{wait:?}"
            );
            if refusals % 3 == 0 {
                tokio::time::sleep(wait).await;
                let before = begun.elapsed();
                assert!(
                    takes(&tenant, &rule, cost).await,
                    "after the wait that was told"
                );
                admitted.push((before, begun.elapsed()));
            }
        }
        assert!(admitted.len() > 20 && refusals > 3, "{admitted:?}");
        for (index, (first, _)) in admitted.iter().enumerate() {
            let within = admitted[index..]
                .iter()
                .filter(|(_, after)| *after < *first + window);
            assert!(within.count() <= 5, "from {first:?}: {admitted:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_counted_is_admitted_or_refused_as_the_rule_says() {
    let server = RedisServer::start().await.unwrap();
    let tenant = limiter(server.url()).tenant(TenantId::generate());
    let open = Rule::new("open", 1, MINUTE).unwrap();
    let closed = open.clone().with_on_failure(OnFailure::Refuse);
    assert!(takes(&tenant, &open, 1).await);
    server.stop(StopMode::Immediate).await.unwrap();
    for (rule, is_admitted) in [(&open, true), (&closed, false)] {
        let taken = tenant.take(&[rule.limit("")], 1).await.unwrap();
        assert_eq!(taken.is_admitted(), is_admitted);
        let failure = taken.failure().unwrap();
        assert_eq!(failure.kind(), ErrorKind::Unavailable, "{failure:?}");
    }
    server.restart().await.unwrap();
    super::until(|| async {
        let taken = tenant.take(&[open.limit("again")], 1).await.unwrap();
        taken.failure().is_none()
    })
    .await;
    let huge = Rule::new("huge", u64::MAX, MINUTE).unwrap();
    let refused = tenant.take(&[huge.limit("")], 1).await.unwrap();
    assert_eq!(refused.failure().unwrap().kind(), ErrorKind::Unsupported);
}

/// Set back or ahead, it never lets in more at once than allowed, and refuses nobody for ever.
#[tokio::test]
async fn nothing_is_kept_without_an_end_and_no_clock_refuses_for_ever() {
    let server = RedisServer::start().await.unwrap();
    let tenant = limiter(server.url()).tenant(TenantId::generate());
    let rule = Rule::new("tenant", 10, MINUTE).unwrap();
    assert!(takes(&tenant, &rule, 3).await);
    tenant.refund(&[rule.limit("")], 1).await.unwrap();
    let _ = tenant.peek(&[rule.limit("")]).await.unwrap();
    let key = format!("limits:{{t:{}}}:limit:tenant:%-", tenant.tenant());
    let lives = server.ask(&["pttl", &key]).await.unwrap();
    assert!(
        (1..=60_001).contains(&lives.parse::<i64>().unwrap()),
        "{lives}"
    );
    // As if the clock had been a year ahead.
    server.execute(&["del", &key]).await.unwrap();
    let ahead = server.ask(&["eval", "return redis.call('TIME')[1] + 31536000", "0"]);
    let ahead = ahead.await.unwrap();
    let use_ = format!("{ahead}000000 10 10");
    server.execute(&["rpush", &key, &use_]).await.unwrap();
    let refused = tenant.take(&[rule.limit("")], 1).await.unwrap();
    assert!(!refused.is_admitted());
    assert!(refused.retry_after().unwrap() <= 2 * MINUTE);
}
