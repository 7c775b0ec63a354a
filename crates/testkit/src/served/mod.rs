//! What brokers have in common: a URL, and perhaps a process to stop.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use url::Url;

use crate::daemon::Daemon;
use crate::postgres::blocking;
use crate::{Error, Result, StopMode, Way, ports};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says whether the server at an address answers as one of its kind does.
pub(crate) type Probe = fn(String) -> BoxFuture<'static, std::io::Result<bool>>;

/// A server under its URL.
pub(crate) struct Served {
    url: Url,
    probe: Probe,
    /// Nothing where it belongs to somebody else.
    daemon: Option<Arc<Daemon>>,
}

impl Served {
    /// Takes a server that runs already; `schemes` are those of its URL.
    pub(crate) async fn borrowed(
        url: &str,
        schemes: &[&str],
        invalid: &'static str,
        probe: Probe,
    ) -> Result<Self> {
        let url = Url::parse(url).map_err(|error| Error::because(invalid, error))?;
        if !schemes.contains(&url.scheme()) || url.host().is_none() || url.port().is_none() {
            return Err(Error::new(invalid));
        }
        let server = Self {
            url,
            probe,
            daemon: None,
        };
        server.until_ready().await?;
        Ok(server)
    }

    /// Takes a process that was started a moment ago.
    pub(crate) async fn started(url: &str, daemon: Daemon, probe: Probe) -> Result<Self> {
        let url = Url::parse(url)
            .map_err(|error| Error::because("cannot write the URL of a server", error))?;
        let server = Self {
            url,
            probe,
            daemon: Some(Arc::new(daemon)),
        };
        server.until_ready().await?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn address(&self) -> String {
        let host = self.url.host_str().unwrap_or("localhost");
        format!("{host}:{}", self.url.port().unwrap_or_default())
    }

    pub(crate) fn url_through(&self, address: SocketAddr) -> Result<String> {
        ports::lead_through(self.url(), address)
    }

    pub(crate) fn url_of(&self, user: &str, password: &str) -> Result<String> {
        let invalid = |()| Error::new("no URL of a server to put a user in");
        let mut url = self.url.clone();
        url.set_username(user).map_err(invalid)?;
        url.set_password(Some(password)).map_err(invalid)?;
        Ok(url.into())
    }

    pub(crate) async fn stop(&self, mode: StopMode) -> Result<()> {
        self.tell(move |daemon| daemon.stop(mode)).await
    }

    pub(crate) async fn restart(&self) -> Result<()> {
        self.tell(Daemon::restart).await?;
        self.until_ready().await
    }

    pub(crate) async fn pause(&self) -> Result<()> {
        self.tell(Daemon::pause).await
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        self.tell(Daemon::resume).await
    }

    async fn tell(&self, tell: impl FnOnce(&Daemon) -> Result<()> + Send + 'static) -> Result<()> {
        let Some(daemon) = self.daemon.clone() else {
            return Err(Error::new("a server under a URL is not ours to stop"));
        };
        blocking(move || tell(&daemon)).await
    }

    async fn until_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let answer = tokio::time::timeout(PATIENCE, (self.probe)(self.address())).await;
            if matches!(answer, Ok(Ok(true))) {
                return Ok(());
            }
            let daemon = self.daemon.clone();
            let has_ended = match daemon {
                Some(daemon) => !blocking(move || Ok(daemon.is_running())).await?,
                None => false,
            };
            if has_ended || started.elapsed() > PATIENCE {
                let log = self.daemon.as_ref().map(|daemon| daemon.log());
                return Err(Error::new(format!(
                    "a server at {} does not answer as it should\n{}",
                    self.address(),
                    log.unwrap_or_default()
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.daemon {
            None => Way::Url,
            Some(_) => Way::Path,
        };
        f.debug_struct("Served")
            .field("address", &self.address())
            .field("way", &way)
            .finish_non_exhaustive()
    }
}
