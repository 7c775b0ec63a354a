//! Messages to an exchange of RabbitMQ.

mod outcome;
mod settings;
mod topology;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection};
use parking_lot::RwLock;
use tenantry_core::Result;
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::settings::RabbitMqSettings;
pub(crate) use self::topology::{Place, fault_of};

use self::outcome::{asked, failed, of_error, told_of, unavailable};
use super::looked::{Looked, is_refused};
use super::opening::Opening;
use super::told::told;
use super::written;
use crate::connection::{ConfirmedChannel, Lost, in_time};
use crate::{
    CloudEvent, ContentMode, Message, PublishError, PublishErrorKind, PublishReason, Publisher,
    Routes, Stopped,
};

/// A message that survives its server.
const PERSISTENT: u8 = 2;

/// The most bytes of a routing key.
const MOST_OF_ROUTE: usize = 255;

/// Hands messages to an exchange of RabbitMQ.
///
/// A message counts as handed over when the server has confirmed it and has not sent it back: it is stored in every
/// queue that is bound for its routing key, which is that of [`Routes`], and there is one. It is persistent, bears its
/// identifier as `message-id`, and the attributes of the [`CloudEvent`] as headers `cloudEvents_…`. The server does
/// not tell duplicates apart: the inbox does.
///
/// The exchange and the queues that the settings name are looked at with each new connection, and every 10 s while there
/// are messages: one that is missing, or that would be gone with its server, gets none. A queue that they do not name
/// cannot be seen.
///
/// | trouble | kind | reason |
/// |---|---|---|
/// | larger than the settings or the server allow | poison | `TooLarge` |
/// | routing key too long, payload no JSON in structured mode, or an event by its content type | poison | `Unwritable` |
/// | no queue is bound for it: it came back | refused | `Unroutable` |
/// | a queue refuses it (`reject-publish`) | refused | `Full` |
/// | the user may not publish under the key | refused | `Forbidden` |
/// | the user may not publish to the exchange | unavailable | `Forbidden` |
/// | the server has no memory or no disk, and blocks | unavailable | `Full` |
/// | exchange or queue missing, or not durable | unavailable | `DestinationMissing`, `DestinationUnsafe` |
/// | no connection, no login, no confirm | unavailable | `Disconnected`, `LoginRefused`, `NoAnswer` |
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use tenantry_outbox::{OutboxWorker, RabbitMqConnection, RabbitMqPublisher, RabbitMqSettings, WorkerSettings};
/// use tenantry_store::PlatformStore;
///
/// # async fn example(platform: &PlatformStore) -> tenantry_core::Result<()> {
/// let connection = RabbitMqConnection::new("amqp://rabbitmq.internal:5672");
/// let settings = RabbitMqSettings::new(connection, "events", "/services/billing");
/// let publisher = RabbitMqPublisher::connect(settings).await?;
/// let worker = OutboxWorker::start(platform, Arc::new(publisher), WorkerSettings::default())?;
/// # worker.stop().await
/// # }
/// ```
pub struct RabbitMqPublisher {
    settings: RabbitMqSettings,
    routes: Routes,
    live: RwLock<Option<Arc<Live>>>,
    /// Held by the one who waits for a connection.
    opening: Mutex<Opening<Live>>,
    /// What the server has said that it takes.
    most_bytes: AtomicUsize,
}

/// A connection with its channels, all of which confirm.
struct Live {
    connection: Connection,
    looked: Looked,
    channels: Vec<ConfirmedChannel>,
}

impl Live {
    fn is_usable(&self) -> bool {
        self.connection.status().connected() && self.channels.iter().all(ConfirmedChannel::is_open)
    }
}

impl RabbitMqPublisher {
    /// Returns a publisher that connects when there is something to publish.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work.
    pub fn new(settings: RabbitMqSettings) -> Result<Self> {
        Ok(Self {
            routes: settings.check()?,
            live: RwLock::default(),
            opening: Mutex::default(),
            most_bytes: AtomicUsize::new(settings.most_bytes),
            settings,
        })
    }

    /// Connects, and looks at the exchange and the queues.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work, and for an exchange or queue that is missing or not durable;
    /// `AuthenticationFailed`, `TlsFailed` or `Unavailable` for a server that cannot be reached.
    pub async fn connect(settings: RabbitMqSettings) -> Result<Self> {
        let publisher = Self::new(settings)?;
        match publisher.ready().await {
            Ok(_) => Ok(publisher),
            Err(error) => Err(told(error)),
        }
    }

