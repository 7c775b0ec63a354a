//! Without the feature `redis-streams-tls`, no server is reached over TLS.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tenantry_core::Result;

use super::invalid;

/// Nobody.
#[derive(Clone, Default)]
pub(super) struct Trust {}

impl Trust {
    pub(super) const fn is_of_the_system(&self) -> bool {
        true
    }
}

/// There is none.
pub(super) enum Tls {}

impl Tls {
    pub(super) fn new(_host: &str, _port: u16, _trust: &Trust) -> Result<Self> {
        Err(invalid(
            "rediss:// takes the feature `redis-streams-tls` of tenantry-outbox: turn it on",
        ))
    }

    #[expect(clippy::unused_async, reason = "its twin waits for the server")]
    pub(super) async fn open(
        &self,
        _login: &RedisConnectionInfo,
        _config: AsyncConnectionConfig,
    ) -> Result<std::result::Result<MultiplexedConnection, RedisError>> {
        match *self {}
    }
}
