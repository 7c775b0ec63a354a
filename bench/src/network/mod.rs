//! The way to the server: straight, or through a proxy that makes it long.

mod proxy;

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::error::Result;
use proxy::Proxy;

/// Both ways to one server.
#[derive(Debug)]
pub(crate) struct Network {
    proxy: Proxy,
}

/// One of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Loopback,
    /// A millisecond more for each answer.
    Delayed,
    /// None: all is in this process.
    Process,
}

impl Link {
    /// Those to a server.
    pub(crate) const ALL: [Self; 2] = [Self::Loopback, Self::Delayed];
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Delayed => "1ms",
            Self::Process => "process",
        })
    }
}

impl Network {
    /// Starts the proxy in front of the server at this host and port.
    pub(crate) fn start(server: &str) -> Result<Self> {
        Ok(Self {
            proxy: Proxy::start(server, Duration::from_millis(1))?,
        })
    }

    /// Returns a URL of the server, by way of `link`.
    pub(crate) fn url(&self, link: Link, url: &str) -> Result<String> {
        let mut url = Url::parse(url)?;
        if link == Link::Delayed {
            let address = self.proxy.address;
            url.set_host(Some(&address.ip().to_string()))?;
            url.set_port(Some(address.port()))
                .map_err(|()| "a URL without a host")?;
        }
        Ok(url.into())
    }

    /// Returns how many round trips were made on the long way.
    pub(crate) fn round_trips(&self) -> u64 {
        self.proxy.round_trips()
    }
}
