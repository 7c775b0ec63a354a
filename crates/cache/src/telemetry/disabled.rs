use std::sync::Weak;
use std::time::Duration;

use tenantry_core::{TenantId, TenantLabel};

use super::Observed;

/// Stands in for the metrics when the feature `otel` is off.
#[derive(Debug)]
pub(crate) struct Loads;

impl Loads {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) const fn ended(&self, _kind: &str, _took: Duration, _failure: Option<&'static str>) {
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Decisions;

impl Decisions {
    pub(crate) fn new(_label: TenantLabel) -> Self {
        Self
    }

    pub(crate) const fn decided(&self, _tenant: TenantId, _outcome: &'static str) {}
}

#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Calls;

#[cfg(feature = "redis")]
impl Calls {
    pub(crate) fn new(_label: TenantLabel) -> Self {
        Self
    }

    pub(crate) const fn ended(
        &self,
        _took: Duration,
        _operation: &'static str,
        _tenant: Option<TenantId>,
        _failure: Option<&'static str>,
    ) {
    }
}

pub(crate) fn observe_lookups(_observed: Weak<impl Observed>) {}
