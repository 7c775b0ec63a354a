//! Messages from a stream of NATS JetStream.

mod graves;
mod held;
mod look;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::Message as Delivered;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use tenantry_core::{Error, ErrorKind, Result};

use self::graves::Graves;
use self::held::Held;
use self::look::look;
use super::ConsumerSettings;
use super::delivery::{Delivery, OVERHEAD, Source, lost};
use crate::connection::NatsLink;
use crate::{NatsConnection, Routes};

/// How long is waited for the first message.
const PATIENCE: Duration = Duration::from_secs(1);

/// From which stream of NATS JetStream messages come, and where its dead letters go.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{NatsConnection, NatsSource};
///
/// let connection = NatsConnection::new("nats://nats.internal:4222");
/// let source = NatsSource::new(connection, "EVENTS", "dead")      // a stream has dead.> as well
///     .with_types("billing.invoice.>");
/// # drop(source);
/// ```
#[derive(Debug, Clone)]
pub struct NatsSource {
    connection: NatsConnection,
    stream: String,
    dead_letters: String,
    routes: Option<Routes>,
    types: String,
    one_at_a_time: bool,
    takes_any_dead_letters: bool,
}

impl NatsSource {
    /// Returns the source of a stream, and what subjects of dead letters begin with: some stream has those, under
    /// `prefix.consumer.subject`.
    #[must_use]
    pub fn new(
        connection: NatsConnection,
        stream: impl Into<String>,
        dead_letters: impl Into<String>,
    ) -> Self {
        Self {
            connection,
            stream: stream.into(),
            dead_letters: dead_letters.into(),
            routes: None,
            types: ">".to_owned(),
            one_at_a_time: false,
            takes_any_dead_letters: false,
        }
    }

    /// Sets the subjects, which are those of the publisher: `events` without it.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Takes the messages of all tenants whose type is such, with the wildcards of NATS; `>` without it.
    ///
    /// It counts when the consumer is made on the server; one that is there stays as it is.
    #[must_use]
    pub fn with_types(mut self, types: impl Into<String>) -> Self {
        self.types = types.into();
        self
    }

    /// Lets the server give out one message at a time, to all instances of the consumer together: then keys stay in
    /// order however many instances there are, and each message waits for the one before, of whatever tenant and key.
    ///
    /// Of several instances one is at work, and any of them goes on when it fails. The consumer is made so
    /// on the server (`max_ack_pending` of 1); one that is there and gives out more is refused.
    #[must_use]
    pub const fn with_one_at_a_time(mut self) -> Self {
        self.one_at_a_time = true;
        self
    }

    /// Takes a stream for dead letters that may lose them: one that is in memory, that keeps nothing which no consumer was
    /// there for, or that throws the oldest away when it is full.
    #[must_use]
    pub const fn with_dead_letters_that_may_be_lost(mut self) -> Self {
        self.takes_any_dead_letters = true;
        self
    }
}

pub(super) struct Deliveries {
    source: NatsSource,
    settings: ConsumerSettings,
    shared: Arc<Shared>,
    consumer: PullConsumer,
    /// Since the server gave nothing out.
    is_doubted: bool,
    ack_wait: Duration,
    /// How many messages are asked for at a time at most.
    most: usize,
}

struct Shared {
    link: NatsLink,
    routes: Routes,
    graves: Graves,
    consumer: String,
    timeout: Duration,
}

impl Deliveries {
    pub(super) async fn open(source: NatsSource, settings: &ConsumerSettings) -> Result<Self> {
        let routes = match source.routes.clone() {
            Some(routes) => routes,
            None => Routes::new("events")?,
        };
        let dead_letters = Routes::new(source.dead_letters.clone())?;
        if dead_letters.prefix().split('.').next() == routes.prefix().split('.').next() {
            return Err(invalid("dead letters would be delivered as messages"));
        }
        let timeout = source.connection.timeout();
        let link = source.connection.open("tenantry-outbox-consumer").await?;
        let graves = Graves::new(&source, &routes, &settings.name);
        let consumer = look(&link, &source, (&routes, &graves), settings).await?;
        Ok(Self {
            ack_wait: consumer.cached_info().config.ack_wait,
            // What is asked for and held back by the server is waited for, with the one that is there.
            most: match source.one_at_a_time {
                true => 1,
                false => usize::MAX,
            },
            consumer,
            is_doubted: false,
            shared: Arc::new(Shared {
                link,
                routes,
                graves,
                consumer: settings.name.clone(),
                timeout,
            }),
            source,
            settings: settings.clone(),
        })
    }

