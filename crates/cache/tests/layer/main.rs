//! The limiter before services that speak HTTP.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod router;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use tenantry_cache::{
    Charge, MemoryLimits, RateLimitLayer, RateLimiter, Refusal, Rule, TenantLimiter,
};
use tenantry_core::{ErrorKind, ManualClock, TenantId};
use tower::{Layer as _, Service, ServiceExt as _};

const MINUTE: Duration = Duration::from_secs(60);

fn clock() -> ManualClock {
    ManualClock::new(Default::default())
}

fn limiter(clock: &ManualClock) -> RateLimiter {
    RateLimiter::new(Arc::new(MemoryLimits::with_clock(Arc::new(clock.clone()))))
}

fn rule(most: u64) -> Rule {
    Rule::new("tenant", most, MINUTE).unwrap()
}

/// Answers with a status, and counts; a clone is not ready.
#[derive(Debug)]
struct Answers {
    status: StatusCode,
    takes: Duration,
    clock: ManualClock,
    reached: Arc<AtomicUsize>,
    meanwhile: Option<(TenantLimiter, Rule)>,
    is_ready: bool,
}

impl Answers {
    fn new(clock: &ManualClock) -> Self {
        Self {
            status: StatusCode::OK,
            takes: Duration::ZERO,
            clock: clock.clone(),
            reached: Arc::default(),
            meanwhile: None,
            is_ready: false,
        }
    }
}

impl Clone for Answers {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            reached: Arc::clone(&self.reached),
            meanwhile: self.meanwhile.clone(),
            is_ready: false,
            ..*self
        }
    }
}

impl Service<Request<TenantId>> for Answers {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<TenantId>) -> Self::Future {
        assert!(self.is_ready, "it was called before it was ready");
        self.is_ready = false;
        self.reached.fetch_add(1, Ordering::SeqCst);
        self.clock.advance(self.takes);
        if let Some((tenant, rule)) = &self.meanwhile {
            let limits = [rule.limit("")];
            let taken = tenant.take(&limits, 1).now_or_never().unwrap();
            assert!(taken.unwrap().is_admitted());
        }
        let mut response = Response::new("served".to_owned());
        *response.status_mut() = self.status;
        std::future::ready(Ok(response))
    }
}

/// Returns a layer that charges each tenant by one rule.
fn by_rule(
    limiter: RateLimiter,
    rule: Rule,
) -> RateLimitLayer<impl Fn(&Request<TenantId>) -> Result<Option<Charge>, StatusCode> + Clone> {
    RateLimitLayer::new(move |request: &Request<TenantId>| {
        let charge = Charge::new(limiter.tenant(*request.body()));
        Ok(Some(charge.with_limit(&rule, "")))
    })
}

async fn ask<S>(service: &mut S, tenant: TenantId) -> Response<String>
where
    S: Service<Request<TenantId>, Response = Response<String>, Error = Infallible>,
{
    let ready = service.ready().await.unwrap();
    ready.call(Request::new(tenant)).await.unwrap()
}

