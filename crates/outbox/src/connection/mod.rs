//! How brokers are reached, by publishers and by consumers.

mod login;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis-streams")]
mod redis;

pub(crate) use self::login::Password;
#[cfg(feature = "nats")]
pub use self::nats::NatsConnection;
#[cfg(feature = "nats")]
pub(crate) use self::nats::NatsLink;
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::RabbitMqConnection;
#[cfg(feature = "rabbitmq")]
pub(crate) use self::rabbitmq::{answer_of, in_time};
#[cfg(feature = "redis-streams")]
pub use self::redis::RedisConnection;
#[cfg(feature = "redis-streams")]
pub(crate) use self::redis::is_login_refused;