    /// Looks for the consumer on the server again: it may be gone, by itself or with its stream.
    async fn look_again(&mut self) -> Result<()> {
        let Shared {
            link,
            routes,
            graves,
            ..
        } = &*self.shared;
        let found = look(link, &self.source, (routes, graves), &self.settings).await?;
        if found.cached_info().created != self.consumer.cached_info().created {
            tracing::warn!(
                target: "tenantry::outbox",
                consumer = self.settings.name,
                "the consumer was gone on the server: a new one begins with the first message of the stream"
            );
        }
        self.consumer = found;
        self.is_doubted = false;
        Ok(())
    }

    /// Takes what is there, or the first that comes.
    async fn ask(&self, most: usize, room: usize, got: &mut Vec<Delivered>) -> Result<()> {
        let failed = |error| lost("take messages", error);
        // Whatever comes next has room.
        let one = self.shared.link.client.max_payload() + OVERHEAD;
        let asking = self
            .consumer
            .fetch()
            .max_messages(most)
            .max_bytes(room.max(one))
            .expires(PATIENCE);
        let mut there = asking
            .messages()
            .await
            .map_err(|error| failed(Box::new(error).into()))?;
        while let Some(delivered) = there.next().await {
            match delivered {
                Ok(delivered) => got.push(delivered),
                Err(error) if !got.is_empty() && is_of_room(&*error) => break,
                Err(error) => return Err(failed(error)),
            }
        }
        if got.is_empty() {
            let asking = self.consumer.batch().max_messages(1).expires(PATIENCE);
            let mut first = asking
                .messages()
                .await
                .map_err(|error| failed(Box::new(error).into()))?;
            if let Some(delivered) = first.next().await {
                got.push(delivered.map_err(failed)?);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Source for Deliveries {
    fn system(&self) -> &'static str {
        "nats"
    }

    async fn next(&mut self, most: usize, room: usize) -> Result<Vec<Delivery>> {
        if self.is_doubted {
            self.look_again().await?;
        }
        let mut got = Vec::new();
        // Neither waits for more than its own time, unless the client is told nothing any more.
        let asking = self.ask(most.min(self.most), room, &mut got);
        let patience = 2 * PATIENCE + self.shared.timeout;
        let asked = tokio::time::timeout(patience, asking).await;
        self.is_doubted = !matches!(asked, Ok(Ok(())));
        match asked {
            // Those that have come are handled, or they would come again behind others of their key.
            _ if !got.is_empty() => {}
            Ok(outcome) => outcome?,
            Err(elapsed) => return Err(lost("take messages", elapsed)),
        }
        let deliveries = got
            .into_iter()
            .map(|delivered| Held::delivery(&self.shared, delivered));
        Ok(deliveries.collect())
    }

    fn keep_every(&self) -> Option<Duration> {
        Some(self.ack_wait / 3)
    }

    async fn end(&mut self) {
        // What is given back waits in the client, and would be given out again when the server has lost patience.
        let flushing = self.shared.link.client.flush();
        let flushed = tokio::time::timeout(self.shared.timeout, flushing).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::debug!(target: "tenantry::outbox", "the server was not told what is given back");
        }
    }
}

/// Returns whether the server says that the next one does not fit.
fn is_of_room(error: &(dyn std::error::Error + Send + Sync)) -> bool {
    error.to_string().to_ascii_lowercase().contains("maxbytes")
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidSettings, "consume from nats").with_detail(detail)
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("consumer", &self.shared.consumer)
            .finish_non_exhaustive()
    }
}
