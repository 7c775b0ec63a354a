//! The Redis of the cache and of the limiter, and clients of it as one writes them by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion};
use tenantry_cache::RedisSettings;
use tenantry_testkit::RedisServer;

use crate::error::Result;
use crate::network::{Link, Network};

/// How many connections every side has that lets one choose.
const CONNECTIONS: usize = 2;

/// A machine that is busy is no server that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of this run's own, and the ways to it.
#[derive(Debug)]
pub(crate) struct CacheServer {
    server: RedisServer,
    network: Arc<Network>,
}

/// Connections as ours has them: each carries many calls at a time, and they take turns.
pub(crate) struct Stripes {
    connections: Box<[MultiplexedConnection]>,
    next: AtomicUsize,
}

impl CacheServer {
    pub(crate) async fn start() -> Result<Self> {
        let server = RedisServer::start().await?;
        let network = Arc::new(Network::start(&server.address())?);
        Ok(Self { server, network })
    }

    pub(crate) const fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Returns the URL of the server, by way of `link`.
    pub(crate) fn url(&self, link: Link) -> Result<String> {
        self.network.url(link, self.server.url())
    }

    /// Returns how ours reaches it.
    pub(crate) fn settings(&self, link: Link, prefix: &str) -> Result<RedisSettings> {
        Ok(RedisSettings::new(self.url(link)?)
            .with_prefix(prefix)
            .with_connections(CONNECTIONS)
            .with_timeout(PATIENCE))
    }

    /// Opens plain connections of the same kind.
    pub(crate) async fn stripes(&self, link: Link) -> Result<Arc<Stripes>> {
        let info = self.url(link)?.into_connection_info()?;
        let login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2);
        let client = Client::open(info.set_redis_settings(login))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let opened = client.get_multiplexed_async_connection_with_config(&config);
            connections.push(opened.await?);
        }
        Ok(Arc::new(Stripes {
            connections: connections.into(),
            next: AtomicUsize::new(0),
        }))
    }

    /// Returns how often the server has run each of these commands since its counts began.
    pub(crate) async fn calls(&self, commands: &[&str]) -> Result<u64> {
        let told = self.server.ask(&["info", "commandstats"]).await?;
        let calls = told.lines().filter_map(|line| {
            let (command, counts) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = counts.split(',').next()?;
            commands.contains(&command).then(|| calls.parse::<u64>())
        });
        Ok(calls.sum::<Result<u64, _>>()?)
    }

    pub(crate) async fn forget_calls(&self) -> Result<()> {
        Ok(self.server.execute(&["config", "resetstat"]).await?)
    }

    /// Removes everything.
    pub(crate) async fn clear(&self) -> Result<()> {
        Ok(self.server.execute(&["flushall", "sync"]).await?)
    }
}

impl Stripes {
    /// Returns the connection whose turn it is.
    pub(crate) fn next(&self) -> MultiplexedConnection {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[index].clone()
    }
}

impl fmt::Debug for Stripes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripes")
            .field("count", &self.connections.len())
            .finish_non_exhaustive()
    }
}
