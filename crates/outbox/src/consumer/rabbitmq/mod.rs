//! Messages from a queue of RabbitMQ.

mod graves;
mod held;
mod live;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use tenantry_core::{Error, ErrorKind, Result};

use self::held::Held;
use self::live::{Live, said};
use super::ConsumerSettings;
use super::delivery::{Delivery, OVERHEAD, Source, lost};
use crate::connection::in_time;
use crate::{RabbitMqConnection, Routes};

const OPERATION: &str = "consume from rabbitmq";

/// How long is waited for the first message.
const PATIENCE: Duration = Duration::from_secs(1);

/// From which queue of RabbitMQ messages come, and where its dead letters go.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{RabbitMqConnection, RabbitMqSource};
///
/// let connection = RabbitMqConnection::new("amqp://rabbitmq.internal:5672");
/// let source = RabbitMqSource::new(connection, "receipts", "dead-letters");
/// # drop(source);
/// ```
#[derive(Debug, Clone)]
pub struct RabbitMqSource {
    connection: RabbitMqConnection,
    queue: String,
    dead_letters: String,
    dead_letter_queues: Vec<String>,
    routes: Option<Routes>,
}

impl RabbitMqSource {
    /// Returns the source of a queue, and the exchange that dead letters go to under their routing key: a durable one,
    /// with a queue that is bound there.
    #[must_use]
    pub fn new(
        connection: RabbitMqConnection,
        queue: impl Into<String>,
        dead_letters: impl Into<String>,
    ) -> Self {
        Self {
            connection,
            queue: queue.into(),
            dead_letters: dead_letters.into(),
            dead_letter_queues: Vec::new(),
            routes: None,
        }
    }

    /// Sets the routing keys, which are those of the publisher: `events` without it.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Asks for a queue of dead letters to be there, and to be durable, before any is sent to the exchange. It may be
    /// called for several.
    #[must_use]
    pub fn with_dead_letter_queue(mut self, queue: impl Into<String>) -> Self {
        self.dead_letter_queues.push(queue.into());
        self
    }
}

pub(super) struct Deliveries {
    source: RabbitMqSource,
    routes: Routes,
    consumer: String,
    /// How many messages the server may give out, and how many bytes they are to take.
    most: u16,
    most_bytes: usize,
    /// How many it gives out: fewer where they are large.
    window: u16,
    /// How many bytes one takes, about.
    each: usize,
    live: Option<Live>,
}

impl Deliveries {
    pub(super) async fn open(source: RabbitMqSource, settings: &ConsumerSettings) -> Result<Self> {
        let routes = match source.routes.clone() {
            Some(routes) => routes,
            None => Routes::new("events")?,
        };
        let is_name = |text: &String| (1..=255).contains(&text.len());
        let are_names = [&source.queue, &source.dead_letters]
            .into_iter()
            .chain(&source.dead_letter_queues)
            .all(is_name);
        if !are_names {
            return Err(
                Error::new(ErrorKind::InvalidSettings, "consume from rabbitmq")
                    .with_detail("a queue or an exchange has a name of 1 to 255 bytes"),
            );
        }
        let mut deliveries = Self {
            source,
            routes,
            consumer: settings.name.clone(),
            most: 0,
            most_bytes: settings.prefetch_bytes,
            window: u16::try_from(settings.prefetch()).unwrap_or(u16::MAX),
            each: OVERHEAD,
            live: None,
        };
        deliveries.most = deliveries.window;
        deliveries.live = Some(Live::open(&deliveries.source, deliveries.window).await?);
        Ok(deliveries)
    }

    /// Asks for so many messages at a time from now on: what was given out before comes again.
    async fn let_go(&mut self, live: Live, window: u16) {
        self.window = window;
        // The connection stays as long as somebody holds what has come over it, and there is another then.
        let closing = live.channel.close(200, "another prefetch".into());
        let closed = in_time(live.graves.timeout, closing).await;
        if let Err(error) = said("take messages", closed) {
            tracing::debug!(target: "tenantry::outbox", %error, "a channel is left as it is");
        }
    }

    async fn take(&self, live: &mut Live, most: usize, room: usize) -> Result<Vec<Delivery>> {
        let over = || lost("take messages", "the queue or the connection is gone");
        let mut got = Vec::new();
        let Ok(first) = tokio::time::timeout(PATIENCE, live.stream.next()).await else {
            return Ok(got);
        };
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(delivered) = next {
            let delivered = delivered.ok_or_else(over)?;
            let delivered = delivered.map_err(|error| lost("take messages", error))?;
            let delivery = Held::delivery(&live.graves, &self.routes, &self.consumer, delivered);
            bytes += delivery.bytes;
            got.push(delivery);
            next = match got.len() < most && bytes < room {
                true => live.stream.next().now_or_never(),
                false => None,
            };
        }
        Ok(got)
    }

    /// Takes note of how large messages are, and returns how many of those may be given out.
    fn window_for(&mut self, got: &[Delivery]) -> u16 {
        for Delivery { bytes, .. } in got {
            // Of the last ones.
            self.each = (self.each * 15 + bytes) / 16;
        }
        let fits = u16::try_from(self.most_bytes / self.each.max(1)).unwrap_or(u16::MAX);
        fits.clamp(1, self.most)
    }
}

#[async_trait]
impl Source for Deliveries {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    async fn next(&mut self, most: usize, room: usize) -> Result<Vec<Delivery>> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => Live::open(&self.source, self.window).await?,
        };
        let got = self.take(&mut live, most, room).await?;
        let bytes: usize = got.iter().map(|delivery| delivery.bytes).sum();
        let fits = self.window_for(&got);
        let held = self.most_bytes.saturating_sub(room) + bytes;
        // Not for each message that is a little larger than those before.
        if fits.saturating_add(fits / 4) < self.window && held >= self.most_bytes / 4 {
            // The client takes all that the server gives out, whether it is asked for here or not. So it gives out less;
            // these are let go, and are among what comes again.
            drop(got);
            self.let_go(live, fits).await;
            return Ok(Vec::new());
        }
        if got.is_empty() && room == self.most_bytes && self.window < self.most {
            // Nothing is held that would come again.
            self.let_go(live, self.most).await;
            return Ok(Vec::new());
        }
        self.live = Some(live);
        Ok(got)
    }

    fn keep_every(&self) -> Option<Duration> {
        None
    }
}
