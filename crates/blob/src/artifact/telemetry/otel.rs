use chrono::{DateTime, Utc};
use opentelemetry::metrics::{Counter, Gauge};
use opentelemetry::{KeyValue, global};
use tenantry_core::{ErrorKind, telemetry as names};

use crate::artifact::ArtifactSweep;

/// What sweeps of artifacts do, and when the last one went well.
#[derive(Debug)]
pub(in crate::artifact) struct Instruments {
    sweeps: Counter<u64>,
    swept: Counter<u64>,
    last_success: Gauge<f64>,
}

impl Instruments {
    pub(in crate::artifact) fn new() -> Self {
        let meter = global::meter("tenantry");
        Self {
            sweeps: meter
                .u64_counter(names::ARTIFACT_SWEEPS)
                .with_description("Tenants whose artifacts were swept.")
                .build(),
            swept: meter
                .u64_counter(names::ARTIFACT_SWEPT)
                .with_description("Artifacts that a sweep came to.")
                .build(),
            last_success: meter
                .f64_gauge(names::ARTIFACT_SWEEP_LAST_SUCCESS)
                .with_unit(names::ARTIFACT_SWEEP_LAST_SUCCESS_UNIT)
                .with_description("When a sweep of artifacts last went well, since 1970.")
                .build(),
        }
    }

    pub(in crate::artifact) fn swept(&self, swept: &ArtifactSweep) {
        self.sweeps.add(1, &[]);
        let outcomes = [
            ("orphaned", swept.orphans),
            ("expired", swept.expired),
            ("deleted", swept.deleted),
            ("corrected", swept.corrected),
            ("kept", swept.kept),
            ("skipped", swept.skipped),
            ("failed", swept.failed),
        ];
        for (outcome, count) in outcomes {
            let outcome = KeyValue::new(names::OUTCOME, outcome);
            self.swept.add(count, &[outcome]);
        }
    }

    pub(in crate::artifact) fn failed(&self, kind: ErrorKind) {
        let failure = KeyValue::new(names::ERROR_TYPE, kind.as_str());
        self.sweeps.add(1, &[failure]);
    }

    pub(in crate::artifact) fn succeeded(&self, at: DateTime<Utc>) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds fit for 280,000 years"
        )]
        let seconds = at.timestamp_millis() as f64 / 1_000.0;
        self.last_success.record(seconds, &[]);
    }
}
