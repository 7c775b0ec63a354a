use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use tenantry_core::telemetry as names;

/// How long calls of vaults take, and what references are resolved to.
///
/// Neither a name nor a tenant is an attribute: each would be a time series.
#[derive(Debug)]
pub(in crate::secrets) struct Instruments {
    calls: Histogram<f64>,
    resolved: Counter<u64>,
}

impl Instruments {
    pub(in crate::secrets) fn new() -> Self {
        let meter = global::meter("tenantry");
        Self {
            calls: meter
                .f64_histogram(names::VAULT_CALL_DURATION)
                .with_unit(names::VAULT_CALL_DURATION_UNIT)
                .with_description("Duration of calls of vaults.")
                .with_boundaries(names::DB_CLIENT_OPERATION_DURATION_BUCKETS.to_vec())
                .build(),
            resolved: meter
                .u64_counter(names::SECRETS_RESOLVED)
                .with_description("Secrets that were asked for.")
                .build(),
        }
    }

    pub(super) fn called(
        &self,
        vault: &str,
        operation: &'static str,
        elapsed: Duration,
        failure: Option<&'static str>,
    ) {
        let attributes = [
            KeyValue::new(names::VAULT, vault.to_owned()),
            KeyValue::new(names::VAULT_OPERATION, operation),
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
        ];
        // What may be absent stands at the end.
        let end = if failure.is_some() { 3 } else { 2 };
        self.calls.record(elapsed.as_secs_f64(), &attributes[..end]);
    }

    pub(in crate::secrets) fn resolved(
        &self,
        outcome: &'static str,
        failure: Option<&'static str>,
    ) {
        let attributes = [
            KeyValue::new(names::OUTCOME, outcome),
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
        ];
        let end = if failure.is_some() { 2 } else { 1 };
        self.resolved.add(1, &attributes[..end]);
    }
}
