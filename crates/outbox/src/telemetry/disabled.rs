use std::time::Duration;

use crate::OutboxStatus;

/// Stands in for the metrics when the feature `otel` is off.
#[derive(Debug, Clone)]
pub(crate) struct Metrics;

impl Metrics {
    pub(crate) const IS_ON: bool = false;

    pub(crate) const fn new(_system: &'static str) -> Self {
        Self
    }

    pub(crate) const fn sent(
        &self,
        _took: Duration,
        _messages: usize,
        _failure: Option<&'static str>,
    ) {
    }

    #[allow(clippy::needless_pass_by_value, reason = "as where it is kept")]
    pub(crate) fn stands(&self, _status: Option<OutboxStatus>) {}
}
