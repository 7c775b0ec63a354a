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

use tenantry_core::TenantId;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::error::Result;

/// Watches the operations of one store.
#[derive(Debug)]
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
        table: &'static str,
        tenant: Option<TenantId>,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let span = tracing::info_span!(
            target: "tenantry::store",
            "tenantry.store",
            db.system.name = self.system,
            db.operation.name = operation,
            db.collection.name = table,
            tenant.id = Empty,
            tenantry.outcome = Empty,
        );
        if let Some(tenant) = tenant
            && !span.is_disabled()
        {
            span.record("tenant.id", tracing::field::display(tenant));
        }
        let started = Instant::now();
        let result = if span.is_disabled() {
            future.await
        } else {
            future.instrument(span.clone()).await
        };
        let failure = result.as_ref().err().map(|error| error.kind().as_str());
        span.record("tenantry.outcome", failure.unwrap_or("ok"));
        self.durations
            .record(started.elapsed(), operation, table, failure);
        result
    }
}
