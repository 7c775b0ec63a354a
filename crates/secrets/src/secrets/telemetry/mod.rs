//! What an operator sees of vaults in metrics, with the feature `otel`.

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub(super) use disabled::Instruments;
#[cfg(feature = "otel")]
pub(super) use otel::Instruments;

use std::time::Instant;

use tenantry_core::Result;

/// One call of a vault under way. What became of it is recorded when it is dropped, by whomever.
pub(super) struct Call<'c> {
    instruments: &'c Instruments,
    vault: &'c str,
    operation: &'static str,
    started: Instant,
    failure: Option<&'static str>,
}

impl<'c> Call<'c> {
    pub(super) fn begin(
        instruments: &'c Instruments,
        vault: &'c str,
        operation: &'static str,
    ) -> Self {
        Self {
            instruments,
            vault,
            operation,
            started: Instant::now(),
            failure: Some("dropped"),
        }
    }

    pub(super) fn end<T>(mut self, outcome: &Result<T>) {
        self.failure = outcome.as_ref().err().map(|error| error.kind().as_str());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.instruments
            .called(self.vault, self.operation, elapsed, self.failure);
    }
}
