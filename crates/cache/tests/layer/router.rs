//! Before a router of axum.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use tenantry_cache::{Charge, RateLimitLayer, Refusal, Rule};
use tenantry_core::TenantId;
use tower::ServiceExt as _;

use super::{MINUTE, clock, limiter};

fn request(path: &str, tenant: Option<TenantId>) -> Request {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    if let Some(tenant) = tenant {
        request.extensions_mut().insert(tenant);
    }
    request
}

#[tokio::test]
async fn routes_are_limited_by_their_patterns_for_each_tenant() {
    let limiter = limiter(&clock());
    let rule = Rule::new("route", 2, MINUTE).unwrap();
    let layer = RateLimitLayer::new(move |request: &Request| {
        let extensions = request.extensions();
        let tenant = extensions.get::<TenantId>();
        let tenant = tenant.ok_or(StatusCode::UNAUTHORIZED)?;
        let route = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let route = route.unwrap_or_default().to_owned();
        Ok(Some(
            Charge::new(limiter.tenant(*tenant)).with_limit(&rule, route),
        ))
    });
    let layer = layer.with_refusal(|refusal: &Refusal| (refusal.status(), "later").into_response());
    let router = Router::new()
        .route("/invoices/{id}", get(|| async { "an invoice" }))
        .route("/customers/{id}", get(|| async { "a customer" }))
        .layer(layer);
    let [one, other] = [TenantId::generate(), TenantId::generate()];
    for (path, tenant, status) in [
        ("/invoices/1", Some(one), 200),
        ("/invoices/2", Some(one), 200),
        ("/invoices/3", Some(one), 429),
        ("/customers/3", Some(one), 200),
        ("/invoices/3", Some(other), 200),
        ("/invoices/3", None, 401),
    ] {
        let response = router.clone().oneshot(request(path, tenant)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        if status == 429 {
            assert_eq!(response.headers()["Retry-After"], "60");
            let body = to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(&*body, b"later");
        }
    }
}
