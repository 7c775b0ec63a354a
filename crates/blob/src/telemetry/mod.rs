//! What an operator sees: a span for each operation, and with the feature `otel` a histogram.

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
use disabled::Durations;
#[cfg(feature = "otel")]
use otel::Durations;

use std::time::Instant;

use tenantry_core::{Result, TenantId};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// How an operation ended whose caller did not wait for its end.
const DROPPED: &str = "dropped";

/// Watches the operations on one store of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    system: &'static str,
    durations: Durations,
}

impl Telemetry {
    pub(crate) fn new(system: &'static str) -> Self {
        Self {
            system,
            durations: Durations::new(system),
        }
    }

    /// Runs an operation inside its span, and records how long it took and how it ended.
    pub(crate) async fn observe<T>(
        &self,
        operation: &'static str,
        tenant: TenantId,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let span = tracing::info_span!(
            target: "tenantry::blob",
            "tenantry.blob",
            tenantry.blob.system = self.system,
            tenantry.blob.operation = operation,
            tenant.id = %tenant,
            tenantry.outcome = Empty,
        );
        let mut observation = Observation {
            durations: &self.durations,
            span: span.clone(),
            started: Instant::now(),
            operation,
            failure: Some(DROPPED),
        };
        let result = if span.is_disabled() {
            future.await
        } else {
            future.instrument(span).await
        };
        observation.failure = result.as_ref().err().map(|error| error.kind().as_str());
        result
    }
}

/// One operation under way. What became of it is recorded when it is dropped, by whomever.
struct Observation<'t> {
    durations: &'t Durations,
    span: Span,
    started: Instant,
    operation: &'static str,
    failure: Option<&'static str>,
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let failure = self.failure;
        self.span
            .record("tenantry.outcome", failure.unwrap_or("ok"));
        self.durations
            .record(self.started.elapsed(), self.operation, failure);
    }
}
