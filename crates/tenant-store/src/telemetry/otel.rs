use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry::{KeyValue, global};
use tenantry_core::telemetry as names;

/// The histogram of the durations of operations, after the semantic conventions for database
/// clients (<https://opentelemetry.io/docs/specs/semconv/database/database-metrics/>).
///
/// The tenant is no attribute: a stream takes 2,000 sets of attributes and drops the rest.
#[derive(Debug, Clone)]
pub(super) struct Durations {
    system: &'static str,
    histogram: Histogram<f64>,
}

impl Durations {
    pub(super) fn new(system: &'static str) -> Self {
        let histogram = global::meter("tenantry")
            .f64_histogram(names::DB_CLIENT_OPERATION_DURATION)
            .with_unit(names::DB_CLIENT_OPERATION_DURATION_UNIT)
            .with_description("Duration of database client operations.")
            .with_boundaries(names::DB_CLIENT_OPERATION_DURATION_BUCKETS.to_vec())
            .build();
        Self { system, histogram }
    }

    pub(super) fn record(
        &self,
        elapsed: Duration,
        operation: &'static str,
        table: &'static str,
        failure: Option<&'static str>,
    ) {
        // What may be absent stands at the ends.
        let attributes = [
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
            KeyValue::new(names::DB_SYSTEM_NAME, self.system),
            KeyValue::new(names::DB_OPERATION_NAME, operation),
            KeyValue::new(names::DB_COLLECTION_NAME, table),
        ];
        let first = usize::from(failure.is_none());
        let end = if table.is_empty() { 3 } else { 4 };
        self.histogram
            .record(elapsed.as_secs_f64(), &attributes[first..end]);
    }
}
