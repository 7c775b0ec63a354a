use std::time::Duration;

/// Stands in for the metrics when the feature `otel` is off.
#[derive(Debug, Clone)]
pub(super) struct Durations;

impl Durations {
    pub(super) const fn new(_system: &'static str) -> Self {
        Self
    }

    pub(super) const fn record(
        &self,
        _elapsed: Duration,
        _operation: &'static str,
        _failure: Option<&'static str>,
    ) {
    }
}
