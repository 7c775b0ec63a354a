//! Logins of two tenants behind cookies and rate limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use tenantry::cache::{
    Charge, RateLimitLayer, RateLimiter, RateLimits, Rule, SessionPolicy, SessionStore, Sessions,
    TowerSessionStore,
};
use tenantry::{Result, TenantId};
use tower::{Layer as _, ServiceExt as _};
use tower_sessions::{Session, SessionManagerLayer};

/// Which tenant has which host name.
pub type Tenants = HashMap<&'static str, TenantId>;

const MINUTE: Duration = Duration::from_secs(60);
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
    let of_tenant = Rule::new("tenant", 1_000, MINUTE)?;
    let of_login = Rule::new("login", 5, MINUTE)?;
    let limit = RateLimitLayer::new(move |request: &Request| {
        let charge = Charge::new(limiter.tenant(tenant_of(request)?)).with_limit(&of_tenant, "");
        let is_login = request.uri().path() == "/login";
        Ok(Some(if is_login {
            charge.with_limit(&of_login, "")
        } else {
            charge
        }))
    });
    Ok(Router::new()
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/logout", post(logout))
        // The one that is added last is the first that a request meets.
        .layer(from_fn_with_state(sessions, with_session))
        .layer(limit)
        .layer(from_fn_with_state(Arc::new(tenants), with_tenant)))
}

/// Finds the tenant by the host that the request names.
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
    // A service that is reached by https leaves `with_secure` out.
    let layer = SessionManagerLayer::new(TowerSessionStore::new(&tenant)).with_secure(false);
    let Ok(response) = layer.layer(next).oneshot(request).await;
    Ok(response)
}

/// Signs in whoever the body names: the password is left to the service.
async fn login(session: Session, user: String) -> Result<(), StatusCode> {
    // Who planted the id before the sign-in has nothing.
    session.cycle_id().await.map_err(unavailable)?;
    session.insert(USER, user).await.map_err(unavailable)
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
