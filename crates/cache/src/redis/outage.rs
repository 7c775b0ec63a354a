//! Telling once why a server lets nobody in.

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind};

/// The last refusal that was told since something was open last.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<ErrorKind>>);

impl Outage {
    /// Tells why something cannot be opened, if that is a refusal which was not told yet.
    ///
    /// That a server does not answer is told by who does without it; a refusal does not end by itself.
    pub(super) fn goes_on(&self, error: &Error, what: &'static str) {
        let kind = error.kind();
        if kind.is_retryable() || self.0.lock().replace(kind) == Some(kind) {
            tracing::debug!(target: "tenantry::cache", %error, what, "still out of reach");
        } else {
            tracing::warn!(
                target: "tenantry::cache",
                %error,
                what,
                "the redis refuses this process, which does without it until that is mended"
            );
        }
    }

    pub(super) fn is_over(&self) {
        *self.0.lock() = None;
    }
}
