use opentelemetry::metrics::{Counter, Gauge};
use opentelemetry::{KeyValue, global};
use tenantry_core::{Error, telemetry as names};

use crate::sweep::SweepReport;

/// What sweeps do, when the last one went well, and what is left.
#[derive(Debug)]
pub(in crate::sweep) struct Instruments {
    system: &'static str,
    sweeps: Counter<u64>,
    swept: Counter<u64>,
    backlog: Gauge<u64>,
    last_success: Gauge<f64>,
}

impl Instruments {
    pub(in crate::sweep) fn new(system: &'static str) -> Self {
        let meter = global::meter("tenantry");
        Self {
            system,
            sweeps: meter
                .u64_counter(names::BLOB_SWEEPS)
                .with_description("Sweeps of blobs.")
                .build(),
            swept: meter
                .u64_counter(names::BLOB_SWEPT)
                .with_description("Blobs that were due.")
                .build(),
            backlog: meter
                .u64_gauge(names::BLOB_SWEEP_BACKLOG)
                .with_description("Blobs that are due after a sweep.")
                .build(),
            last_success: meter
                .f64_gauge(names::BLOB_SWEEP_LAST_SUCCESS)
                .with_unit(names::BLOB_SWEEP_LAST_SUCCESS_UNIT)
                .with_description("When a sweep last went well, since 1970.")
                .build(),
        }
    }

    pub(in crate::sweep) fn ended(&self, swept: Result<&SweepReport, &Error>) {
        let system = || KeyValue::new(names::BLOB_SYSTEM, self.system);
        let report = match swept {
            Ok(report) => report,
            Err(error) => {
                let failure = KeyValue::new(names::ERROR_TYPE, error.kind().as_str());
                return self.sweeps.add(1, &[system(), failure]);
            }
        };
        self.sweeps.add(1, &[system()]);
        let outcomes = [
            ("deleted", report.deleted),
            ("archived", report.archived),
            ("skipped", report.skipped),
            ("failed", report.failed),
        ];
        for (outcome, count) in outcomes {
            let outcome = KeyValue::new(names::OUTCOME, outcome);
            self.swept.add(count, &[system(), outcome]);
        }
        self.backlog.record(report.backlog, &[system()]);
        if report.failed == 0 {
            let seconds = report.at.timestamp_millis();
            #[expect(
                clippy::cast_precision_loss,
                reason = "milliseconds fit for 280,000 years"
            )]
            self.last_success
                .record(seconds as f64 / 1_000.0, &[system()]);
        }
    }
}
