//! Servers in containers, where the feature `docker` is on.

#[cfg(feature = "docker")]
mod docker;
#[cfg(not(feature = "docker"))]
#[path = "no_docker.rs"]
mod docker;

pub(crate) use docker::{Container, MISSING};

/// What runs in a container.
#[cfg_attr(
    not(feature = "docker"),
    allow(dead_code, reason = "there are no containers")
)]
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) image: String,
    /// The port that it listens on inside.
    pub(crate) port: u16,
    pub(crate) command: Vec<String>,
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Files by their paths inside, which everybody may read.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}
