use std::sync::Arc;

#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
use tenantry_core::SecretReference;
use tenantry_outbox::Publisher;

#[cfg(all(
    feature = "settings-file",
    any(feature = "nats", feature = "rabbitmq", feature = "redis-streams")
))]
use super::url::UserInUrl;
#[cfg(feature = "settings-file")]
use super::{file::Section, url::Url};
#[cfg(feature = "settings-file")]
use tenantry_store::Result;

/// Where messages go.
#[derive(Debug, Clone)]
pub(crate) enum Broker {
    Made(Arc<dyn Publisher>),
    Memory,
    #[cfg(feature = "nats")]
    Nats(Remote),
    #[cfg(feature = "rabbitmq")]
    RabbitMq(Remote),
    #[cfg(feature = "redis-streams")]
    RedisStreams(Remote),
}

/// A broker that is reached over a network.
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) url: String,
    /// User, and where the password is.
    pub(crate) login: Option<(String, SecretReference)>,
    /// The stream or the exchange.
    pub(crate) destination: String,
    pub(crate) source: String,
    /// What subjects and routing keys begin with.
    #[cfg_attr(
        not(any(feature = "nats", feature = "rabbitmq")),
        allow(dead_code, reason = "a stream of a Redis has one name")
    )]
    pub(crate) prefix: Option<String>,
}

impl Broker {
    #[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
    pub(crate) fn has_login(&self) -> bool {
        self.remote().is_some_and(|remote| remote.login.is_some())
    }

    #[cfg(all(
        any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"),
        feature = "secrets"
    ))]
    pub(super) fn password(&self) -> Option<&SecretReference> {
        let login = self.remote()?.login.as_ref();
        login.map(|(_, password)| password)
    }

    #[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
    const fn remote(&self) -> Option<&Remote> {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats(remote) => Some(remote),
            #[cfg(feature = "rabbitmq")]
            Self::RabbitMq(remote) => Some(remote),
            #[cfg(feature = "redis-streams")]
            Self::RedisStreams(remote) => Some(remote),
            Self::Made(_) | Self::Memory => None,
        }
    }

    #[cfg(feature = "settings-file")]
    pub(super) fn read(mut section: Section) -> Result<Self> {
        let url = section.url()?;
        let broker = match url.scheme.as_str() {
            "memory" => Self::Memory,
            "nats" | "tls" => of_nats(&mut section, &url)?,
            "amqp" | "amqps" => of_rabbitmq(&mut section, &url)?,
            "redis" | "rediss" => of_redis_streams(&mut section, &url)?,
            _ => {
                return Err(section.unknown_scheme(
                    "memory:, nats://, tls://, amqp://, amqps://, redis:// or rediss://",
                ));
            }
        };
        section.end()?;
        Ok(broker)
    }
}

#[cfg(all(feature = "settings-file", feature = "nats"))]
fn of_nats(section: &mut Section, url: &Url) -> Result<Broker> {
    // A token stands before the host by itself.
    let mut remote = remote(section, url, UserInUrl::Refused, "stream")?;
    remote.prefix = section.text("prefix")?;
    Ok(Broker::Nats(remote))
}

#[cfg(all(feature = "settings-file", feature = "rabbitmq"))]
fn of_rabbitmq(section: &mut Section, url: &Url) -> Result<Broker> {
    let mut remote = remote(section, url, UserInUrl::Allowed, "exchange")?;
    remote.prefix = section.text("prefix")?;
    Ok(Broker::RabbitMq(remote))
}

#[cfg(all(feature = "settings-file", feature = "redis-streams"))]
fn of_redis_streams(section: &mut Section, url: &Url) -> Result<Broker> {
    #[cfg(not(feature = "redis-streams-tls"))]
    if url.scheme == "rediss" {
        return Err(section.without_feature("redis-streams-tls"));
    }
    remote(section, url, UserInUrl::Allowed, "stream").map(Broker::RedisStreams)
}

#[cfg(all(
    feature = "settings-file",
    any(feature = "nats", feature = "rabbitmq", feature = "redis-streams")
))]
fn remote(
    section: &mut Section,
    url: &Url,
    user: UserInUrl,
    destination: &'static str,
) -> Result<Remote> {
    section.refuse_password(url, user)?;
    let login = match (section.text("user")?, section.password("password")?) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => return Err(section.refuse("password", "there is a user without one")),
        (None, Some(_)) => return Err(section.refuse("user", "there is a password without one")),
    };
    Ok(Remote {
        url: url.text.clone(),
        login,
        destination: section.needed(destination)?,
        source: section.needed("source")?,
        prefix: None,
    })
}

#[cfg(all(feature = "settings-file", not(feature = "nats")))]
fn of_nats(section: &mut Section, _url: &Url) -> Result<Broker> {
    Err(section.without_feature("nats"))
}

#[cfg(all(feature = "settings-file", not(feature = "rabbitmq")))]
fn of_rabbitmq(section: &mut Section, _url: &Url) -> Result<Broker> {
    Err(section.without_feature("rabbitmq"))
}

#[cfg(all(feature = "settings-file", not(feature = "redis-streams")))]
fn of_redis_streams(section: &mut Section, _url: &Url) -> Result<Broker> {
    Err(section.without_feature("redis-streams"))
}
