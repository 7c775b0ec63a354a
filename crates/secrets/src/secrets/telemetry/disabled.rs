use std::time::Duration;

/// Stands in for the metrics when the feature `otel` is off.
#[derive(Debug)]
pub(in crate::secrets) struct Instruments;

impl Instruments {
    pub(in crate::secrets) const fn new() -> Self {
        Self
    }

    pub(super) const fn called(
        &self,
        _vault: &str,
        _operation: &'static str,
        _elapsed: Duration,
        _failure: Option<&'static str>,
    ) {
    }

    pub(in crate::secrets) const fn resolved(
        &self,
        _outcome: &'static str,
        _failure: Option<&'static str>,
    ) {
    }
}
