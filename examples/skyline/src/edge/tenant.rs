//! Whose host it is, and whether that tenant is served.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tenantry::prelude::*;

use super::peers::Refused;
use super::{Edge, Peer, Vouched};
use crate::caller::{TRACEPARENT, new_trace};
use crate::directory::Slug;
use crate::problem::{PROVISIONING, SUSPENDED};
use crate::tenants::{TenantStatus, TenantView};

/// The one key of a tenant in the cache of tenants.
pub(super) const RECORD: &str = "record";

/// The tenant of a request, behind this layer.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) tenant: TenantId,
    pub(super) view: TenantView,
    pub(super) trace: TraceParent,
}

/// Finds the tenant by the first label of the host, and the trace by its header, or begins one.
pub(super) async fn with_tenant(
    State(edge): State<Edge>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let label = host.split(['.', ':']).next().unwrap_or_default();
    let unknown = Refused::new(StatusCode::NOT_FOUND);
    let tenant = Slug::new(label).and_then(|slug| slug.tenant());
    let tenant = tenant.map_err(|_| unknown)?;
    // Anybody can send a trace: what is malformed is left out, and the request goes on.
    let sent = headers.get(TRACEPARENT).and_then(|it| it.to_str().ok());
    let trace = match sent.and_then(|it| it.parse().ok()) {
        Some(trace) => trace,
        None => new_trace()?,
    };

    let view = edge.view(tenant, trace).await?;
    // The operator cannot be kept out, or nobody could let it in again.
    match view.status {
        TenantStatus::Active => {}
        TenantStatus::Provisioning => {
            let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE);
            return Err(refused.with_problem(PROVISIONING));
        }
        TenantStatus::Suspended => {
            return Err(Refused::new(StatusCode::FORBIDDEN).with_problem(SUSPENDED));
        }
    }
    let extensions = request.extensions_mut();
    extensions.insert(tenant);
    extensions.insert(Host {
        tenant,
        view,
        trace,
    });
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&trace.to_string()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    Ok(response)
}

impl Edge {
    /// Forgets what is known of a tenant: no request that begins after this is answered by it, at any edge with this
    /// cache.
    pub(super) async fn forget(&self, tenant: TenantId) -> Result<(), Refused> {
        let cached = self.cache.tenant(tenant);
        Ok(cached.invalidate(&self.tenants, RECORD).await?)
    }

    /// Returns what is known of a tenant: asked for once, and kept until an event says that it has changed.
    async fn view(&self, tenant: TenantId, trace: TraceParent) -> Result<TenantView, Refused> {
        let peers = self.peers.clone();
        let load = move || async move {
            let actor = Actor::new("service:edge")?;
            let caller = Vouched {
                tenant,
                actor,
                trace,
            };
            match peers.get(Peer::Tenants, "/tenant", &caller).await {
                Ok(view) => Ok(Some(view)),
                // That there is none is kept as well.
                Err(refused) if refused.status == StatusCode::NOT_FOUND => Ok(None),
                Err(_) => Err(Error::new(ErrorKind::Unavailable, "ask for tenant")),
            }
        };
        let cached = self.cache.tenant(tenant);
        match cached.get_or_load(&self.tenants, RECORD, load).await {
            Ok(Some(view)) => Ok(TenantView::clone(&view)),
            Ok(None) => Err(Refused::new(StatusCode::NOT_FOUND)),
            Err(error) => Err(error.into()),
        }
    }
}
