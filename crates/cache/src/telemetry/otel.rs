use std::sync::Weak;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use tenantry_core::telemetry as names;

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
pub(crate) struct Decisions(Counter<u64>);

impl Decisions {
    pub(crate) fn new() -> Self {
        let meter = global::meter("tenantry");
        Self(
            meter
                .u64_counter(names::RATE_LIMIT_DECISIONS)
                .with_description("Requests under rate limits.")
                .build(),
        )
    }

    pub(crate) fn decided(&self, outcome: &'static str) {
        self.0.add(1, &[KeyValue::new(names::OUTCOME, outcome)]);
    }
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
