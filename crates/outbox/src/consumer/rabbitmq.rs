//! Messages from a queue of RabbitMQ.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery as Delivered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::ConsumerSettings;
use super::delivery::{Delivery, Receipt, Source, checked, in_header, lost};
use crate::connection::{answer_of, in_time};
use crate::{CloudEvent, Message, RabbitMqConnection, Routes};

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
    routes: Option<Routes>,
}

impl RabbitMqSource {
    /// Returns the source of a queue, and the exchange that dead letters go to under their routing key: a queue
    /// is bound there.
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
            routes: None,
        }
    }

    /// Sets the routing keys, which are those of the publisher: `events` without it.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = Some(routes);
        self
    }
}

pub(super) struct Deliveries {
    source: RabbitMqSource,
    routes: Routes,
    consumer: String,
    prefetch: u16,
    live: Option<Live>,
}

struct Live {
    stream: lapin::Consumer,
    graves: Arc<Graves>,
}

/// Where dead letters go, over a channel that confirms.
struct Graves {
    /// The server closes it where a dead letter is refused: then there is another.
    channel: Mutex<Channel>,
    exchange: String,
    timeout: Duration,
    /// It lasts as long as anything that came over it.
    connection: Connection,
}

impl Graves {
    async fn channel(&self) -> lapin::Result<Channel> {
        let mut channel = self.channel.lock().await;
        if !channel.status().connected() {
            let anew = self.connection.create_channel().await?;
            anew.confirm_select(ConfirmSelectOptions::default()).await?;
            *channel = anew;
        }
        Ok(channel.clone())
    }
}

impl Deliveries {
    pub(super) async fn open(source: RabbitMqSource, settings: &ConsumerSettings) -> Result<Self> {
        let routes = match source.routes.clone() {
            Some(routes) => routes,
            None => Routes::new("events")?,
        };
        let is_name = |text: &str| (1..=255).contains(&text.len());
        if !is_name(&source.queue) || !is_name(&source.dead_letters) {
            return Err(
                Error::new(ErrorKind::InvalidSettings, "consume from rabbitmq")
                    .with_detail("a queue or an exchange has a name of 1 to 255 bytes"),
            );
        }
        let mut deliveries = Self {
            source,
            routes,
            consumer: settings.name.clone(),
            prefetch: u16::try_from(settings.prefetch()).unwrap_or(u16::MAX),
            live: None,
        };
        deliveries.live = Some(deliveries.connect().await?);
        Ok(deliveries)
    }

    async fn connect(&self) -> Result<Live> {
        const OPERATION: &str = "consume from rabbitmq";
        let timeout = self.source.connection.timeout();
        let connection = self
            .source
            .connection
            .open("tenantry-outbox-consumer")
            .await?;
        let answered = |answer: Option<lapin::Result<()>>, what: String| match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if answer_of(&error) == Some(404) => {
                Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
                    .with_detail(format!("{what} is not there"))
                    .with_source(error))
            }
            Some(Err(error)) => Err(lost(OPERATION, error)),
            None => Err(lost(OPERATION, "no answer")),
        };
        let open =
            async |connection: &Connection| match in_time(timeout, connection.create_channel())
                .await
            {
                Some(Ok(channel)) => Ok(channel),
                Some(Err(error)) => Err(lost(OPERATION, error)),
                None => Err(lost(OPERATION, "no answer")),
            };
        let channel = open(&connection).await?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let exchange = &self.source.dead_letters;
        let looking = channel.exchange_declare(
            exchange.as_str().into(),
            ExchangeKind::Topic,
            passive,
            FieldTable::default(),
        );
        let what = format!("the exchange {exchange} for dead letters");
        answered(in_time(timeout, looking).await, what)?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        answered(in_time(timeout, confirms).await, String::new())?;
        let graves = Arc::new(Graves {
            channel: Mutex::new(channel),
            exchange: exchange.clone(),
            timeout,
            connection,
        });

        let channel = open(&graves.connection).await?;
        let queue = &self.source.queue;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let looking = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default());
        let looked = in_time(timeout, looking).await.map(|it| it.map(drop));
        answered(looked, format!("the queue {queue}"))?;
        let limiting = channel.basic_qos(self.prefetch, BasicQosOptions::default());
        answered(in_time(timeout, limiting).await, String::new())?;
        let consuming = channel.basic_consume(
            queue.as_str().into(),
            // The server finds another name where several instances have one.
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = match in_time(timeout, consuming).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return Err(lost(OPERATION, error)),
            None => return Err(lost(OPERATION, "no answer")),
        };
        Ok(Live { stream, graves })
    }

    fn delivery(&self, live: &Live, delivered: Delivered) -> Delivery {
        let read = read(&delivered);
        let headers = delivered.properties.headers().as_ref();
        // The sender may have written one, which stays until the server writes its own.
        let counted = headers
            .filter(|_| delivered.redelivered)
            .and_then(|headers| {
                let count = headers.inner().get("x-delivery-count")?;
                u64::try_from(count.as_long_long_int()?).ok()
            });
        Delivery {
            read: checked(read, &self.routes, delivered.routing_key.as_str()),
            // Queues of the type quorum count those before.
            deliveries: counted.unwrap_or_default() + 1,
            receipt: Arc::new(Held {
                graves: Arc::clone(&live.graves),
                consumer: self.consumer.clone(),
                delivered,
            }),
        }
    }

    async fn take(&self, live: &mut Live, most: usize) -> Result<Vec<Delivery>> {
        let over = || lost("take messages", "the queue or the connection is gone");
        let mut got = Vec::new();
        let Ok(first) = tokio::time::timeout(PATIENCE, live.stream.next()).await else {
            return Ok(got);
        };
        let mut next = Some(first);
        while let Some(delivered) = next {
            let delivered = delivered.ok_or_else(over)?;
            let delivered = delivered.map_err(|error| lost("take messages", error))?;
            got.push(self.delivery(live, delivered));
            next = match got.len() < most {
                true => live.stream.next().now_or_never(),
                false => None,
            };
        }
        Ok(got)
    }
}

