//! Without the feature `redis-tls`, no server is reached over TLS.

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tenantry_core::{Error, ErrorKind, Result};

use super::connection::CONNECT;

/// There is none.
pub(super) enum Tls {}

impl Tls {
    pub(super) fn new(_host: &str, _port: u16, _authorities: &[String]) -> Result<Self> {
        Err(Error::new(ErrorKind::InvalidSettings, CONNECT)
            .with_detail("rediss:// takes the feature `redis-tls` of tenantry-cache: turn it on"))
    }

    #[expect(clippy::unused_async, reason = "its twin waits for the server")]
    pub(super) async fn connection(
        &self,
        _login: &RedisConnectionInfo,
        _config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "its twin waits for the server")]
    pub(super) async fn messages(&self, _login: &RedisConnectionInfo) -> Result<PubSub> {
        match *self {}
    }
}
