//! How brokers are reached, by publishers and by consumers.

mod login;
#[cfg(feature = "nats")]
mod nats;

pub(crate) use self::login::Password;
#[cfg(feature = "nats")]
pub use self::nats::NatsConnection;
#[cfg(feature = "nats")]
pub(crate) use self::nats::NatsLink;
