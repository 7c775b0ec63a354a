use tenantry_core::Error;

use crate::sweep::SweepReport;

/// Stands in for the metrics when the feature `otel` is off.
#[derive(Debug)]
pub(in crate::sweep) struct Instruments;

impl Instruments {
    pub(in crate::sweep) const fn new(_system: &'static str) -> Self {
        Self
    }

    pub(in crate::sweep) const fn ended(&self, _swept: Result<&SweepReport, &Error>) {}
}
