//! What an operator sees: spans of what takes time, and with the feature `otel` metrics.

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod otel;

#[cfg(all(feature = "redis", not(feature = "otel")))]
pub(crate) use disabled::Calls;
#[cfg(not(feature = "otel"))]
pub(crate) use disabled::{Decisions, Loads, observe_lookups};
#[cfg(all(feature = "redis", feature = "otel"))]
pub(crate) use otel::Calls;
#[cfg(feature = "otel")]
pub(crate) use otel::{Decisions, Loads, SessionCalls, observe_lookups};

use crate::CacheCounts;

/// What is looked at when metrics are collected.
#[cfg_attr(
    not(feature = "otel"),
    allow(dead_code, reason = "nobody collects metrics")
)]
pub(crate) trait Observed: Send + Sync + 'static {
    /// Tells the counts of each kind, by its name.
    fn counts(&self, each: &mut dyn FnMut(&str, CacheCounts));

    /// Returns how many values there are in this process, and how many bytes they take.
    fn size(&self) -> (u64, u64);
}
