use chrono::{DateTime, Utc};
use tenantry_core::ErrorKind;

use crate::artifact::ArtifactSweep;

/// Stands in for the metrics when the feature `otel` is off.
#[derive(Debug)]
pub(in crate::artifact) struct Instruments;

impl Instruments {
    pub(in crate::artifact) const fn new() -> Self {
        Self
    }

    pub(in crate::artifact) const fn swept(&self, _swept: &ArtifactSweep) {}

    pub(in crate::artifact) const fn failed(&self, _kind: ErrorKind) {}

    pub(in crate::artifact) const fn succeeded(&self, _at: DateTime<Utc>) {}
}
