//! The way to the server: straight, or through a proxy that makes it long.

use std::fmt;
use std::time::Duration;

use tenantry_testkit::{DelayProxy, ProxyOptions};

use crate::error::Result;

/// Both ways to one server.
#[derive(Debug)]
pub(crate) struct Network {
    proxy: DelayProxy,
}

/// One of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Loopback,
    /// A millisecond more for each answer.
    Delayed,
}

impl Link {
    pub(crate) const ALL: [Self; 2] = [Self::Loopback, Self::Delayed];
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Delayed => "1ms",
        })
    }
}

impl Network {
    /// Starts the proxy in front of the server at this address, on the runtime of the caller.
    pub(crate) async fn start(server: &str) -> Result<Self> {
        let options = ProxyOptions::default().with_delay(Duration::from_millis(1));
        Ok(Self {
            proxy: DelayProxy::start(server, options).await?,
        })
    }

    /// Returns a URL of the server, by way of `link`.
    pub(crate) fn url(&self, link: Link, url: &str) -> Result<String> {
        Ok(match link {
            Link::Loopback => url.to_owned(),
            Link::Delayed => self.proxy.url(url)?,
        })
    }

    /// Returns how many round trips were made on the long way.
    pub(crate) fn round_trips(&self) -> u64 {
        self.proxy.round_trips()
    }
}
