//! Messages from a queue of RabbitMQ.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
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
use super::delivery::{Delivery, OVERHEAD, Receipt, Source, checked, in_header, lost};
use crate::connection::{answer_of, in_time};
use crate::{CloudEvent, Message, RabbitMqConnection, Routes};

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
    /// How many messages the server may give out, and how many bytes they are to take.
    most: u16,
    most_bytes: usize,
    /// How many it gives out: fewer where they are large.
    window: u16,
    /// How many bytes one takes, about.
    each: usize,
    live: Option<Live>,
}

struct Live {
    channel: Channel,
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
            most: 0,
            most_bytes: settings.prefetch_bytes,
            window: u16::try_from(settings.prefetch()).unwrap_or(u16::MAX),
            each: OVERHEAD,
            live: None,
        };
        deliveries.most = deliveries.window;
        deliveries.live = Some(deliveries.connect().await?);
        Ok(deliveries)
    }

    async fn connect(&self) -> Result<Live> {
        let timeout = self.source.connection.timeout();
        let connection = self
            .source
            .connection
            .open("tenantry-outbox-consumer")
            .await?;
        let channel = open(timeout, &connection).await?;
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
        answered(in_time(timeout, looking).await, &what)?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        said(OPERATION, in_time(timeout, confirms).await)?;
        let graves = Arc::new(Graves {
            channel: Mutex::new(channel),
            exchange: exchange.clone(),
            timeout,
            connection,
        });
        let (channel, stream) = self.consume(&graves).await?;
        Ok(Live {
            channel,
            stream,
            graves,
        })
    }

    /// Asks for what is in the queue, over a channel of its own.
    async fn consume(&self, graves: &Graves) -> Result<(Channel, lapin::Consumer)> {
        let timeout = graves.timeout;
        let channel = open(timeout, &graves.connection).await?;
        let queue = &self.source.queue;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let looking = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default());
        let looked = in_time(timeout, looking).await.map(|it| it.map(drop));
        answered(looked, &format!("the queue {queue}"))?;
        let limiting = channel.basic_qos(self.window, BasicQosOptions::default());
        said(OPERATION, in_time(timeout, limiting).await)?;
        let consuming = channel.basic_consume(
            queue.as_str().into(),
            // The server finds another name where several instances have one.
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        match in_time(timeout, consuming).await {
            Some(Ok(stream)) => Ok((channel, stream)),
            Some(Err(error)) => Err(lost(OPERATION, error)),
            None => Err(lost(OPERATION, "no answer")),
        }
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

    fn delivery(&self, live: &Live, mut delivered: Delivered) -> Delivery {
        let read = checked(
            read(&delivered),
            &self.routes,
            delivered.routing_key.as_str(),
        );
        let headers = delivered.properties.headers().as_ref();
        // The sender may have written one, which stays until the server writes its own.
        let counted = headers
            .filter(|_| delivered.redelivered)
            .and_then(|headers| {
                let count = headers.inner().get("x-delivery-count")?;
                u64::try_from(count.as_long_long_int()?).ok()
            });
        // What is in the message is not held twice.
        let arrived = mem::take(&mut delivered.data);
        let payload = read.as_ref().map_or(0, |message| message.payload().len());
        let whole = match read {
            Ok(_) if !is_structured(&delivered) => None,
            _ => Some(arrived),
        };
        Delivery {
            read,
            // Queues of the type quorum count those before.
            deliveries: counted.unwrap_or_default() + 1,
            bytes: OVERHEAD + payload + whole.as_ref().map_or(0, Vec::len),
            receipt: Arc::new(Held {
                graves: Arc::clone(&live.graves),
                consumer: self.consumer.clone(),
                delivered,
                whole,
            }),
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
            let delivery = self.delivery(live, delivered);
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

async fn open(timeout: Duration, connection: &Connection) -> Result<Channel> {
    match in_time(timeout, connection.create_channel()).await {
        Some(Ok(channel)) => Ok(channel),
        Some(Err(error)) => Err(lost(OPERATION, error)),
        None => Err(lost(OPERATION, "no answer")),
    }
}

fn answered(answer: Option<lapin::Result<()>>, what: &str) -> Result<()> {
    match answer {
        Some(Err(error)) if answer_of(&error) == Some(404) => {
            Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
                .with_detail(format!("{what} is not there"))
                .with_source(error))
        }
        answer => said(OPERATION, answer),
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
            None => self.connect().await?,
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

/// Reads an event in either mode, under either prefix of the binding.
fn read(delivered: &Delivered) -> Result<Message> {
    let properties = &delivered.properties;
    let media = properties
        .content_type()
        .as_ref()
        .map(|media| media.as_str());
    if is_structured(delivered) {
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

fn is_structured(delivered: &Delivered) -> bool {
    let media = delivered.properties.content_type().as_ref();
    media.is_some_and(|media| media.as_str().starts_with("application/cloudevents"))
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
    /// Without its payload.
    delivered: Delivered,
    /// The payload, where it is another than that of the message.
    whole: Option<Vec<u8>>,
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

    async fn bury(&self, payload: Option<&[u8]>, reason: &str, detail: &str) -> Result<()> {
        let payload = self.whole.as_deref().or(payload).unwrap_or_default();
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
                .basic_publish(exchange, route, options, payload, properties)
                .await?
                .await
        };
        match in_time(self.graves.timeout, burying).await {
            Some(Ok(Confirmation::Ack(None))) => {
                // It is there: whoever tries again has it there twice. It comes again if this is lost.
                let _ = self.accept().await;
                Ok(())
            }
            Some(Ok(Confirmation::Ack(Some(_)))) => Err(failed("no queue takes dead letters")),
            Some(Ok(_)) => Err(failed("a queue of dead letters refuses it")),
            Some(Err(error)) => Err(lost("bury message", error)),
            None => Err(failed("no confirm")),
        }
    }
}
