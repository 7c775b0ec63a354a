//! Logins of two tenants behind cookies and rate limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tenantry::cache::{
    Charge, OnFailure, RateLimitLayer, RateLimiter, RateLimits, Rule, SessionPolicy, SessionStore,
    Sessions, TowerSessionStore,
};
use tenantry::{Result, TenantId};
use tower::{Layer as _, ServiceExt as _};
use tower_sessions::cookie::time;
use tower_sessions::{Expiry, Session, SessionManagerLayer};

/// Which tenant has which host name.
pub type Tenants = HashMap<&'static str, TenantId>;

const MINUTE: Duration = Duration::from_secs(60);
const IDLE: time::Duration = time::Duration::minutes(30);
const USER: &str = "user";

/// Returns the service, over whichever backends of sessions and limits.
///
/// # Errors
///
/// `InvalidInput` and `InvalidSettings`: a rule or the policy allows nothing.
pub fn router(
    tenants: Tenants,
    sessions: Arc<dyn SessionStore>,
    limits: Arc<dyn RateLimits>,
) -> Result<Router> {
    let sessions = Sessions::new(sessions, SessionPolicy::default())?;
    let limiter = RateLimiter::new(limits);
    let logins = Logins {
        limiter: limiter.clone(),
        // Who guesses is not let in while nobody can count.
        of_user: Rule::new("login", 5, MINUTE)?.with_on_failure(OnFailure::Refuse),
    };
    let of_tenant = Rule::new("tenant", 1_000, MINUTE)?;
    let limit = RateLimitLayer::new(move |request: &Request| {
        let charge = Charge::new(limiter.tenant(tenant_of(request)?));
        Ok(Some(charge.with_limit(&of_tenant, "")))
    });
    Ok(Router::new()
        .route("/login", post(login).with_state(logins))
        .route("/me", get(me))
        .route("/logout", post(logout))
        // The one that is added last is the first that a request meets.
        .layer(from_fn_with_state(sessions, with_session))
        .layer(limit)
        .layer(from_fn_with_state(Arc::new(tenants), with_tenant)))
}

/// Finds the tenant by the host that the request names: whoever signs in has shown nothing else yet, and
/// a session is one of this tenant alone. Where a token tells the tenant, take it from the token.
async fn with_tenant(
    State(tenants): State<Arc<Tenants>>,
    mut request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (name, _port) = host.split_once(':').unwrap_or((host, ""));
    let tenant = *tenants.get(name).ok_or(StatusCode::NOT_FOUND)?;
    request.extensions_mut().insert(tenant);
    Ok(next.run(request).await)
}

fn tenant_of(request: &Request) -> Result<TenantId, StatusCode> {
    let tenant = request.extensions().get::<TenantId>().copied();
    tenant.ok_or(StatusCode::NOT_FOUND)
}

/// Lets the request have its session, if it is one of its tenant: any other cookie is nobody's.
async fn with_session(
    State(sessions): State<Sessions<()>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let tenant = sessions.tenant(tenant_of(&request)?);
    let layer = SessionManagerLayer::new(TowerSessionStore::new(&tenant))
        // A request renews it, also one that changes nothing.
        .with_expiry(Expiry::OnInactivity(IDLE))
        .with_always_save(true)
        // A service that is reached by https leaves this out.
        .with_secure(false);
    let Ok(response) = layer.layer(next).oneshot(request).await;
    Ok(response)
}

/// How often somebody may try to sign in.
#[derive(Clone)]
struct Logins {
    limiter: RateLimiter,
    of_user: Rule,
}

/// Signs in whoever the body names: the password is left to the service.
async fn login(
    State(logins): State<Logins>,
    Extension(tenant): Extension<TenantId>,
    session: Session,
    user: String,
) -> Result<HeaderMap, Response> {
    // By the user, or who guesses for one would lock out all.
    let limits = [logins.of_user.limit(&user)];
    let decision = logins.limiter.tenant(tenant).take(&limits, 1).await;
    let decision = decision.map_err(|_| StatusCode::BAD_REQUEST.into_response())?;
    let headers = decision.headers(&limits).into_iter();
    let headers: HeaderMap = headers
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
        .collect();
    if !decision.is_admitted() {
        return Err((StatusCode::TOO_MANY_REQUESTS, headers).into_response());
    }
    let unavailable = |error| unavailable(error).into_response();
    // Who planted the id before the sign-in has nothing.
    session.cycle_id().await.map_err(unavailable)?;
    session.insert(USER, user).await.map_err(unavailable)?;
    Ok(headers)
}

async fn me(session: Session) -> Result<String, StatusCode> {
    let user = session.get::<String>(USER).await.map_err(unavailable)?;
    user.ok_or(StatusCode::UNAUTHORIZED)
}

async fn logout(session: Session) -> Result<(), StatusCode> {
    session.flush().await.map_err(unavailable)
}

fn unavailable(_: tower_sessions::session::Error) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}
