//! Rate limits in trouble: floods, late answers, other runtimes, names that look like others.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Decision, Limit, MemoryLimits, OnFailure, RateLimiter, RateLimits, Rule};
use tenantry_core::{Error, ErrorKind, ManualClock, Result, TenantId};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn clock() -> ManualClock {
    ManualClock::new("2026-01-31T12:00:00Z".parse().unwrap())
}

fn memory(clock: &ManualClock) -> RateLimiter {
    RateLimiter::new(Arc::new(MemoryLimits::with_clock(Arc::new(clock.clone()))))
}

/// "A subject whose window is over takes no room."
#[tokio::test]
async fn subjects_that_are_over_make_room_for_every_tenant() {
    let clock = clock();
    let limits = MemoryLimits::with_clock(Arc::new(clock.clone())).with_most_subjects(1_000);
    let limiter = RateLimiter::new(Arc::new(limits));
    let rule = Rule::new("address", 1, SECOND).unwrap();
    // One tenant fills it, and goes away.
    let flood = limiter.tenant(TenantId::generate());
    for number in 0..1_000 {
        let address = number.to_string();
        let taken = flood.take(&[rule.limit(&address)], 1).await.unwrap();
        assert!(taken.failure().is_none());
    }
    // A day later all its windows are over.
    clock.advance(DAY);
    let mut uncounted = 0;
    for _ in 0..200 {
        let tenant = limiter.tenant(TenantId::generate());
        for _ in 0..3 {
            clock.advance(Duration::from_millis(200));
            let taken = tenant.take(&[rule.limit("")], 1).await.unwrap();
            uncounted += u32::from(taken.failure().is_some());
        }
    }
    assert_eq!(
        uncounted, 0,
        "of 600 requests were admitted without a count"
    );
}

/// "`refund` takes back the oldest that is counted"; up to 1,000 nobody is refused without need.
#[tokio::test]
async fn a_refund_takes_what_is_counted_memory() {
    let clock = clock();
    let tenant = memory(&clock).tenant(TenantId::generate());
    let rule = Rule::new("tenant", 2, SECOND).unwrap();
    let limits = [rule.limit("")];
    assert!(tenant.take(&limits, 1).await.unwrap().is_admitted());
    clock.advance(SECOND * 9 / 10);
    assert!(tenant.take(&limits, 1).await.unwrap().is_admitted());
    clock.advance(SECOND / 2);
    // The first one counts no more; what is taken back is the second, within its window.
    tenant.refund(&limits, 1).await.unwrap();
    let seen = tenant.peek(&limits).await.unwrap();
    assert_eq!(seen.standings()[0].remaining, 2);
    assert!(tenant.take(&limits, 2).await.unwrap().is_admitted());
}

/// Answers late: the clock goes on between the charge and the answer.
#[derive(Debug)]
struct Late {
    inner: MemoryLimits,
    clock: ManualClock,
    by: Duration,
}