    /// Returns a connection that stands, or makes one.
    async fn ready(&self) -> Result<Arc<Live>, PublishError> {
        let live = self.live.read().clone();
        if let Some(live) = live.filter(|live| live.is_usable()) {
            return match live.looked.is_due() {
                true => self.look_again(live).await,
                false => Ok(live),
            };
        }
        let mut opening = self.opening.lock().await;
        if let Some(live) = self.live.read().clone().filter(|live| live.is_usable()) {
            // Another has connected meanwhile.
            return Ok(live);
        }
        let live = opening.finish(open(self.settings.clone())).await?;
        let live = Arc::new(live);
        *self.live.write() = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Looks at the exchange and the queues while others publish: they may be others by now.
    async fn look_again(&self, live: Arc<Live>) -> Result<Arc<Live>, PublishError> {
        match topology::look(&live.connection, &self.settings).await {
            Err(error) if is_refused(&error) => {
                self.forget(&live);
                Err(error)
            }
            _ => Ok(live),
        }
    }

    fn forget(&self, live: &Arc<Live>) {
        self.live.write().take_if(|kept| Arc::ptr_eq(kept, live));
    }

    async fn send(&self, live: &Live, message: &Message) -> Result<(), PublishError> {
        written::check(message)?;
        let route = self.routes.of(message.tenant(), message.event_type());
        if route.len() > MOST_OF_ROUTE {
            return Err(PublishError::new(
                PublishErrorKind::Poison,
                format!(
                    "its routing key takes {} bytes, of {MOST_OF_ROUTE} at most",
                    route.len()
                ),
            )
            .with_reason(PublishReason::Unwritable));
        }
        let event = message.cloud_event(&self.settings.source);
        let (properties, document) = self.written(message, &event)?;
        let payload = document.unwrap_or_else(|| message.payload().to_vec());
        let most = self.most_bytes.load(Ordering::Relaxed);
        if payload.len() > most {
            return Err(outcome::too_large(payload.len(), most));
        }
        if live.connection.status().blocked() {
            return Err(unavailable(
                PublishReason::Full,
                "the server has no memory or no disk left, and blocks whoever publishes",
            ));
        }
        let timeout = self.settings.connection.timeout();
        // Any, as long as there is one message of the key under way.
        let index = crc32fast::hash(message.key().as_bytes()) as usize % live.channels.len();
        let (exchange, bytes) = (self.settings.exchange.as_str().into(), payload.len());
        let key = route.as_str().into();
        let outcome = live.channels[index].publish(exchange, key, payload, properties);
        match tokio::time::timeout(timeout, outcome).await {
            Ok(Ok(outcome)) => told_of(outcome, &self.settings.exchange, &route),
            Ok(Err(Lost::Ended(error))) => {
                let (told, limit) = failed(&error, &route, bytes);
                if let Some(limit) = limit {
                    self.most_bytes.fetch_min(limit, Ordering::Relaxed);
                }
                Err(told.with_source(error))
            }
            Ok(Err(Lost::Unheard)) => Err(unavailable(
                PublishReason::NoAnswer,
                "nobody can tell over this connection whether it came back",
            )),
            Err(_) => Err(outcome::not_answered(timeout)),
        }
    }

    /// Returns the properties, and the body where that is not the payload.
    fn written(
        &self,
        message: &Message,
        event: &CloudEvent<'_>,
    ) -> Result<(BasicProperties, Option<Vec<u8>>), PublishError> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(message.id().to_string().into());
        if self.settings.mode == ContentMode::Structured {
            let document = event.structured().map_err(|error| {
                PublishError::new(PublishErrorKind::Poison, error.detail().to_owned())
                    .with_reason(PublishReason::Unwritable)
            })?;
            let media = CloudEvent::structured_content_type();
            return Ok((properties.with_content_type(media.into()), Some(document)));
        }
        let mut headers = FieldTable::default();
        for (name, value) in event.attributes() {
            // The binding has a property for it.
            if name != "datacontenttype" {
                let value = AMQPValue::LongString(value.into_owned().into());
                headers.insert(format!("cloudEvents_{name}").into(), value);
            }
        }
        let properties = properties
            .with_content_type(message.content_type().into())
            .with_headers(headers);
        Ok((properties, None))
    }
}

/// Connects, and looks at the exchange and the queues.
async fn open(settings: RabbitMqSettings) -> Result<Live, PublishError> {
    let connection = settings.connection.open("tenantry-outbox").await;
    let connection = connection.map_err(of_error)?;
    topology::look(&connection, &settings).await?;
    let timeout = settings.connection.timeout();
    let mut channels = Vec::with_capacity(settings.channels);
    for _ in 0..settings.channels {
        let opening = ConfirmedChannel::open(&connection, message_id);
        channels.push(asked(in_time(timeout, opening).await, timeout)?);
    }
    Ok(Live {
        connection,
        looked: Looked::now(),
        channels,
    })
}

#[async_trait]
impl Publisher for RabbitMqPublisher {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        let live = self.ready().await.map_err(|error| Stopped::new(0, error))?;
        for (acknowledged, message) in messages.iter().enumerate() {
            if let Err(error) = self.send(&live, message).await {
                // What is asked again over the same connection may be there many times when it goes on.
                if error.reason() == Some(PublishReason::NoAnswer) || !live.is_usable() {
                    self.forget(&live);
                }
                return Err(Stopped::new(acknowledged, error));
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        let live = self.ready().await.map_err(told)?;
        let looked = topology::look(&live.connection, &self.settings).await;
        looked.map_err(told)
    }

    fn system(&self) -> &'static str {
        "rabbitmq"
    }
}

/// Returns the identifier that each message here bears.
fn message_id(properties: &BasicProperties) -> Option<Uuid> {
    properties.message_id().as_ref()?.as_str().parse().ok()
}

impl fmt::Debug for RabbitMqPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqPublisher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
