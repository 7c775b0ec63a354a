//! Stands in for containers where the feature `docker` is off: there never is one.

use std::convert::Infallible;

use super::Contents;
use crate::{Result, Settings, StopMode};

/// What the error says when containers are asked for.
pub(crate) const MISSING: &str = "containers need the feature `docker` of tenantry-testkit";

#[derive(Debug)]
pub(crate) struct Container(Infallible);

#[expect(clippy::unused_async, reason = "the twin with containers waits")]
impl Container {
    pub(crate) async fn start(_settings: &Settings, _contents: Contents) -> Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) const fn host(&self) -> &str {
        match self.0 {}
    }

    pub(crate) const fn port(&self) -> u16 {
        match self.0 {}
    }

    pub(crate) async fn inner_address(&self) -> Result<String> {
        match self.0 {}
    }

    pub(crate) async fn is_running(&self) -> bool {
        match self.0 {}
    }

    pub(crate) async fn stop(&self, _mode: StopMode) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn restart(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn pause(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn log(&self) -> String {
        match self.0 {}
    }
}
