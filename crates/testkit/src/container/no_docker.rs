//! Stands in for containers where the feature `docker` is off: there never is one.

use std::convert::Infallible;

use super::{ServerOptions, StopMode};
use crate::{Result, Settings};

/// What the error says when containers are asked for.
pub(super) const MISSING: &str = "containers need the feature `docker` of tenantry-testkit";

#[derive(Debug)]
pub(super) struct Container(Infallible);

#[expect(clippy::unused_async, reason = "the twin with containers waits")]
impl Container {
    pub(super) async fn start(
        _settings: &Settings,
        _options: &ServerOptions,
        _verifier: &str,
    ) -> Result<Option<Self>> {
        Ok(None)
    }

    pub(super) const fn host(&self) -> &str {
        match self.0 {}
    }

    pub(super) const fn port(&self) -> u16 {
        match self.0 {}
    }

    pub(super) async fn stop(&self, _mode: StopMode) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn restart(&self) -> Result<()> {
        match self.0 {}
    }
}
