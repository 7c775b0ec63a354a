//! Connections to Redis.

#[cfg(feature = "redis-streams-tls")]
mod tls;
#[cfg(not(feature = "redis-streams-tls"))]
#[path = "no_tls.rs"]
mod tls;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind as RedisKind,
    IntoConnectionInfo as _, ProtocolVersion, RedisError,
};
use tenantry_core::{Error, ErrorKind, Result};

use self::tls::{Tls, Trust};
use super::access::{Access, connection_settings};
use super::{SILENT, UNREACHABLE};

const CONNECT: &str = "connect to redis";

/// Where a Redis with streams is, and who asks.
///
/// # Examples
///
/// ```
/// use tenantry_core::Secret;
/// use tenantry_outbox::RedisConnection;
///
/// let connection = RedisConnection::new("redis://redis.internal:6379/1")
///     .with_user("billing")
///     .with_password(Secret::new("from a vault"));
/// # drop(connection);
/// ```
#[derive(Clone)]
pub struct RedisConnection {
    access: Access<Trust>,
}

impl RedisConnection {
    /// Returns the connection to a URL `redis://[user[:password]@]host[:port][/database]`, or `rediss://…` over TLS,
    /// feature `redis-streams-tls`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            access: Access::new(url.into()),
        }
    }

    /// Refuses what can never work.
    pub(crate) fn check(&self) -> Result<()> {
        self.access.check(CONNECT)?;
        self.info().map(drop)
    }

    /// Returns who is asked, and how over TLS where the URL wants it.
    fn info(&self) -> Result<(ConnectionInfo, Option<Tls>)> {
        // The driver knows of no TLS.
        let (is_encrypted, url) = match self.access.url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rediss") => {
                (true, format!("redis://{rest}"))
            }
            _ => (false, self.access.url.clone()),
        };
        // Its error may repeat the URL, and with it a password.
        let expected = "expected redis[s]://[user[:password]@]host[:port][/database]";
        let info = url.into_connection_info();
        let info = info.map_err(|_| invalid(expected))?;
        let tls = match info.addr() {
            _ if is_encrypted && self.access.url.contains('#') => {
                return Err(invalid(
                    "a server whose certificate is not looked at may be anybody: trust its authority instead, by \
                     with_ca_certificate",
                ));
            }
            ConnectionAddr::Tcp(host, port) if is_encrypted => {
                Some(Tls::new(host, *port, &self.access.trust)?)
            }
            _ if !self.access.trust.is_of_the_system() => {
                return Err(invalid(
                    "an authority is trusted, or a certificate shown, and no TLS is spoken: begin with rediss://",
                ));
            }
            _ => None,
        };
        let mut login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        if let Some(user) = &self.access.user {
            login = login.set_username(user);
        }
        Ok((info.set_redis_settings(login), tls))
    }

    /// Connects; a connection that broke does not come back.
    pub(crate) async fn open(&self) -> Result<MultiplexedConnection> {
        let (mut info, tls) = self.info()?;
        let current = self.access.password.follow().await?;
        if let Some(secret) = current.secret() {
            let login = info.redis_settings().clone().set_password(secret.expose());
            info = info.set_redis_settings(login);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.access.timeout))
            .set_response_timeout(Some(self.access.timeout));
        let opening = async {
            match &tls {
                Some(tls) => tls.open(info.redis_settings(), config).await,
                None => Ok(plain(info, &config).await),
            }
        };
        let opened = tokio::time::timeout(self.access.timeout.saturating_mul(2), opening).await;
        let opened = opened
            .map_err(|_| Error::new(ErrorKind::Unavailable, CONNECT).with_detail(SILENT))??;
        match opened {
            Ok(connection) => Ok(connection),
            Err(error) => {
                let is_refused = is_login_refused(&error);
                if is_refused {
                    // With the next connection, what the vault has by then is shown.
                    current.was_refused().await?;
                }
                let (kind, detail) = match is_refused {
                    true => (
                        ErrorKind::AuthenticationFailed,
                        "the server takes neither user nor password: correct the settings",
                    ),
                    false => (ErrorKind::Unavailable, UNREACHABLE),
                };
                Err(Error::new(kind, CONNECT).with_detail(detail))
            }
        }
    }
}

connection_settings!(RedisConnection, feature = "redis-streams-tls");

async fn plain(
    info: ConnectionInfo,
    config: &AsyncConnectionConfig,
) -> std::result::Result<MultiplexedConnection, RedisError> {
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(config)
        .await
}

/// Returns whether a server takes neither user nor password.
pub(crate) fn is_login_refused(error: &RedisError) -> bool {
    error.kind() == RedisKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, CONNECT).with_detail(detail)
}
