use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{Charge, Refusal, Refuse, Settings, StatusAlone};
use crate::{Decision, Limit};

/// A service before which requests are limited; see [`RateLimitLayer`](super::RateLimitLayer).
pub struct RateLimited<S, F, R = StatusAlone> {
    inner: S,
    settings: Arc<Settings<F, R>>,
}

impl<S, F, R> RateLimited<S, F, R> {
    pub(super) const fn new(inner: S, settings: Arc<Settings<F, R>>) -> Self {
        Self { inner, settings }
    }
}

impl<S: Clone, F, R> Clone for RateLimited<S, F, R> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.settings))
    }
}

impl<S: fmt::Debug, F, R> fmt::Debug for RateLimited<S, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, F, R, B, A> Service<Request<B>> for RateLimited<S, F, R>
where
    S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
    S::Future: Send,
    F: Fn(&Request<B>) -> Result<Option<Charge>, StatusCode> + Send + Sync + 'static,
    R: Refuse<A> + Send + Sync + 'static,
    B: Send + 'static,
    A: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready is called; the next request has to wait for its clone.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            let charge = match (settings.charge)(&request) {
                Ok(Some(charge)) => charge,
                Ok(None) => return inner.call(request).await,
                Err(status) => return Ok(settings.refuse.refuse(&Refusal::by_caller(status))),
            };
            let limits = charge.limits();
            // Before it is charged: the answer may come late.
            let begun = settings.clock.monotonic();
            let decision = match charge.tenant.take(&limits, charge.cost).await {
                Ok(decision) => decision,
                Err(error) => return Ok(settings.refuse.refuse(&Refusal::by_mistake(error))),
            };
            let fields = decision.headers(&limits);
            if !decision.is_admitted() {
                let refusal = Refusal::by_limits(decision);
                let mut response = settings.refuse.refuse(&refusal);
                add_fields(response.headers_mut(), fields);
                return Ok(response);
            }
            let mut response = inner.call(request).await?;
            if (settings.refund_on)(response.status()) {
                let took = settings.clock.monotonic().saturating_sub(begun);
                refund(&charge, &limits, &decision, took).await;
            }
            add_fields(response.headers_mut(), fields);
            Ok(response)
        })
    }
}

/// Adds to the lists that there may be of a layer further inside.
fn add_fields(headers: &mut HeaderMap, fields: Vec<(&'static str, String)>) {
    for (name, value) in fields {
        let name = HeaderName::from_static(name);
        // Printable ASCII, all of it.
        let Ok(value) = HeaderValue::try_from(value) else {
            continue;
        };
        if name == RETRY_AFTER {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
}

/// Takes back what was charged, of the limits whose windows are not over.
async fn refund(charge: &Charge, limits: &[Limit<'_>], decision: &Decision, took: Duration) {
    let counted = limits.iter().copied();
    let counted: Vec<_> = counted
        .filter(|limit| took < limit.rule().window())
        .collect();
    if decision.failure().is_some() || counted.is_empty() {
        return;
    }
    if let Err(error) = charge.tenant.refund(&counted, charge.cost).await {
        // It is counted until its window is over: the answer is none the worse.
        tracing::debug!(%error, "a charge was not taken back");
    }
}