#[async_trait::async_trait]
impl RateLimits for Late {
    async fn take(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<Decision> {
        let taken = self.inner.take(tenant, limits, cost).await;
        self.clock.advance(self.by);
        taken
    }

    async fn peek(&self, tenant: TenantId, limits: &[Limit<'_>]) -> Result<Decision> {
        self.inner.peek(tenant, limits).await
    }

    async fn refund(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<()> {
        self.inner.refund(tenant, limits, cost).await
    }
}

/// "A limit whose window is over by then is left as it is": by the time of the charge, not by that of its
/// answer, which may be half a second later.
#[cfg(feature = "tower")]
#[tokio::test]
async fn the_layer_takes_nothing_back_after_the_window_of_the_charge() {
    use http::{Request, Response, StatusCode};
    use tenantry_cache::{Charge, RateLimitLayer};
    use tower::{Layer as _, Service as _, service_fn};

    let clock = clock();
    let backend = Arc::new(Late {
        inner: MemoryLimits::with_clock(Arc::new(clock.clone())),
        clock: clock.clone(),
        by: Duration::from_millis(400),
    });
    let limiter = RateLimiter::new(Arc::clone(&backend) as Arc<_>);
    let rule = Rule::new("tenant", 1, SECOND).unwrap();
    let id = TenantId::generate();
    let layer = RateLimitLayer::new({
        let (limiter, rule) = (limiter.clone(), rule.clone());
        move |_: &Request<()>| Ok(Some(Charge::new(limiter.tenant(id)).with_limit(&rule, "")))
    })
    .with_refund_on(|status| status.is_server_error())
    .with_clock(Arc::new(clock.clone()));
    let mut service = layer.layer(service_fn({
        let (clock, backend, rule) = (clock.clone(), Arc::clone(&backend), rule.clone());
        move |_: Request<()>| {
            let (clock, backend, rule) = (clock.clone(), Arc::clone(&backend), rule.clone());
            async move {
                // A second after the charge another request is admitted; this one is served in 900 ms.
                clock.advance(Duration::from_millis(600));
                let other = backend.inner.take(id, &[rule.limit("")], 1).await.unwrap();
                assert!(other.is_admitted());
                clock.advance(Duration::from_millis(300));
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                Ok::<_, std::convert::Infallible>(response)
            }
        }
    }));
    service.call(Request::new(())).await.unwrap();
    let third = limiter.tenant(id).take(&[rule.limit("")], 1).await.unwrap();
    assert!(!third.is_admitted(), "two within 300 ms, of one a second");
}

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

/// "`peek` says what a cost of one would meet".
#[tokio::test]
async fn a_look_says_what_a_take_would_meet_where_each_has_its_share() {
    let tenant = RateLimiter::new(Arc::new(Broken)).tenant(TenantId::generate());
    let processes = NonZeroU32::new(8).unwrap();
    let share = OnFailure::Share(processes);
    for most in [7, 8] {
        let rule = Rule::new("tenant", most, MINUTE)
            .unwrap()
            .with_on_failure(share);
        let limits = [rule.limit("")];
        for _ in 0..3 {
            let seen = tenant.peek(&limits).await.unwrap().is_admitted();
            let taken = tenant.take(&limits, 1).await.unwrap().is_admitted();
            assert_eq!(seen, taken, "a limit of {most}");
        }
    }
}

#[cfg(feature = "redis")]
mod redis {
    use sha2::{Digest as _, Sha256};
    use tenantry_cache::{RedisLimits, RedisSettings};
    use tenantry_testkit::RedisServer;

    use super::*;

    async fn limiter() -> RateLimiter {
        let server = RedisServer::shared().await.unwrap();
        let settings = RedisSettings::new(server.url())
            .with_prefix("trouble")
            .with_timeout(Duration::from_secs(10));
        RateLimiter::new(Arc::new(RedisLimits::new(&settings).unwrap()))
    }

    #[tokio::test]
    async fn a_refund_takes_what_is_counted_redis() {
        let tenant = limiter().await.tenant(TenantId::generate());
        let rule = Rule::new("tenant", 2, 2 * SECOND).unwrap();
        let limits = [rule.limit("")];
        assert!(tenant.take(&limits, 1).await.unwrap().is_admitted());
        tokio::time::sleep(Duration::from_millis(1_800)).await;
        assert!(tenant.take(&limits, 1).await.unwrap().is_admitted());
        tokio::time::sleep(Duration::from_millis(400)).await;
        tenant.refund(&limits, 1).await.unwrap();
        let seen = tenant.peek(&limits).await.unwrap();
        assert_eq!(seen.standings()[0].remaining, 2);
    }

    fn hashed(text: &str) -> String {
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256~{hex}")
    }

    /// Invariant 9: "escaping that cannot collide".
    #[tokio::test]
    async fn no_two_subjects_share_a_count() {
        let tenant = limiter().await.tenant(TenantId::generate());
        let rule = Rule::new("path", 1, MINUTE).unwrap();
        let long = format!("/files/{}", "x".repeat(250));
        let short = hashed(&long);
        assert!(
            tenant
                .take(&[rule.limit(&short)], 1)
                .await
                .unwrap()
                .is_admitted()
        );
        let other = tenant.take(&[rule.limit(&long)], 1).await.unwrap();
        assert!(other.failure().is_none());
        assert!(other.is_admitted(), "another subject has used it up");
    }

    /// "Never one request too many": of two limits that are one key, both are charged and one is counted.
    #[tokio::test]
    async fn two_subjects_that_collide_are_not_charged_as_one() {
        let tenant = limiter().await.tenant(TenantId::generate());
        let rule = Rule::new("path", 4, MINUTE).unwrap();
        let long = format!("/files/{}", "x".repeat(250));
        let short = hashed(&long);
        let mut admitted = 0;
        for _ in 0..20 {
            let limits = [rule.limit(&short), rule.limit(&long)];
            admitted += u32::from(tenant.take(&limits, 1).await.unwrap().is_admitted());
        }
        assert!(admitted <= 4, "{admitted} admitted of 4");
    }
}
