use tenantry_core::{Error, ErrorKind, Result};

use crate::{ContentMode, RabbitMqConnection, Routes};

/// To which exchange of RabbitMQ messages go, and what is asked of it.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{RabbitMqConnection, RabbitMqSettings, Routes};
///
/// let connection = RabbitMqConnection::new("amqp://rabbitmq.internal:5672");
/// let settings = RabbitMqSettings::new(connection, "events", "/services/billing")
///     .with_queue("ledger")                                       // it must be there, and durable
///     .with_routes(Routes::new("events")?);                       // bindings such as events.*.billing.#
/// # drop(settings);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RabbitMqSettings {
    pub(super) connection: RabbitMqConnection,
    pub(super) exchange: String,
    pub(super) source: String,
    pub(super) routes: Option<Routes>,
    pub(super) mode: ContentMode,
    pub(super) queues: Vec<String>,
    pub(super) channels: usize,
    pub(super) most_bytes: usize,
}

impl RabbitMqSettings {
    /// Returns settings for an exchange, a durable one of the type `topic`, with the URI reference of the service as
    /// the source of its events.
    #[must_use]
    pub fn new(
        connection: RabbitMqConnection,
        exchange: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self {
            connection,
            exchange: exchange.into(),
            source: source.into(),
            routes: None,
            mode: ContentMode::Binary,
            queues: Vec::new(),
            channels: 4,
            most_bytes: 16 * 1024 * 1024,
        }
    }

    /// Sets the routing keys; those below `events` without it.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Sets the form of the events; binary without it.
    #[must_use]
    pub const fn with_mode(mut self, mode: ContentMode) -> Self {
        self.mode = mode;
        self
    }

    /// Asks for a queue to be there, and to be durable, before anything is published. It may be called for several.
    #[must_use]
    pub fn with_queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Sets over how many channels of the connection messages go, from 1 to 64; 4 without it.
    #[must_use]
    pub const fn with_channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    /// Sets the most bytes of a payload; 16 MiB without it, which is what newer servers take. A server that takes
    /// less says so once, by closing a channel, and its limit is kept from then on.
    #[must_use]
    pub const fn with_most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Refuses what can never work, and returns the routing keys.
    pub(super) fn check(&self) -> Result<Routes> {
        self.connection.check()?;
        let is_name =
            |text: &str| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        let wrong = if !is_name(&self.exchange) || !self.queues.iter().all(|name| is_name(name)) {
            "an exchange or a queue has a name of 1 to 255 bytes without control characters"
        } else if !is_name(&self.source) {
            "a source is a URI reference, such as /services/billing"
        } else if !(1..=64).contains(&self.channels) {
            "messages go over 1 to 64 channels"
        } else {
            return match &self.routes {
                Some(routes) => Ok(routes.clone()),
                None => Routes::new("events"),
            };
        };
        Err(Error::new(ErrorKind::InvalidSettings, "publish to rabbitmq").with_detail(wrong))
    }
}
