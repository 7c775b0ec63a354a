//! Who calls a service: what the edge has authenticated, in a header that it alone can write.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use chrono::TimeDelta;
use tenantry::core::{Clock as _, SystemClock};
use tenantry::prelude::*;
use uuid::Uuid;

use crate::directory::Slug;
use crate::signature::{Purpose, SigningKey};

/// The header of the edge.
pub(crate) const CALLER: &str = "x-skyline-caller";

/// The header of W3C Trace Context.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// For how long a service takes it.
const VALID: TimeDelta = TimeDelta::seconds(60);

/// Begins a trace, which is sampled.
pub(crate) fn new_trace() -> Result<TraceParent> {
    let parent = Uuid::new_v4().into_bytes();
    let mut id = [0; 8];
    id.copy_from_slice(&parent[..8]);
    TraceParent::new(Uuid::new_v4().into_bytes(), id, 1)
}

/// What a service needs to know its callers.
pub(crate) trait Behind {
    fn storage(&self) -> &Storage;

    /// The key that it shares with the edge.
    fn key(&self) -> &SigningKey;
}

/// Vouches for an actor of a tenant: the value of the header.
pub(crate) fn vouch(key: &SigningKey, tenant: TenantId, actor: &Actor) -> Result<String> {
    let until = (SystemClock.now() + VALID).timestamp();
    key.seal(
        Purpose::Caller,
        &format!("{tenant} {until} {}", actor.as_str()),
    )
}

fn read(key: &SigningKey, header: &str) -> Option<(TenantId, Actor)> {
    let text = key.open(Purpose::Caller, header)?;
    let mut parts = text.splitn(3, ' ');
    let tenant = parts.next()?.parse().ok()?;
    let until: i64 = parts.next()?.parse().ok()?;
    let actor = Actor::new(parts.next()?.to_owned()).ok()?;
    (SystemClock.now().timestamp() <= until).then_some((tenant, actor))
}

/// The scope of the tenant that asks, with the actor and the trace of the request: all that a handler gets of the
/// database.
pub(crate) struct Caller(pub(crate) TenantScope);

impl<S: Behind + Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, service: &S) -> Result<Self, StatusCode> {
        let text = |name| parts.headers.get(name).and_then(|it| it.to_str().ok());
        let caller = text(CALLER).and_then(|header| read(service.key(), header));
        let (tenant, actor) = caller.ok_or(StatusCode::UNAUTHORIZED)?;
        let mut context = RequestContext::new(actor);
        if let Some(trace) = text(TRACEPARENT).and_then(|it| it.parse().ok()) {
            context = context.with_trace(trace);
        }
        Ok(Self(service.storage().tenant(tenant).with_context(context)))
    }
}

/// The operator, who may look at the service as a whole: to others the page does not exist.
pub(crate) struct Operator(pub(crate) RequestContext);

impl<S: Behind + Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, service: &S) -> Result<Self, StatusCode> {
        let Caller(scope) = Caller::from_request_parts(parts, service).await?;
        let operator = Slug::operator().tenant();
        match operator.is_ok_and(|operator| operator == scope.tenant()) {
            true => Ok(Self(scope.context().clone())),
            false => Err(StatusCode::NOT_FOUND),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenantry::core::Secret;

    use super::*;

    #[test]
    fn only_what_the_edge_has_written_is_a_caller() {
        let key = |text: &str| SigningKey::new(Arc::new(Secret::new(text)));
        let (edge, tenant) = (key("edge"), TenantId::generate());
        let actor = Actor::new("user:ada").unwrap();
        let header = vouch(&edge, tenant, &actor).unwrap();
        assert_eq!(read(&edge, &header), Some((tenant, actor)));
        assert_eq!(read(&key("another"), &header), None);
        let forged = header.replace(&tenant.to_string(), &TenantId::generate().to_string());
        assert_eq!(read(&edge, &forged), None);
        let old = format!("{tenant} 1000 user:ada");
        let old = edge.seal(Purpose::Caller, &old).unwrap();
        assert_eq!(read(&edge, &old), None);
    }
}
