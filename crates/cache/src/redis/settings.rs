use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion};
use tenantry_core::{Error, ErrorKind, Result, Secret, SecretReference, SecretSource, TenantLabel};

use super::acl;
use super::connection::Connections;
use super::keys::Keys;
use super::login::{Login, Password};
use super::tls::Tls;
use super::tokens::RedisTokens;
use crate::telemetry::Calls;

/// How many connections one process may open.
const MOST_CONNECTIONS: usize = 1_024;

const SET: &str = "read redis settings";

/// How a Redis is reached.
///
/// # Examples
///
/// ```
/// use tenantry_cache::RedisSettings;
/// use tenantry_core::Secret;
///
/// let settings = RedisSettings::new("redis://cache.internal:6380/0")
///     .with_user("billing")
///     .with_password(Secret::new("hunter2"))
///     .with_prefix("billing");
/// # let _ = settings;
/// ```
#[derive(Clone)]
pub struct RedisSettings {
    url: String,
    user: Option<String>,
    password: Password,
    authorities: Vec<String>,
    prefix: String,
    connections: usize,
    timeout: Duration,
    pub(super) bytes_of_a_tenant: Option<u64>,
    label: TenantLabel,
}

impl RedisSettings {
    /// Reaches a server by its URL: `redis://[user[:password]@]host[:port][/database]`, or `rediss://…`
    /// over TLS, feature `redis-tls`.
    ///
    /// The server has to be 6.2 or newer, and not part of a cluster.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: Password::OfUrl,
            authorities: Vec::new(),
            prefix: "tenantry".to_owned(),
            connections: 2,
            timeout: Duration::from_millis(500),
            bytes_of_a_tenant: None,
            label: TenantLabel::none(),
        }
    }

    /// Sets the user, in place of the URL's.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password, in place of the URL's.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Password::Given(Arc::new(password));
        self
    }

    /// Takes the password from a secret, in place of the URL's, and follows it.
    ///
    /// A new one is used for every connection that is opened from then on; a cache opens those anew
    /// that there are. Refused, it is tried with the password before, and then with what the
    /// vault has now.
    #[must_use]
    pub fn with_password_from(
        mut self,
        source: Arc<dyn SecretSource>,
        reference: SecretReference,
    ) -> Self {
        self.password = Password::From(source, reference);
        self
    }

    /// Takes tokens in the password's place, in place of the URL's, such as those of Microsoft Entra ID.
    ///
    /// Connections show each new one ahead of the time at which the one before runs out, and calls go on
    /// meanwhile. The link by which other processes are heard is opened anew, for which values that are
    /// kept in this process are forgotten.
    #[must_use]
    pub fn with_tokens_from(mut self, source: Arc<dyn RedisTokens>) -> Self {
        self.password = Password::Tokens(source);
        self
    }

    /// Trusts another authority beside those of the system, in PEM, for a server that is reached over TLS.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: impl Into<String>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// Sets what all keys and channels begin with: `tenantry` by default. Services that share a server
    /// have one each.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets over how many connections calls are spread, each of which carries many at a time: 2 by
    /// default.
    #[must_use]
    pub const fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets how long one call may take, and how long a connection may take to stand: half a second by
    /// default. A cache that is slower is done without.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many bytes of a cache in this server one tenant may take: as many as there are by default,
    /// for only the operator of the server knows how much of it is whose share.
    ///
    /// They are counted as the server does for its own memory (`MEMORY USAGE`), with what tells of them. A
    /// tenant that has no more room loses the oldest of its own values, about in the order in which they
    /// were stored, and no value of another. Values that a flush has ended take room until their time is
    /// over, or until they are the oldest. One that has no room all the same is not stored, and leaves a
    /// warning.
    ///
    /// All processes that share a prefix have the same.
    #[must_use]
    pub const fn with_bytes_of_a_tenant(mut self, bytes: u64) -> Self {
        self.bytes_of_a_tenant = Some(bytes);
        self
    }

    /// Sets which tenants the metrics of calls count by name: none by default, and all together.
    #[must_use]
    pub fn with_tenant_label(mut self, label: TenantLabel) -> Self {
        self.label = label;
        self
    }

    /// Returns what the user of these settings has to be allowed, and no more: the rules for
    /// `ACL SETUSER <user> on ><password>`.
    ///
    /// With them a user has nothing of another prefix: no key, no channel, and no command that looks past
    /// the pattern of its keys (`SCAN`, `KEYS`, `RANDOMKEY`, `FLUSHDB`, `FLUSHALL`, `SWAPDB`).
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): as of a cache that is built with them.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_cache::RedisSettings;
    ///
    /// # fn main() -> tenantry_core::Result<()> {
    /// let settings = RedisSettings::new("redis://cache.internal").with_prefix("billing");
    /// let rules = settings.acl_rules()?;
    /// assert!(rules.starts_with("resetkeys ~billing:* resetchannels &billing:* -@all +info"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn acl_rules(&self) -> Result<String> {
        let login = self.login()?;
        let database = login.info().redis_settings().db();
        Ok(acl::rules(&self.prefix, database))
    }

    /// Returns connections, of which none stands yet, and the keys of the prefix.
    pub(super) fn open(&self) -> Result<(Arc<Connections>, Keys)> {
        let (login, keys) = (self.login()?, Keys::new(&self.prefix));
        let calls = Calls::new(self.label.clone());
        let connections = Connections::new(login, self.connections, self.timeout, &keys, calls)?;
        Ok((Arc::new(connections), keys))
    }

    fn login(&self) -> Result<Login> {
        let invalid = |detail| Err(Error::new(ErrorKind::InvalidSettings, SET).with_detail(detail));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if self.prefix.is_empty() || !self.prefix.bytes().all(is_plain) {
            return invalid("expected a prefix of [A-Za-z0-9_.-]");
        }
        if self.bytes_of_a_tenant == Some(0) {
            return invalid(
                "a tenant may take no memory: allow some, or do without a shared cache",
            );
        }
        if self.connections > MOST_CONNECTIONS {
            return invalid("more than 1,024 connections: each carries many calls at a time");
        }
        if self.connections == 0 || self.timeout.is_zero() {
            return invalid("no connection, or no time for a call, is allowed");
        }
        // The driver knows of no TLS.
        let (is_encrypted, url) = match self.url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rediss") => {
                (true, format!("redis://{rest}"))
            }
            _ => (false, self.url.clone()),
        };
        // Its error may repeat the URL, and with it a password.
        let Ok(info) = url.into_connection_info() else {
            return invalid("expected a URL redis[s]://[user[:password]@]host[:port][/database]");
        };
        let tls = match info.addr() {
            _ if is_encrypted && self.url.contains('#') => {
                return invalid(
                    "a server whose certificate is not looked at may be anybody: trust its authority \
                     instead, by with_ca_certificate",
                );
            }
            ConnectionAddr::Tcp(host, port) if is_encrypted => {
                Some(Tls::new(host, *port, &self.authorities)?)
            }
            _ if !self.authorities.is_empty() => {
                return invalid(
                    "an authority is trusted and no TLS is spoken: begin with rediss://",
                );
            }
            _ => None,
        };
        let mut login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2)
            // One thing less that a user has to be allowed.
            .set_skip_set_lib_name();
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        let login = Login::new(info.set_redis_settings(login), self.password.clone());
        Ok(match tls {
            Some(tls) => login.with_tls(tls),
            None => login,
        })
    }
}

impl fmt::Debug for RedisSettings {
    /// Without the URL and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("bytes_of_a_tenant", &self.bytes_of_a_tenant)
            .finish_non_exhaustive()
    }
}
