use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

use crate::{ContentMode, NatsConnection, Routes};

/// To which stream of NATS JetStream messages go, and what is asked of it.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{NatsConnection, NatsSettings, Routes};
///
/// let connection = NatsConnection::new("nats://nats.internal:4222");
/// let settings = NatsSettings::new(connection, "EVENTS", "/services/billing")
///     .with_routes(Routes::new("events")?);                       // what is in the stream: events.>
/// # drop(settings);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NatsSettings {
    pub(super) connection: NatsConnection,
    pub(super) stream: String,
    pub(super) source: String,
    pub(super) routes: Option<Routes>,
    pub(super) mode: ContentMode,
    pub(super) duplicate_window: Duration,
    pub(super) takes_memory: bool,
    pub(super) takes_limits: bool,
    pub(super) takes_interest: bool,
}

impl NatsSettings {
    /// Returns settings for a stream, with the URI reference of the service as the source of its events.
    #[must_use]
    pub fn new(
        connection: NatsConnection,
        stream: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self {
            connection,
            stream: stream.into(),
            source: source.into(),
            routes: None,
            mode: ContentMode::Binary,
            duplicate_window: Duration::from_secs(120),
            takes_memory: false,
            takes_limits: false,
            takes_interest: false,
        }
    }

    /// Sets the subjects, of which the stream must have all: `events` without it.
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

    /// Sets for how long the stream must tell duplicates apart at least: 2 minutes without it. A message that is
    /// handed over again after that, because an outage lasted longer, is there twice.
    #[must_use]
    pub const fn with_least_duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = window;
        self
    }

    /// Takes a stream that is in memory: what it holds is gone with its server.
    #[must_use]
    pub const fn with_stream_in_memory(mut self) -> Self {
        self.takes_memory = true;
        self
    }

    /// Takes a stream that throws the oldest messages away, read or not, where it holds so many, or so many bytes.
    #[must_use]
    pub const fn with_stream_that_discards(mut self) -> Self {
        self.takes_limits = true;
        self
    }

    /// Takes a stream that keeps nothing which no consumer was there for.
    #[must_use]
    pub const fn with_stream_of_interest(mut self) -> Self {
        self.takes_interest = true;
        self
    }

    /// Refuses what can never work, and returns the subjects.
    pub(super) fn check(&self) -> Result<Routes> {
        self.connection.check()?;
        let is_plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte);
        let wrong = if self.stream.is_empty() || !self.stream.bytes().all(is_name) {
            "a stream has a name of letters, digits and signs, without . * > / and spaces"
        } else if !is_plain(&self.source) {
            "a source is a URI reference, such as /services/billing"
        } else {
            return match &self.routes {
                Some(routes) => Ok(routes.clone()),
                None => Routes::new("events"),
            };
        };
        Err(Error::new(ErrorKind::InvalidSettings, "publish to nats").with_detail(wrong))
    }
}
