//! Connections to Redis.

#[cfg(feature = "redis-streams-tls")]
mod tls;
#[cfg(not(feature = "redis-streams-tls"))]
#[path = "no_tls.rs"]
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind as RedisKind,
    IntoConnectionInfo as _, ProtocolVersion, RedisError,
};
use tenantry_core::{Error, ErrorKind, Result, Secret, SecretReference, SecretSource};

use self::tls::{Tls, Trust};
#[cfg(feature = "redis-streams-tls")]
use super::identity::Identity;
use super::{Password, SILENT, UNREACHABLE};

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
///     .with_user("billing", Secret::new("from a vault"));
/// # drop(connection);
/// ```
#[derive(Clone)]
pub struct RedisConnection {
    url: String,
    user: Option<String>,
    password: Password,
    trust: Trust,
    timeout: Duration,
}

impl RedisConnection {
    /// Returns the connection to a URL `redis://[user[:password]@]host[:port][/database]`, or `rediss://…` over TLS,
    /// feature `redis-streams-tls`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: Password::OfUrl,
            trust: Trust::default(),
            timeout: Duration::from_secs(5),
        }
    }

    /// Sets user and password.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.user = Some(user.into());
        self.password = Password::Given(Arc::new(password));
        self
    }

    /// Sets the user, and where the password is; the newest one is shown with each connection.
    #[must_use]
    pub fn with_user_from(
        mut self,
        user: impl Into<String>,
        source: Arc<dyn SecretSource>,
        password: SecretReference,
    ) -> Self {
        self.user = Some(user.into());
        self.password = Password::From(source, password);
        self
    }

    /// Trusts another authority beside those of the system, in PEM, for a server that is reached over TLS.
    #[cfg(feature = "redis-streams-tls")]
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: impl Into<String>) -> Self {
        self.trust.add(pem.into());
        self
    }

    /// Shows a certificate, with its chain, to a server that asks its clients for one, and its key, both in PEM.
    #[cfg(feature = "redis-streams-tls")]
    #[must_use]
    pub fn with_client_certificate(mut self, certificate: impl Into<String>, key: Secret) -> Self {
        self.trust.show(Identity::given(certificate.into(), key));
        self
    }

    /// Says where the certificate is that is shown to a server which asks for one, and where its key is: the newest of them
    /// with each connection. Both may be in one secret, and change at once then; while only one of two has changed, what was
    /// shown before goes on.
    #[cfg(feature = "redis-streams-tls")]
    #[must_use]
    pub fn with_client_certificate_from(
        mut self,
        source: Arc<dyn SecretSource>,
        certificate: SecretReference,
        key: SecretReference,
    ) -> Self {
        self.trust.show(Identity::from(source, certificate, key));
        self
    }

    /// Sets how long a connection, and each answer, may take; 5 s without it.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Refuses what can never work.
    pub(crate) fn check(&self) -> Result<()> {
        if self.timeout.is_zero() {
            return Err(invalid("no time is given for an answer"));
        }
        self.info().map(drop)
    }

    /// Returns who is asked, and how over TLS where the URL wants it.
    fn info(&self) -> Result<(ConnectionInfo, Option<Tls>)> {
        // The driver knows of no TLS.
        let (is_encrypted, url) = match self.url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rediss") => {
                (true, format!("redis://{rest}"))
            }
            _ => (false, self.url.clone()),
        };
        // Its error may repeat the URL, and with it a password.
        let expected = "expected redis[s]://[user[:password]@]host[:port][/database]";
        let info = url.into_connection_info();
        let info = info.map_err(|_| invalid(expected))?;
        let tls = match info.addr() {
            _ if is_encrypted && self.url.contains('#') => {
                return Err(invalid(
                    "a server whose certificate is not looked at may be anybody: trust its authority instead, by \
                     with_ca_certificate",
                ));
            }
            ConnectionAddr::Tcp(host, port) if is_encrypted => {
                Some(Tls::new(host, *port, &self.trust)?)
            }
            _ if !self.trust.is_of_the_system() => {
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
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        Ok((info.set_redis_settings(login), tls))
    }

    /// Connects; a connection that broke does not come back.
    pub(crate) async fn open(&self) -> Result<MultiplexedConnection> {
        let (mut info, tls) = self.info()?;
        let current = self.password.follow().await?;
        if let Some(secret) = current.secret() {
            let login = info.redis_settings().clone().set_password(secret.expose());
            info = info.set_redis_settings(login);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let opening = async {
            match &tls {
                Some(tls) => tls.open(info.redis_settings(), config).await,
                None => Ok(plain(info, &config).await),
            }
        };
        let opened = tokio::time::timeout(self.timeout.saturating_mul(2), opening).await;
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

impl fmt::Debug for RedisConnection {
    /// Without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
