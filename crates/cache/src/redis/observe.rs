//! What an operator sees of the calls of a server.

use std::time::Instant;

use tenantry_core::{Result, TenantId};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::telemetry::Calls;

/// How a call ended whose caller did not wait for its end.
const DROPPED: &str = "dropped";

/// What a server is called for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    /// As spans and metrics have it.
    name: &'static str,
    /// As errors tell of it.
    text: &'static str,
}

impl Operation {
    pub(super) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }

    pub(super) const fn text(self) -> &'static str {
        self.text
    }
}

/// Runs a call inside its span, and records how long it took and how it ended. What is called for no
/// tenant goes on by itself, several times a second, and has no span.
pub(super) async fn observe<T>(
    calls: &Calls,
    operation: Operation,
    tenant: Option<TenantId>,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let span = tenant.map_or_else(Span::none, |tenant| {
        tracing::info_span!(
            target: "tenantry::redis",
            "tenantry.redis",
            db.system.name = tenantry_core::telemetry::REDIS,
            db.operation.name = operation.name,
            tenant.id = %tenant,
            tenantry.outcome = Empty,
        )
    });
    let mut observation = Observation {
        calls,
        span,
        started: Instant::now(),
        operation,
        tenant,
        failure: Some(DROPPED),
    };
    let outcome = call.instrument(observation.span.clone()).await;
    observation.failure = outcome.as_ref().err().map(|error| error.kind().as_str());
    outcome
}

/// One call under way. What became of it is recorded when it is dropped, by whomever.
struct Observation<'c> {
    calls: &'c Calls,
    span: Span,
    started: Instant,
    operation: Operation,
    tenant: Option<TenantId>,
    failure: Option<&'static str>,
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let failure = self.failure;
        self.span
            .record("tenantry.outcome", failure.unwrap_or("ok"));
        let elapsed = self.started.elapsed();
        self.calls
            .ended(elapsed, self.operation.name, self.tenant, failure);
    }
}
