//! What an operator sees of sweeps of artifacts in metrics, with the feature `otel`.

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub(super) use disabled::Instruments;
#[cfg(feature = "otel")]
pub(super) use otel::Instruments;
