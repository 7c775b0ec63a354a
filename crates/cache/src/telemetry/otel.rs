use std::sync::Weak;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use tenantry_core::{TenantId, TenantLabel, telemetry as names};

use super::Observed;

/// How long loads take.
#[derive(Debug)]
pub(crate) struct Loads(Histogram<f64>);

impl Loads {
    pub(crate) fn new() -> Self {
        let meter = global::meter("tenantry");
        Self(
            meter
                .f64_histogram(names::CACHE_LOAD_DURATION)
                .with_unit(names::CACHE_LOAD_DURATION_UNIT)
                .with_description("Duration of loads into caches.")
                .with_boundaries(names::DB_CLIENT_OPERATION_DURATION_BUCKETS.to_vec())
                .build(),
        )
    }

    pub(crate) fn ended(&self, kind: &str, took: Duration, failure: Option<&'static str>) {
        let attributes = [
            KeyValue::new(names::CACHE_KIND, kind.to_owned()),
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
        ];
        // What may be absent stands at the end.
        let end = if failure.is_some() { 2 } else { 1 };
        self.0.record(took.as_secs_f64(), &attributes[..end]);
    }
}

/// What becomes of requests under limits.
#[derive(Debug, Clone)]
pub(crate) struct Decisions {
    counter: Counter<u64>,
    label: TenantLabel,
}

impl Decisions {
    pub(crate) fn new(label: TenantLabel) -> Self {
        let counter = global::meter("tenantry")
            .u64_counter(names::RATE_LIMIT_DECISIONS)
            .with_description("Requests under rate limits.")
            .build();
        Self { counter, label }
    }

    pub(crate) fn decided(&self, tenant: TenantId, outcome: &'static str) {
        let outcome = KeyValue::new(names::OUTCOME, outcome);
        match of(&self.label, tenant) {
            Some(tenant) => self.counter.add(1, &[outcome, tenant]),
            None => self.counter.add(1, &[outcome]),
        }
    }
}

/// How long calls of a server take, after the semantic conventions for database clients
/// (<https://opentelemetry.io/docs/specs/semconv/database/database-metrics/>).
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Calls {
    histogram: Histogram<f64>,
    label: TenantLabel,
}

#[cfg(feature = "redis")]
impl Calls {
    pub(crate) fn new(label: TenantLabel) -> Self {
        let histogram = global::meter("tenantry")
            .f64_histogram(names::DB_CLIENT_OPERATION_DURATION)
            .with_unit(names::DB_CLIENT_OPERATION_DURATION_UNIT)
            .with_description("Duration of database client operations.")
            .with_boundaries(names::DB_CLIENT_OPERATION_DURATION_BUCKETS.to_vec())
            .build();
        Self { histogram, label }
    }

    pub(crate) fn ended(
        &self,
        took: Duration,
        operation: &'static str,
        tenant: Option<TenantId>,
        failure: Option<&'static str>,
    ) {
        let tenant = tenant.and_then(|tenant| of(&self.label, tenant));
        // What may be absent stands at the ends.
        let first = usize::from(failure.is_none());
        let end = if tenant.is_some() { 4 } else { 3 };
        let attributes = [
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
            KeyValue::new(names::DB_SYSTEM_NAME, names::REDIS),
            KeyValue::new(names::DB_OPERATION_NAME, operation),
            tenant.unwrap_or_else(|| KeyValue::new(names::TENANT_LABEL, "")),
        ];
        self.histogram
            .record(took.as_secs_f64(), &attributes[first..end]);
    }
}

/// What becomes of calls of a store of sessions.
#[derive(Debug)]
pub(crate) struct SessionCalls {
    calls: Counter<u64>,
    sessions_ended: Counter<u64>,
    label: TenantLabel,
}

impl SessionCalls {
    pub(crate) fn new(label: TenantLabel) -> Self {
        let meter = global::meter("tenantry");
        Self {
            calls: meter
                .u64_counter(names::SESSION_CALLS)
                .with_description("Calls of stores of sessions.")
                .build(),
            sessions_ended: meter
                .u64_counter(names::SESSIONS_ENDED)
                .with_description("Sessions that were ended before their time.")
                .build(),
            label,
        }
    }

    pub(crate) fn called(
        &self,
        tenant: TenantId,
        operation: &'static str,
        outcome: &'static str,
        failure: Option<&'static str>,
    ) {
        let mut attributes = vec![
            KeyValue::new(names::SESSION_OPERATION, operation),
            KeyValue::new(names::OUTCOME, outcome),
        ];
        attributes.extend(failure.map(|kind| KeyValue::new(names::ERROR_TYPE, kind)));
        attributes.extend(of(&self.label, tenant));
        self.calls.add(1, &attributes);
    }

    pub(crate) fn ended(&self, tenant: TenantId, sessions: u64) {
        let label = of(&self.label, tenant);
        self.sessions_ended.add(sessions, label.as_slice());
    }
}

/// Returns the attribute of a tenant, where one is asked for.
fn of(label: &TenantLabel, tenant: TenantId) -> Option<KeyValue> {
    let label = label.of(tenant)?;
    Some(KeyValue::new(names::TENANT_LABEL, label.to_owned()))
}

/// Has the counts of a cache collected for as long as it is there: a hit records nothing by itself.
pub(crate) fn observe_lookups(observed: Weak<impl Observed>) {
    let meter = global::meter("tenantry");
    let of_lookups = Weak::clone(&observed);
    let _ = meter
        .u64_observable_counter(names::CACHE_LOOKUPS)
        .with_description("Values that caches were asked for.")
        .with_callback(move |observer| {
            let Some(observed) = of_lookups.upgrade() else {
                return;
            };
            observed.counts(&mut |kind, counts| {
                let outcomes = [
                    ("hit", counts.hits),
                    ("stale", counts.stale),
                    ("miss", counts.misses),
                    ("shared_hit", counts.shared_hits),
                    ("loaded", counts.loads),
                    ("failed", counts.failed_loads),
                ];
                for (outcome, count) in outcomes {
                    let attributes = [
                        KeyValue::new(names::CACHE_KIND, kind.to_owned()),
                        KeyValue::new(names::OUTCOME, outcome),
                    ];
                    observer.observe(count, &attributes);
                }
            });
        })
        .build();
    let of_values = Weak::clone(&observed);
    let _ = meter
        .u64_observable_gauge(names::CACHE_VALUES)
        .with_description("Values in the memory of the process.")
        .with_callback(move |observer| {
            if let Some(observed) = of_values.upgrade() {
                observer.observe(observed.size().0, &[]);
            }
        })
        .build();
    let _ = meter
        .u64_observable_gauge(names::CACHE_BYTES)
        .with_unit(names::CACHE_BYTES_UNIT)
        .with_description("What the values in the memory of the process take.")
        .with_callback(move |observer| {
            if let Some(observed) = observed.upgrade() {
                observer.observe(observed.size().1, &[]);
            }
        })
        .build();
}
