//! Rate limits that several processes share.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_cache::{
    LeasePolicy, LeasedLimits, OnFailure, RateLimiter, RedisLimits, RedisSettings, Rule,
    TenantLimiter,
};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::{RedisServer, StopMode};

use super::events::Events;
use super::until;

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

/// Each by a client of its own, with a twentieth of the limit among them.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_leases_admit_no_more_than_the_limit_and_hold_no_more_than_their_leases() {
    let server = RedisServer::shared().await.unwrap();
    let policy = LeasePolicy::new(NonZeroU32::new(4).unwrap());
    let (id, rule) = (
        TenantId::generate(),
        Rule::new("tenant", 3_000, MINUTE).unwrap(),
    );
    let tasks: Vec<_> = (0..4)
        .flat_map(|_| {
            let settings = RedisSettings::new(server.url()).with_prefix("leases");
            let limits = Arc::new(RedisLimits::new(&settings).unwrap());
            let limiter = RateLimiter::new(Arc::new(LeasedLimits::new(limits, policy)));
            (0..16).map(move |_| limiter.tenant(id))
        })
        .map(|tenant| {
            let rule = rule.clone();
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..100 {
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
    assert!(admitted <= 3_000, "{admitted}");
    assert!(admitted >= 3_000 - policy.overshoot(&rule), "{admitted}");
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

#[tokio::test]
async fn a_failure_names_what_was_asked_for() {
    // It is refused before any server is asked.
    let tenant = limiter("redis://127.0.0.1:1").tenant(TenantId::generate());
    let huge = Rule::new("huge", u64::MAX, MINUTE).unwrap();
    let limits = [huge.limit("")];
    let taken = tenant.take(&limits, 1).await.unwrap();
    let seen = tenant.peek(&limits).await.unwrap();
    let refunded = tenant.refund(&limits, 1).await.unwrap_err();
    for (failure, operation) in [
        (taken.failure().unwrap(), "take from rate limits"),
        (seen.failure().unwrap(), "look at rate limits"),
        (&refunded, "refund to rate limits"),
    ] {
        assert_eq!(failure.operation(), operation);
    }
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
    let push = "local at = (redis.call('TIME')[1] + 31536000) * 1000000 \
                return redis.call('RPUSH', KEYS[1], struct.pack('>dddddd', at, 10, 10, at, 10, 10))";
    server.execute(&["eval", push, "1", &key]).await.unwrap();
    let refused = tenant.take(&[rule.limit("")], 1).await.unwrap();
    assert!(!refused.is_admitted());
    assert!(refused.retry_after().unwrap() <= 2 * MINUTE);
}

#[tokio::test]
async fn that_nothing_is_counted_is_told_once_and_that_it_is_over() {
    let server = RedisServer::start().await.unwrap();
    let tenant = limiter(server.url()).tenant(TenantId::generate());
    let rule = Rule::new("tenant", 1_000, MINUTE).unwrap();
    let limits = [rule.limit("")];
    let events = Events::hear();
    assert!(takes(&tenant, &rule, 1).await);
    server.stop(StopMode::Immediate).await.unwrap();
    for _ in 0..3 {
        assert!(tenant.take(&limits, 1).await.unwrap().failure().is_some());
    }
    let told = events.take();
    assert_eq!(told.matches("cannot be counted").count(), 1, "{told}");
    server.restart().await.unwrap();
    until(|| async { tenant.take(&limits, 1).await.unwrap().failure().is_none() }).await;
    let told = events.take();
    assert_eq!(told.matches("counted again").count(), 1, "{told}");
}

/// As the form of records before this one was, or as one that was cut: neither admits nor refuses for ever.
#[tokio::test]
async fn a_record_of_another_form_does_not_switch_a_limit_off() {
    let server = RedisServer::start().await.unwrap();
    let settings = RedisSettings::new(server.url()).with_prefix("limits");
    let limiter = RateLimiter::new(Arc::new(RedisLimits::new(&settings).unwrap()));
    for record in ["1764441900000000 1 1", "cut", ""] {
        let tenant = limiter.tenant(TenantId::generate());
        let open = Rule::new("open", 3, MINUTE).unwrap();
        let closed = Rule::new("closed", 3, MINUTE).unwrap();
        let closed = closed.with_on_failure(OnFailure::Refuse);
        for (rule, name) in [(&open, "open"), (&closed, "closed")] {
            let key = format!("limits:{{t:{}}}:limit:{name}:%-", tenant.tenant());
            server.execute(&["rpush", &key, record]).await.unwrap();
            let mut admitted = 0;
            for _ in 0..10 {
                let taken = tenant.take(&[rule.limit("")], 1).await.unwrap();
                admitted += u32::from(taken.is_admitted());
            }
            let lives = server.ask(&["pttl", &key]).await.unwrap();
            assert!(
                (1..=3).contains(&admitted) && lives != "-1",
                "{name}: {admitted} of 3 admitted, and the key lives for {lives}"
            );
        }
    }
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn conforms() {
    use tenantry_cache::conformance::rate_limits_conformance;

    let server = RedisServer::shared().await.unwrap();
    let settings = RedisSettings::new(server.url()).with_prefix("conformance");
    let limits = Arc::new(RedisLimits::new(&settings).unwrap());
    rate_limits_conformance(Arc::clone(&limits) as Arc<_>).await;
    let policy = LeasePolicy::new(NonZeroU32::MIN);
    rate_limits_conformance(Arc::new(LeasedLimits::new(limits, policy))).await;
}