fn field<'r>(response: &'r Response<String>, name: &str) -> Vec<&'r str> {
    let fields = response.headers().get_all(name);
    fields.iter().map(|it| it.to_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_refused_is_told_when_it_passes_and_reaches_no_service() {
    let clock = clock();
    let inner = Answers::new(&clock);
    let mut service = by_rule(limiter(&clock), rule(1)).layer(inner.clone());
    let [one, other] = [TenantId::generate(), TenantId::generate()];
    let admitted = ask(&mut service, one).await;
    assert_eq!(admitted.status(), StatusCode::OK);
    assert_eq!(
        field(&admitted, "RateLimit-Policy"),
        [r#""tenant";q=1;w=60"#]
    );
    assert_eq!(field(&admitted, "RateLimit"), [r#""tenant";r=0;t=60"#]);
    assert!(field(&admitted, "Retry-After").is_empty());
    clock.advance(MINUTE / 3);
    let refused = ask(&mut service, one).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        field(&refused, "RateLimit-Policy"),
        [r#""tenant";q=1;w=60"#]
    );
    assert_eq!(field(&refused, "RateLimit"), [r#""tenant";r=0;t=40"#]);
    assert_eq!(field(&refused, "Retry-After"), ["40"]);
    assert_eq!(inner.reached.load(Ordering::SeqCst), 1);
    assert_eq!(ask(&mut service, other).await.status(), StatusCode::OK);
    clock.advance(MINUTE * 2 / 3);
    assert_eq!(ask(&mut service, one).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_is_no_tenant_goes_on_or_is_refused_as_the_caller_says() {
    let inner = Answers::new(&clock());
    for (answer, status) in [
        (Ok(None), StatusCode::OK),
        (Err(StatusCode::UNAUTHORIZED), StatusCode::UNAUTHORIZED),
    ] {
        let layer = RateLimitLayer::new(move |_: &Request<TenantId>| answer.clone());
        let response = ask(&mut layer.layer(inner.clone()), TenantId::generate()).await;
        assert_eq!(response.status(), status);
        assert!(field(&response, "RateLimit").is_empty());
    }
    assert_eq!(inner.reached.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_function_makes_the_answer_to_what_is_refused() {
    let clock = clock();
    let layer = by_rule(limiter(&clock), rule(1)).with_refusal(|refusal: &Refusal| {
        let left = refusal.decision().unwrap().tightest().unwrap();
        Response::new(format!("{} of {}", left.remaining, left.most))
    });
    let mut service = layer.layer(Answers::new(&clock));
    let tenant = TenantId::generate();
    assert_eq!(ask(&mut service, tenant).await.body(), "served");
    let refused = ask(&mut service, tenant).await;
    assert_eq!(refused.body(), "0 of 1");
    assert_eq!(field(&refused, "Retry-After"), ["60"]);
}

#[tokio::test]
async fn limits_change_while_the_service_runs() {
    let clock = clock();
    let most = Arc::new(AtomicU64::new(1));
    let (limiter, told) = (limiter(&clock), Arc::clone(&most));
    let layer = RateLimitLayer::new(move |request: &Request<TenantId>| {
        let rule = rule(told.load(Ordering::SeqCst));
        Ok(Some(
            Charge::new(limiter.tenant(*request.body())).with_limit(&rule, ""),
        ))
    });
    let mut service = layer.layer(Answers::new(&clock));
    let tenant = TenantId::generate();
    assert_eq!(ask(&mut service, tenant).await.status(), StatusCode::OK);
    for (most_now, status) in [(1, StatusCode::TOO_MANY_REQUESTS), (2, StatusCode::OK)] {
        most.store(most_now, Ordering::SeqCst);
        assert_eq!(ask(&mut service, tenant).await.status(), status);
    }
}

#[tokio::test]
async fn a_charge_that_never_passes_is_a_mistake_of_the_service() {
    let clock = clock();
    let inner = Answers::new(&clock);
    let limiter = limiter(&clock);
    let layer = RateLimitLayer::new(move |request: &Request<TenantId>| {
        let charge = Charge::new(limiter.tenant(*request.body())).with_cost(2);
        Ok(Some(charge.with_limit(&rule(1), "")))
    });
    let layer = layer.with_refusal(|refusal: &Refusal| {
        let error = refusal.error().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let mut response = Response::new(String::new());
        *response.status_mut() = refusal.status();
        response
    });
    let response = ask(&mut layer.layer(inner.clone()), TenantId::generate()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(inner.reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_fault_of_the_service_is_not_charged_if_it_says_so() {
    let clock = clock();
    for (refunds, served) in [(false, 2), (true, 5)] {
        let mut inner = Answers::new(&clock);
        inner.status = StatusCode::BAD_GATEWAY;
        let mut layer = by_rule(limiter(&clock), rule(2));
        if refunds {
            layer = layer.with_refund_on(|status| status.is_server_error());
        }
        let mut service = layer.layer(inner.clone());
        let tenant = TenantId::generate();
        for _ in 0..5 {
            ask(&mut service, tenant).await;
        }
        assert_eq!(inner.reached.load(Ordering::SeqCst), served);
    }
}

/// After the window the charge is gone: what others were charged would be taken back.
#[tokio::test]
async fn nothing_is_taken_back_after_its_window() {
    let clock = clock();
    let (rule, limiter) = (rule(3), limiter(&clock));
    let layer = by_rule(limiter.clone(), rule.clone())
        .with_refund_on(|status| status.is_server_error())
        .with_clock(Arc::new(clock.clone()));
    for (takes, left) in [(MINUTE / 2, 3), (MINUTE, 2)] {
        let mut inner = Answers::new(&clock);
        (inner.status, inner.takes) = (StatusCode::BAD_GATEWAY, takes);
        let tenant = limiter.tenant(TenantId::generate());
        let limits = [rule.limit("")];
        // What another request is charged while this one is served.
        inner.meanwhile = (takes == MINUTE).then(|| (tenant.clone(), rule.clone()));
        ask(&mut layer.layer(inner), tenant.tenant()).await;
        let seen = tenant.peek(&limits).await.unwrap();
        assert_eq!(seen.standings()[0].remaining, left);
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_before_it_begins_is_not_charged() {
    let clock = clock();
    let mut service = by_rule(limiter(&clock), rule(1)).layer(Answers::new(&clock));
    let tenant = TenantId::generate();
    drop(service.ready().await.unwrap().call(Request::new(tenant)));
    assert_eq!(ask(&mut service, tenant).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn layers_one_in_another_tell_of_both() {
    let clock = clock();
    let limiter = limiter(&clock);
    let inner = by_rule(limiter.clone(), Rule::new("inner", 1, MINUTE).unwrap());
    let outer = by_rule(limiter, Rule::new("outer", 9, MINUTE).unwrap());
    let mut service = outer.layer(inner.layer(Answers::new(&clock)));
    let tenant = TenantId::generate();
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let response = ask(&mut service, tenant).await;
        assert_eq!(response.status(), status);
        assert_eq!(field(&response, "RateLimit-Policy").len(), 2);
        assert_eq!(field(&response, "RateLimit")[0], r#""inner";r=0;t=60"#);
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn where_nothing_can_be_counted_the_rule_decides() {
    use tenantry_cache::{OnFailure, RedisLimits, RedisSettings};

    let settings = RedisSettings::new("redis://127.0.0.1:1");
    let limiter = RateLimiter::new(Arc::new(RedisLimits::new(&settings).unwrap()));
    for (on_failure, status) in [
        (OnFailure::Admit, StatusCode::OK),
        (OnFailure::Refuse, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let rule = rule(1).with_on_failure(on_failure);
        let mut service = by_rule(limiter.clone(), rule).layer(Answers::new(&clock()));
        for _ in 0..2 {
            let response = ask(&mut service, TenantId::generate()).await;
            assert_eq!(response.status(), status);
            assert_eq!(
                field(&response, "RateLimit-Policy"),
                [r#""tenant";q=1;w=60"#]
            );
            assert!(field(&response, "RateLimit").is_empty());
        }
    }
}
