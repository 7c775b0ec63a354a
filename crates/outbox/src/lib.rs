//! Events that leave in the order in which they were committed, exactly those that were, per tenant.
//!
//! A service appends messages to its unit of work; they are stored by its commit, or not at all. A worker
//! hands them to a broker, each at least once and those of one key in order, and consumers make the effect
//! of each happen once.
//!
//! | part | is |
//! |---|---|
//! | [`Outbox`], [`Event`], [`NewMessage`] | what a service appends, and where |
//! | [`Message`], [`MessageId`], [`CloudEvent`] | what leaves, what names it, and how a broker sees it |
//! | [`OutboxWorker`], [`WorkerSettings`] | who hands it over |
//! | [`FailurePolicy`], [`OnDeadLetter`] | what becomes of what is not taken |
//! | [`Publisher`], [`PublishError`], [`Stopped`] | the contract of a broker |
//! | [`MemoryPublisher`], [`Subscription`] | the broker in this process, which loses nothing that a consumer is to handle |
//! | `NatsPublisher` (feature `nats`) | a stream of NATS JetStream |
//! | `RabbitMqPublisher` (feature `rabbitmq`) | an exchange of RabbitMQ |
//! | `RedisStreamsPublisher` (feature `redis-streams`; over TLS `redis-streams-tls`) | a stream of a Redis |
//! | [`Routes`], [`ContentMode`] | under what name, and in what form, a broker gets a message |
//! | [`DeadLetters`], [`DeadLetter`] | what was given up, to list, replay and discard |
//! | [`OutboxStatus`] | how it is doing |
//! | [`Inbox`] | tells a consumer whether it handles a message for the first time |
//! | [`Consumer`], [`MessageHandler`] | handles what a broker gives out, each message once, in a unit of work of its tenant: the one in this process, and by features `nats` and `rabbitmq` |
//! | [`OUTBOX_POSTGRES`], [`OUTBOX_SQLITE`] | the tables, for the migrations of the service |
//! | [`OUTBOX_RIGHTS_POSTGRES`], [`OUTBOX_GRANTS`] | who may do what with them, again, and to compare with |
//!
//! # What it is not
//!
//! - No broker: what has left is the broker's, and is not kept here.
//! - No order across keys, and none across tenants: a slow key holds up nobody else.
//! - Not once: a worker that dies hands over a chunk again. The identifier stays what it was.
//!
//! # Isolation
//!
//! A message bears the tenant of its unit of work. On PostgreSQL the role of the services may insert rows of
//! its tenant and nothing else: it cannot read what has been appended, not even its own. The worker reads across tenants
//! by a [`PlatformScope`](tenantry_store::PlatformScope), over another role.

#[cfg(feature = "conformance")]
#[allow(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a suite of tests, in which what cannot be set up fails"
)]
pub mod conformance;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
mod connection;
mod consumer;
mod dead_letters;
mod inbox;
mod log;
mod message;
mod partition;
mod publisher;
mod schema;
mod telemetry;
mod worker;
mod writer;

#[cfg(feature = "nats")]
pub use self::connection::NatsConnection;
#[cfg(feature = "rabbitmq")]
pub use self::connection::RabbitMqConnection;
#[cfg(feature = "redis-streams")]
pub use self::connection::RedisConnection;
#[cfg(feature = "nats")]
pub use self::consumer::NatsSource;
#[cfg(feature = "rabbitmq")]
pub use self::consumer::RabbitMqSource;
pub use self::consumer::{Consumer, ConsumerSettings, HandlerError, MessageHandler};
pub use self::dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters};
pub use self::inbox::Inbox;
pub use self::log::OutboxStatus;
pub use self::message::{CloudEvent, ContentMode, Event, JSON, Message, MessageId, NewMessage};
pub use self::publisher::{
    MemoryPublisher, PublishError, PublishErrorKind, PublishReason, Publisher, Routes, Stopped,
    Subscription,
};
#[cfg(feature = "nats")]
pub use self::publisher::{NatsPublisher, NatsSettings};
#[cfg(feature = "rabbitmq")]
pub use self::publisher::{RabbitMqPublisher, RabbitMqSettings};
#[cfg(feature = "redis-streams")]
pub use self::publisher::{RedisDurability, RedisStreamsPublisher, RedisStreamsSettings};
pub use self::schema::{OUTBOX_GRANTS, OUTBOX_POSTGRES, OUTBOX_RIGHTS_POSTGRES, OUTBOX_SQLITE};
pub use self::worker::{FailurePolicy, OnDeadLetter, OutboxWorker, WorkerSettings};
pub use self::writer::{Outbox, OutboxBuilder};
