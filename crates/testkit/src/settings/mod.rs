//! Where the test kit looks for servers.

use std::path::PathBuf;

use crate::{Error, Result};

const URL: &str = "TENANTRY_TEST_POSTGRES_URL";
const REDIS_URL: &str = "TENANTRY_TEST_REDIS_URL";
const AZURITE_URL: &str = "TENANTRY_TEST_AZURITE_URL";
const NATS_URL: &str = "TENANTRY_TEST_NATS_URL";
const RABBITMQ_URL: &str = "TENANTRY_TEST_RABBITMQ_URL";
const IMAGE: &str = "TENANTRY_TEST_POSTGRES_IMAGE";
const REDIS_IMAGE: &str = "TENANTRY_TEST_REDIS_IMAGE";
const FIND: &str = "TENANTRY_TEST_FIND";
const LABEL: &str = "TENANTRY_TEST_LABEL";
const DEFAULT_IMAGE: &str = "postgres:17-alpine";
const DEFAULT_REDIS_IMAGE: &str = "redis:7-alpine";

/// A way to come by a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// A server that runs already, under its URL.
    Url,
    /// A container, through the Docker daemon.
    Docker,
    /// Server programs of this machine, run in a temporary folder.
    Path,
}

/// Says where to look for servers; the environment sets it, and a test may set it otherwise.
///
/// | variable | meaning |
/// |---|---|
/// | `TENANTRY_TEST_POSTGRES_URL` | URL of a superuser on a server that runs already |
/// | `TENANTRY_TEST_POSTGRES_IMAGE` | image for containers, `postgres:17-alpine` when unset |
/// | `TENANTRY_TEST_REDIS_URL` | URL of a Redis server that runs already, and that tests may write to |
/// | `TENANTRY_TEST_REDIS_IMAGE` | image for containers, `redis:7-alpine` when unset |
/// | `TENANTRY_TEST_AZURITE_URL` | URL of an account of an Azurite that runs already, and that tests may write to; its key stands in it, or is that of every Azurite |
/// | `TENANTRY_TEST_NATS_URL` | URL of a NATS server with JetStream that runs already, and where tests may make streams |
/// | `TENANTRY_TEST_RABBITMQ_URL` | URL of a RabbitMQ that runs already, and where tests may make exchanges and queues |
/// | `TENANTRY_TEST_FIND` | `url`, `docker` or `path`: this way or an error |
/// | `TENANTRY_TEST_LABEL` | stands in the names of folders and containers, after `tenantry-test-`: tells one run's from another's |
#[derive(Debug, Clone)]
pub struct Settings {
    way: Option<Way>,
    url: Option<String>,
    redis_url: Option<String>,
    #[cfg_attr(
        not(feature = "azurite"),
        allow(dead_code, reason = "there is no Azurite")
    )]
    azurite_url: Option<String>,
    #[cfg_attr(
        not(feature = "azurite"),
        allow(dead_code, reason = "there is no Azurite")
    )]
    home: Option<PathBuf>,
    nats_url: Option<String>,
    rabbitmq_url: Option<String>,
    image: String,
    redis_image: String,
    prefix: String,
    search_path: Vec<PathBuf>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// When `TENANTRY_TEST_FIND` names no way.
    #[expect(
        clippy::disallowed_methods,
        reason = "`from_env` is where the environment is read"
    )]
    pub fn from_env() -> Result<Self> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let way = match set(FIND).as_deref() {
            None => None,
            Some("url") => Some(Way::Url),
            Some("docker") => Some(Way::Docker),
            Some("path") => Some(Way::Path),
            Some(other) => {
                return Err(Error::new(format!(
                    "{FIND} is `{other}`, not url, docker or path"
                )));
            }
        };
        Ok(Self {
            way,
            url: set(URL),
            redis_url: set(REDIS_URL),
            azurite_url: set(AZURITE_URL),
            home: set("HOME").map(PathBuf::from),
            nats_url: set(NATS_URL),
            rabbitmq_url: set(RABBITMQ_URL),
            image: set(IMAGE).unwrap_or_else(|| DEFAULT_IMAGE.to_owned()),
            redis_image: set(REDIS_IMAGE).unwrap_or_else(|| DEFAULT_REDIS_IMAGE.to_owned()),
            prefix: set(LABEL).map_or_else(
                || "tenantry-test-".to_owned(),
                |label| format!("tenantry-test-{label}-"),
            ),
            search_path: std::env::var_os("PATH")
                .map(|path| std::env::split_paths(&path).collect())
                .unwrap_or_default(),
        })
    }

    /// Takes this way, or fails.
    #[must_use]
    pub const fn with_way(mut self, way: Way) -> Self {
        self.way = Some(way);
        self
    }

    /// Takes the PostgreSQL server under this URL of an administrator.
    #[must_use]
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Takes this image for containers of PostgreSQL.
    #[must_use]
    pub fn with_image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// Takes the Redis server under this URL.
    #[must_use]
    pub fn with_redis_url(mut self, url: impl Into<String>) -> Self {
        self.redis_url = Some(url.into());
        self
    }

    /// Takes the Azurite under this URL of an account.
    #[must_use]
    pub fn with_azurite_url(mut self, url: impl Into<String>) -> Self {
        self.azurite_url = Some(url.into());
        self
    }

    /// Takes this image for containers of Redis.
    #[must_use]
    pub fn with_redis_image(mut self, image: impl Into<String>) -> Self {
        self.redis_image = image.into();
        self
    }

    /// Takes the NATS server under this URL.
    #[must_use]
    pub fn with_nats_url(mut self, url: impl Into<String>) -> Self {
        self.nats_url = Some(url.into());
        self
    }

    /// Takes the RabbitMQ under this URL.
    #[must_use]
    pub fn with_rabbitmq_url(mut self, url: impl Into<String>) -> Self {
        self.rabbitmq_url = Some(url.into());
        self
    }

    pub(crate) const fn way(&self) -> Option<Way> {
        self.way
    }

    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(crate) fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref()
    }

    #[cfg(feature = "azurite")]
    pub(crate) fn azurite_url(&self) -> Option<&str> {
        self.azurite_url.as_deref()
    }

    #[cfg(feature = "azurite")]
    pub(crate) fn home(&self) -> Option<&std::path::Path> {
        self.home.as_deref()
    }

    pub(crate) fn nats_url(&self) -> Option<&str> {
        self.nats_url.as_deref()
    }

    pub(crate) fn rabbitmq_url(&self) -> Option<&str> {
        self.rabbitmq_url.as_deref()
    }

    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    pub(crate) fn redis_image(&self) -> &str {
        &self.redis_image
    }

    /// What the names of folders and containers begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn search_path(&self) -> &[PathBuf] {
        &self.search_path
    }
}
