//! What browsers may ask for.

use axum::Router;
use axum::extract::{Form, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;
use tenantry::TenantId;
use tenantry::cache::{Charge, RateLimitLayer};
use uuid::Uuid;

use super::pages::{self, Home, Limits, Operations};
use super::peers::{Peer, Refused, file};
use super::tenant::with_tenant;
use super::visitor::{OfOperator, SignedIn, Visitor, set_cookie};
use super::{Edge, Visit};
use crate::directory::Slug;
use crate::notifications::NotificationText;
use crate::operations::{Delay, FlightView};
use crate::problem;
use crate::reporting::Download;
use crate::status::{Cached, Status};
use crate::tenants::{NewStatus, NewTenant, SignIn, TenantView};

pub(super) fn router(edge: Edge) -> Router {
    let limited = edge.clone();
    let limit = RateLimitLayer::new(move |request: &Request| {
        let tenant = request.extensions().get::<TenantId>();
        let tenant = *tenant.ok_or(StatusCode::NOT_FOUND)?;
        let charge = Charge::new(limited.limiter.tenant(tenant));
        Ok(Some(charge.with_limit(&limited.rules.tenant, "")))
    });
    Router::new()
        .route("/", get(home))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/flights/{id}", get(flight))
        .route("/flights/{id}/delay", post(delay))
        .route("/notifications/{id}", get(notification))
        .route("/notifications/{id}/attachment", get(attachment))
        .route("/reports/{definition}/runs", post(run))
        .route("/runs/{id}/download", get(signed))
        .route("/download/{link}", get(download))
        .route("/tenants", post(register))
        .route("/tenants/{slug}/status", post(set_status))
        // The one that is added last is the first that a request meets.
        .layer(limit)
        .layer(from_fn_with_state(edge.clone(), with_tenant))
        .layer(map_response(problem::named))
        .with_state(edge)
}

/// Which flights are shown.
#[derive(Debug, Default, Deserialize)]
struct Shown {
    #[serde(default)]
    late_first: bool,
    cursor: Option<String>,
}

/// Shows the form to sign in, or the page of the tenant, or that of the operator.
async fn home(
    State(edge): State<Edge>,
    visitor: Visitor,
    Query(shown): Query<Shown>,
) -> Result<Response, Refused> {
    let Some(signed_in) = visitor.signed_in()? else {
        let page = pages::sign_in(&visitor.view, None);
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    if signed_in.view.slug == Slug::OPERATOR {
        return Ok(operator(&edge, &signed_in).await?.into_response());
    }
    let (peers, caller) = (&edge.peers, &signed_in.caller);
    let mut flights = format!("/flights?late_first={}", shown.late_first);
    if let Some(cursor) = shown.cursor {
        // A cursor is letters, digits, `-` and `_`; whatever else was sent is no cursor of ours.
        let is_ours = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
        if !cursor.chars().all(is_ours) {
            return Err(Refused::new(StatusCode::BAD_REQUEST));
        }
        flights += &format!("&cursor={cursor}");
    }
    let (flights, notifications, reports) = tokio::try_join!(
        peers.get(Peer::Operations, &flights, caller),
        peers.get(Peer::Notifications, "/notifications", caller),
        peers.get(Peer::Reporting, "/reports", caller),
    )?;
    let page = Home {
        view: &signed_in.view,
        user: &signed_in.user,
        is_late_first: shown.late_first,
        flights,
        notifications,
        reports,
    };
    Ok(page.to_html().into_response())
}

/// What stands in the form.
#[derive(Deserialize)]
struct Credentials {
    user: String,
    code: String,
}

async fn sign_in(
    State(edge): State<Edge>,
    visitor: Visitor,
    Form(given): Form<Credentials>,
) -> Result<Response, Refused> {
    let is_name = |name: &str| {
        let letters = name
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"._-".contains(&it));
        (1..=40).contains(&name.len()) && letters
    };
    if !is_name(&given.user) {
        let page = pages::sign_in(&visitor.view, Some("A name has up to 40 letters a to z."));
        return Ok((StatusCode::BAD_REQUEST, page).into_response());
    }
    // By the user, or who guesses for one would lock out all.
    let limits = [edge.rules.sign_in.limit(&given.user)];
    let decision = edge.limiter.tenant(visitor.tenant).take(&limits, 1).await?;
    if !decision.is_admitted() {
        let mut headers = HeaderMap::new();
        for (name, value) in decision.headers(&limits) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        // Where nobody can count, nobody is let in: that is no fault of who asks.
        let status = match decision.failure() {
            None => StatusCode::TOO_MANY_REQUESTS,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        return Ok((status, headers, pages::refused(status)).into_response());
    }
    let caller = visitor.caller(&given.user)?;
    let content = SignIn { code: given.code };
    let answer = edge
        .peers
        .post::<Value>(Peer::Tenants, "/sign-in", &caller, &content);
    match answer.await {
        Ok(_) => {}
        Err(refused) if refused.status == StatusCode::UNAUTHORIZED => {
            let page = pages::sign_in(&visitor.view, Some("That is not the code."));
            return Ok((StatusCode::UNAUTHORIZED, page).into_response());
        }
        Err(refused) => return Err(refused),
    }
    let sessions = edge.sessions.tenant(visitor.tenant);
    // A session of its own, whatever id the browser had before.
    let session = sessions.create_for(&given.user, Visit::default()).await?;
    let cookie = [(header::SET_COOKIE, set_cookie(Some(session.id()))?)];
    Ok((cookie, Redirect::to("/")).into_response())
}

async fn sign_out(State(edge): State<Edge>, visitor: Visitor) -> Result<Response, Refused> {
    if let Some(id) = &visitor.session {
        edge.sessions.tenant(visitor.tenant).delete(id).await?;
    }
    let cookie = [(header::SET_COOKIE, set_cookie(None)?)];
    Ok((cookie, Redirect::to("/")).into_response())
}

async fn flight(
    State(edge): State<Edge>,
    signed_in: SignedIn,
    Path(id): Path<Uuid>,
) -> Result<Html<String>, Refused> {
    let path = format!("/flights/{id}");
    let flight: FlightView = edge
        .peers
        .get(Peer::Operations, &path, &signed_in.caller)
        .await?;
    Ok(pages::flight(&signed_in.view, &flight))
}

async fn delay(
    State(edge): State<Edge>,
    signed_in: SignedIn,
    Path(id): Path<Uuid>,
    Form(delay): Form<Delay>,
) -> Result<Redirect, Refused> {
    let path = format!("/flights/{id}/delay");
    let caller = &signed_in.caller;
    let _: Value = edge
        .peers
        .post(Peer::Operations, &path, caller, &delay)
        .await?;
    Ok(Redirect::to("/"))
}

async fn notification(
    State(edge): State<Edge>,
    signed_in: SignedIn,
    Path(id): Path<Uuid>,
) -> Result<Html<String>, Refused> {
    let path = format!("/notifications/{id}");
    let peer = Peer::Notifications;
    let text: NotificationText = edge.peers.get(peer, &path, &signed_in.caller).await?;
    Ok(pages::notification(&signed_in.view, &text))
}

async fn attachment(
    State(edge): State<Edge>,
    signed_in: SignedIn,
    Path(id): Path<Uuid>,
) -> Result<Response, Refused> {
    let path = format!("/notifications/{id}/attachment");
    let caller = Some(&signed_in.caller);
    let answer = edge
        .peers
        .stream(Peer::Notifications, &path, caller)
        .await?;
    Ok(file(answer))
}

async fn run(
    State(edge): State<Edge>,
    signed_in: SignedIn,
    Path(definition): Path<Uuid>,
) -> Result<Redirect, Refused> {
    let path = format!("/reports/{definition}/runs");
    let caller = &signed_in.caller;
    let _: Value = edge.peers.post(Peer::Reporting, &path, caller, &()).await?;
    Ok(Redirect::to("/"))
}

/// Leads to the signed address of a file.
async fn signed(
    State(edge): State<Edge>,
    signed_in: SignedIn,
    Path(run): Path<Uuid>,
) -> Result<Redirect, Refused> {
    let path = format!("/runs/{run}/download");
    let caller = &signed_in.caller;
    let signed: Download = edge.peers.get(Peer::Reporting, &path, caller).await?;
    Ok(Redirect::to(&signed.address))
}

/// Hands on the file of a link: whoever has the link may, for as long as it is good.
async fn download(State(edge): State<Edge>, Path(link): Path<String>) -> Result<Response, Refused> {
    let is_ours = |it: char| it.is_ascii_hexdigit() || it == '-' || it == '.';
    if !link.chars().all(is_ours) {
        return Err(Refused::new(StatusCode::NOT_FOUND));
    }
    let path = format!("/download/{link}");
    Ok(file(edge.peers.stream(Peer::Reporting, &path, None).await?))
}

async fn operator(edge: &Edge, signed_in: &SignedIn) -> Result<Html<String>, Refused> {
    let caller = &signed_in.caller;
    let tenants: Vec<TenantView> = edge.peers.get(Peer::Tenants, "/tenants", caller).await?;
    let mut services = Vec::new();
    for peer in Peer::ALL {
        services.push(edge.peers.get(peer, "/status", caller).await?);
    }
    let mut of_edge = Status::of("edge", &edge.storage).await?;
    of_edge.cache = Some(Cached::from(edge.tenants.counts()));
    services.push(of_edge);

    let rule = &edge.rules.tenant;
    let mut limits = Vec::new();
    for view in &tenants {
        let tenant = Slug::new(&view.slug)?.tenant()?;
        let seen = edge.limiter.tenant(tenant).peek(&[rule.limit("")]).await?;
        let remaining = seen.tightest().map(|standing| standing.remaining);
        limits.push(Limits {
            slug: view.slug.clone(),
            remaining,
            most: rule.most(),
        });
    }
    let page = Operations {
        user: &signed_in.user,
        tenants,
        services,
        limits,
    };
    Ok(page.to_html())
}

async fn register(
    State(edge): State<Edge>,
    OfOperator(signed_in): OfOperator,
    Form(new): Form<NewTenant>,
) -> Result<Redirect, Refused> {
    let caller = &signed_in.caller;
    let _: Value = edge
        .peers
        .post(Peer::Tenants, "/tenants", caller, &new)
        .await?;
    Ok(Redirect::to("/"))
}

async fn set_status(
    State(edge): State<Edge>,
    OfOperator(signed_in): OfOperator,
    Path(slug): Path<String>,
    Form(new): Form<NewStatus>,
) -> Result<Redirect, Refused> {
    let slug = Slug::new(&slug)?;
    let path = format!("/tenants/{}/status", slug.as_str());
    let caller = &signed_in.caller;
    let changed: Result<Value, _> = edge.peers.post(Peer::Tenants, &path, caller, &new).await;
    // The event is for other edges, and comes when it comes: who has the answer may rely on it at once. What failed may
    // have been done all the same.
    edge.forget(slug.tenant()?).await?;
    changed?;
    Ok(Redirect::to("/"))
}
