use std::time::Duration;

use super::Settled;
use crate::{Message, OutboxStatus};

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

/// Stands in for the metrics of a consumer.
#[derive(Debug, Clone)]
pub(crate) struct Consumed;

impl Consumed {
    pub(crate) const fn new(_system: &'static str, _consumer: &str) -> Self {
        Self
    }

    pub(crate) const fn received(&self, _messages: usize) {}

    pub(crate) const fn begins(&self, _message: &Message) {}

    pub(crate) const fn attempted(&self, _took: Duration, _failure: Option<&'static str>) {}

    pub(crate) const fn settled(&self, _settled: Settled) {}
}
