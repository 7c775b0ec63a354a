//! What carries events from one service to another.

use tenantry::outbox::MemoryPublisher;
#[cfg(feature = "servers")]
use tenantry::outbox::NatsConnection;

/// The broker of the product.
#[derive(Debug, Clone)]
pub enum Broker {
    /// One in this process, for services that are in it as well, which it was told of.
    Memory(MemoryPublisher),
    /// A NATS server with the streams `SKYLINE` and `SKYLINE_DEAD`: that of the section `[broker]` of each service.
    #[cfg(feature = "servers")]
    Nats(Box<NatsConnection>),
}

#[cfg(feature = "servers")]
impl Broker {
    /// The stream of events, whose subjects are `events.>`.
    pub const STREAM: &str = "SKYLINE";

    /// The first part of the subjects of what was given up, in a stream of their own.
    pub const DEAD: &str = "dead";
}
