//! Who has signed in: a session of the tenant whose host it is, by a cookie.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use tenantry::cache::SessionId;
use tenantry::prelude::*;

use super::peers::Refused;
use super::tenant::Host;
use super::{Edge, Vouched};
use crate::directory::Slug;
use crate::tenants::TenantView;

const COOKIE: &str = "skyline";

/// Somebody at the host of a tenant, signed in or not.
pub(super) struct Visitor {
    pub(super) tenant: TenantId,
    pub(super) view: TenantView,
    pub(super) trace: TraceParent,
    pub(super) session: Option<SessionId>,
    /// The name of who has signed in.
    pub(super) user: Option<String>,
}

/// Somebody who has signed in.
pub(super) struct SignedIn {
    pub(super) view: TenantView,
    pub(super) user: String,
    pub(super) caller: Vouched,
}

/// Somebody of the operator who has signed in; to others the page does not exist.
pub(super) struct OfOperator(pub(super) SignedIn);

impl FromRequestParts<Edge> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refused> {
        let Host {
            tenant,
            view,
            trace,
        } = parts
            .extensions
            .get::<Host>()
            .cloned()
            .ok_or(Refused::new(StatusCode::NOT_FOUND))?;
        // A cookie that is no id is as none, and so is that of another tenant.
        let session: Option<SessionId> = cookie(&parts.headers).and_then(|id| id.parse().ok());
        let user = match &session {
            None => None,
            Some(id) => {
                let touched = edge.sessions.tenant(tenant).touch(id).await?;
                touched.and_then(|session| session.user().map(str::to_owned))
            }
        };
        Ok(Self {
            tenant,
            view,
            trace,
            session,
            user,
        })
    }
}

impl FromRequestParts<Edge> for SignedIn {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refused> {
        let visitor = Visitor::from_request_parts(parts, edge).await?;
        visitor
            .signed_in()?
            .ok_or(Refused::new(StatusCode::UNAUTHORIZED))
    }
}

impl FromRequestParts<Edge> for OfOperator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refused> {
        let signed_in = SignedIn::from_request_parts(parts, edge).await?;
        match signed_in.view.slug == Slug::OPERATOR {
            true => Ok(Self(signed_in)),
            false => Err(Refused::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl Visitor {
    /// Returns who asks, where somebody has signed in.
    pub(super) fn signed_in(&self) -> Result<Option<SignedIn>> {
        let Some(user) = self.user.clone() else {
            return Ok(None);
        };
        Ok(Some(SignedIn {
            caller: self.caller(&user)?,
            view: self.view.clone(),
            user,
        }))
    }

    /// Vouches for a user of the tenant.
    pub(super) fn caller(&self, user: &str) -> Result<Vouched> {
        Ok(Vouched {
            tenant: self.tenant,
            actor: Actor::new(format!("user:{user}"))?,
            trace: self.trace,
        })
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter();
    let pairs = all
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Returns the cookie of a session, or the one that takes it away. A product that is reached by https says `Secure`
/// as well.
pub(super) fn set_cookie(id: Option<&SessionId>) -> Result<HeaderValue, Refused> {
    let text = match id {
        Some(id) => format!(
            "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict",
            id.expose()
        ),
        None => format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"),
    };
    HeaderValue::from_str(&text).map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR))
}