#[async_trait]
impl Source for Deliveries {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    async fn next(&mut self, most: usize) -> Result<Vec<Delivery>> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.connect().await?,
        };
        let got = self.take(&mut live, most).await?;
        self.live = Some(live);
        Ok(got)
    }

    fn keep_every(&self) -> Option<Duration> {
        None
    }
}

/// Reads an event in either mode, under either prefix of the binding.
fn read(delivered: &Delivered) -> Result<Message> {
    let properties = &delivered.properties;
    let media = properties
        .content_type()
        .as_ref()
        .map(|media| media.as_str());
    if media.is_some_and(|media| media.starts_with("application/cloudevents")) {
        return CloudEvent::read_structured(&delivered.data);
    }
    let mut attributes: Vec<(&str, Cow<'_, str>)> = Vec::new();
    if let Some(media) = media {
        attributes.push(("datacontenttype", Cow::Borrowed(media)));
    }
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        let name = name.as_str();
        let plain = name
            .strip_prefix("cloudEvents_")
            .or_else(|| name.strip_prefix("cloudEvents:"));
        let text = match value {
            AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()),
            AMQPValue::ShortString(text) => Cow::Borrowed(text.as_str()),
            _ => continue,
        };
        if let Some(plain) = plain {
            attributes.push((plain, text));
        }
    }
    CloudEvent::read(attributes, delivered.data.clone())
}

/// Returns what a dead letter keeps of a message: neither the time after which it vanishes, nor whose it was, for which
/// the server would refuse it.
fn kept(before: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    if let Some(value) = before.content_type() {
        kept = kept.with_content_type(value.clone());
    }
    if let Some(value) = before.content_encoding() {
        kept = kept.with_content_encoding(value.clone());
    }
    if let Some(value) = before.correlation_id() {
        kept = kept.with_correlation_id(value.clone());
    }
    if let Some(value) = before.message_id() {
        kept = kept.with_message_id(value.clone());
    }
    if let Some(value) = before.timestamp() {
        kept = kept.with_timestamp(*value);
    }
    if let Some(value) = before.kind() {
        kept = kept.with_type(value.clone());
    }
    if let Some(value) = before.app_id() {
        kept = kept.with_app_id(value.clone());
    }
    kept
}

struct Held {
    graves: Arc<Graves>,
    consumer: String,
    delivered: Delivered,
}

impl Held {
    async fn in_time<T>(
        &self,
        saying: impl Future<Output = lapin::Result<T>>,
    ) -> Option<lapin::Result<T>> {
        in_time(self.graves.timeout, saying).await
    }
}

fn said<T>(operation: &'static str, answer: Option<lapin::Result<T>>) -> Result<()> {
    match answer {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(lost(operation, error)),
        None => Err(lost(operation, "no answer")),
    }
}

#[async_trait]
impl Receipt for Held {
    async fn accept(&self) -> Result<()> {
        let accepting = self.delivered.acker.ack(BasicAckOptions::default());
        said("acknowledge message", self.in_time(accepting).await)
    }

    async fn release(&self) -> Result<()> {
        let options = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        let releasing = self.delivered.acker.nack(options);
        said("give message back", self.in_time(releasing).await)
    }

    async fn keep(&self) -> Result<()> {
        Ok(())
    }

    async fn bury(&self, reason: &str, detail: &str) -> Result<()> {
        let failed = |error: &'static str| lost("bury message", error);
        // Not by which it would go to others as well.
        let of_sender = |name: &ShortString| matches!(name.as_str(), "CC" | "BCC");
        let before = self.delivered.properties.headers().iter();
        let before = before.flat_map(FieldTable::inner);
        let mut headers: FieldTable = before
            .filter(|(name, _)| !of_sender(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>()
            .into();
        for (name, value) in [
            ("tenantry-dead-reason", in_header(reason)),
            ("tenantry-dead-detail", in_header(detail)),
            ("tenantry-dead-consumer", self.consumer.clone()),
        ] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = kept(&self.delivered.properties)
            .with_headers(headers)
            .with_delivery_mode(2);
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let burying = async {
            let (exchange, route) = (
                self.graves.exchange.as_str().into(),
                self.delivered.routing_key.clone(),
            );
            self.graves
                .channel()
                .await?
                .basic_publish(exchange, route, options, &self.delivered.data, properties)
                .await?
                .await
        };
        match in_time(self.graves.timeout, burying).await {
            Some(Ok(Confirmation::Ack(None))) => self.accept().await,
            Some(Ok(Confirmation::Ack(Some(_)))) => Err(failed("no queue takes dead letters")),
            Some(Ok(_)) => Err(failed("a queue of dead letters refuses it")),
            Some(Err(error)) => Err(lost("bury message", error)),
            None => Err(failed("no confirm")),
        }
    }
}
