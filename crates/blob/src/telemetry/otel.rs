use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry::{KeyValue, global};
use tenantry_core::telemetry as names;

/// How long operations on blobs take.
///
/// Neither a name nor a tenant is an attribute: each would be a time series.
#[derive(Debug, Clone)]
pub(super) struct Durations {
    system: &'static str,
    histogram: Histogram<f64>,
}

impl Durations {
    pub(super) fn new(system: &'static str) -> Self {
        let histogram = global::meter("tenantry")
            .f64_histogram(names::BLOB_OPERATION_DURATION)
            .with_unit(names::BLOB_OPERATION_DURATION_UNIT)
            .with_description("Duration of operations on blobs.")
            .with_boundaries(names::DB_CLIENT_OPERATION_DURATION_BUCKETS.to_vec())
            .build();
        Self { system, histogram }
    }

    pub(super) fn record(
        &self,
        elapsed: Duration,
        operation: &'static str,
        failure: Option<&'static str>,
    ) {
        let attributes = [
            KeyValue::new(names::BLOB_SYSTEM, self.system),
            KeyValue::new(names::BLOB_OPERATION, operation),
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
        ];
        // What may be absent stands at the end.
        let end = if failure.is_some() { 3 } else { 2 };
        self.histogram
            .record(elapsed.as_secs_f64(), &attributes[..end]);
    }
}
