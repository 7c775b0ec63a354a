//! How brokers are reached, by publishers and by consumers.

#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
mod access;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams-tls"))]
mod identity;
mod login;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod quiet;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis-streams")]
mod redis;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams-tls"))]
mod tls;

pub(crate) use self::login::Password;
#[cfg(feature = "nats")]
pub use self::nats::NatsConnection;
#[cfg(feature = "nats")]
pub(crate) use self::nats::NatsLink;
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::RabbitMqConnection;
#[cfg(feature = "rabbitmq")]
pub(crate) use self::rabbitmq::{ConfirmedChannel, Lost, Outcome, answer_of, in_time};
#[cfg(feature = "redis-streams")]
pub use self::redis::RedisConnection;
#[cfg(feature = "redis-streams")]
pub(crate) use self::redis::is_login_refused;

/// What to do about a server that cannot be reached, or speaks another protocol.
const UNREACHABLE: &str = "the server does not answer: see that it runs and can be reached, and whether its port is for TLS, \
     or asks for a certificate of its clients";

/// The same where a connection stands.
const SILENT: &str = "the server accepts connections and does not answer: see that it is well, and whether its port is for TLS";
