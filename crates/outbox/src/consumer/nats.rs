//! Messages from a stream of NATS JetStream.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::message::{AckKind, Message as Delivered};
use async_nats::{HeaderMap, Request, Subject, jetstream};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use percent_encoding::percent_decode_str;
use tenantry_core::{Error, ErrorKind, Result};

use super::ConsumerSettings;
use super::delivery::{Delivery, OVERHEAD, Receipt, Source, checked, in_header, lost};
use crate::connection::NatsLink;
use crate::publisher::wire_len;
use crate::{CloudEvent, Message, NatsConnection, Routes};

/// After what time without a word the server delivers a message again.
const ACK_WAIT: Duration = Duration::from_secs(30);

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
    dead_letters: String,
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
        let consumer = look(&link, &source, &routes, settings).await?;
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
                dead_letters: source.dead_letters.clone(),
                consumer: settings.name.clone(),
                timeout,
            }),
            source,
            settings: settings.clone(),
        })
    }

    /// Looks for the consumer on the server again: it may be gone, by itself or with its stream.
    async fn look_again(&mut self) -> Result<()> {
        let Shared { link, routes, .. } = &*self.shared;
        let found = look(link, &self.source, routes, &self.settings).await?;
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

    fn delivery(&self, mut delivered: Delivered) -> Delivery {
        let read = checked(
            read(&delivered),
            &self.shared.routes,
            &delivered.message.subject,
        );
        let deliveries = delivered.info().map_or(1, |info| info.delivered);
        // What is in the message is not held twice, nor the buffer in which it has come.
        let arrived = mem::take(&mut delivered.message.payload);
        let whole = match read {
            Ok(_) if !is_structured(&delivered) => None,
            _ => Some(Bytes::copy_from_slice(&arrived)),
        };
        delivered.message.subject = apart(&delivered.message.subject);
        delivered.message.reply = delivered.message.reply.as_ref().map(apart);
        let headers = delivered.message.headers.as_ref().map_or(0, wire_len);
        let payload = read.as_ref().map_or(0, |message| message.payload().len());
        Delivery {
            read,
            deliveries: u64::try_from(deliveries).unwrap_or(1),
            bytes: OVERHEAD + headers + payload + whole.as_ref().map_or(0, Bytes::len),
            receipt: Arc::new(Held {
                shared: Arc::clone(&self.shared),
                delivered,
                whole,
            }),
        }
    }
}

/// Finds the consumer on the server or makes it, if it is as it should be, and there is a place for dead letters.
async fn look(
    link: &NatsLink,
    source: &NatsSource,
    routes: &Routes,
    settings: &ConsumerSettings,
) -> Result<PullConsumer> {
    let mut context = jetstream::new(link.client.clone());
    context.set_timeout(source.connection.timeout());
    let name = &source.stream;
    let stream = context
        .get_stream(name)
        .await
        .map_err(|error| invalid(format!("the stream {name} is not there")).with_source(error))?;
    let name = &settings.name;
    let buried = format!("{}.{name}.any", source.dead_letters);
    context.stream_by_subject(&buried).await.map_err(|error| {
        invalid(format!("no stream takes dead letters under {buried}")).with_source(error)
    })?;
    let config = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: match source.one_at_a_time {
            true => 1,
            false => i64::try_from(settings.prefetch().max(1_000)).unwrap_or(i64::MAX),
        },
        filter_subject: format!("{}.*.{}", routes.prefix(), source.types),
        ..pull::Config::default()
    };
    let consumer: PullConsumer =
        stream
            .get_or_create_consumer(name, config)
            .await
            .map_err(|error| {
                invalid(format!(
                    "the consumer {name} cannot be made or is none that pulls"
                ))
                .with_source(error)
            })?;
    let found = &consumer.cached_info().config;
    if found.ack_policy != AckPolicy::Explicit || found.max_deliver > 0 {
        return Err(invalid(format!(
            "the consumer {name} loses messages: acknowledge explicitly, and set no most of deliveries"
        )));
    }
    if source.one_at_a_time && found.max_ack_pending != 1 {
        return Err(invalid(format!(
            "the consumer {name} gives out {} messages at a time: set its max_ack_pending to 1, or make it anew",
            found.max_ack_pending
        )));
    }
    Ok(consumer)
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidSettings, "consume from nats").with_detail(detail)
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
        let deliveries = got.into_iter().map(|delivered| self.delivery(delivered));
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

/// Reads an event in either mode.
fn read(delivered: &Delivered) -> Result<Message> {
    let empty = HeaderMap::new();
    let headers = delivered.headers.as_ref().unwrap_or(&empty);
    if is_structured(delivered) {
        return CloudEvent::read_structured(&delivered.payload);
    }
    let attributes = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        let name = name.strip_prefix("ce-");
        values.iter().filter_map(move |value| {
            let value = percent_decode_str(value.as_str()).decode_utf8_lossy();
            Some((name?, value))
        })
    });
    let attributes: Vec<(&str, Cow<'_, str>)> = attributes.collect();
    CloudEvent::read(attributes, delivered.payload.to_vec())
}

/// Returns whether the server says that the next one does not fit.
fn is_of_room(error: &(dyn std::error::Error + Send + Sync)) -> bool {
    error.to_string().to_ascii_lowercase().contains("maxbytes")
}

/// Returns a subject that is no part of a buffer.
fn apart(subject: &Subject) -> Subject {
    subject.to_string().into()
}

fn is_structured(delivered: &Delivered) -> bool {
    let headers = delivered.headers.as_ref();
    let media = headers.and_then(|headers| headers.get("Content-Type"));
    media.is_some_and(|media| media.as_str().starts_with("application/cloudevents"))
}

struct Held {
    shared: Arc<Shared>,
    /// Without its payload.
    delivered: Delivered,
    /// The payload, where it is another than that of the message.
    whole: Option<Bytes>,
}

impl Held {
    /// Says something of the message: the client takes so much while there is no connection, and lets wait then.
    async fn say(&self, operation: &'static str, kind: AckKind) -> Result<()> {
        let saying = self.delivered.ack_with(kind);
        match tokio::time::timeout(self.shared.timeout, saying).await {
            Ok(said) => said.map_err(|error| lost(operation, error)),
            Err(elapsed) => Err(lost(operation, elapsed)),
        }
    }
}

#[async_trait]
impl Receipt for Held {
    async fn accept(&self) -> Result<()> {
        self.say("acknowledge message", AckKind::Ack).await
    }

    async fn release(&self) -> Result<()> {
        self.say("give message back", AckKind::Nak(None)).await
    }

    async fn keep(&self) -> Result<()> {
        self.say("keep message", AckKind::Progress).await
    }

    async fn bury(&self, payload: Option<&[u8]>, reason: &str, detail: &str) -> Result<()> {
        let payload = match &self.whole {
            Some(whole) => whole.clone(),
            None => Bytes::copy_from_slice(payload.unwrap_or_default()),
        };
        let Shared {
            link,
            dead_letters,
            consumer,
            timeout,
            ..
        } = &*self.shared;
        let subject = format!("{dead_letters}.{consumer}.{}", self.delivered.subject);
        let mut headers = HeaderMap::new();
        for (name, values) in self.delivered.headers.iter().flat_map(HeaderMap::iter) {
            let text: &str = name.as_ref();
            // They were for another stream.
            if !text.starts_with("Nats-") {
                for value in values {
                    headers.append(name.clone(), value.clone());
                }
            }
        }
        if let Ok(info) = self.delivered.info() {
            let id = format!("{consumer}:{}:{}", info.stream, info.stream_sequence);
            headers.insert("Nats-Msg-Id", id);
        }
        headers.insert("Tenantry-Dead-Reason", in_header(reason));
        let mut told = headers.clone();
        told.insert("Tenantry-Dead-Detail", in_header(detail));
        told.insert("Tenantry-Dead-Subject", &*self.delivered.subject);
        // One as large as the server takes has room for what is in the place of the headers that were left out.
        if wire_len(&told) + payload.len() <= link.client.max_payload() {
            headers = told;
        }
        let request = Request::new()
            .headers(headers)
            .payload(payload)
            .timeout(Some(*timeout));
        let asking = link.client.send_request(subject, request);
        let answer = tokio::time::timeout(*timeout, asking).await;
        let answer = answer.map_err(|elapsed| lost("bury message", elapsed))?;
        let answer = answer.map_err(|error| lost("bury message", error))?;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer.payload).map_err(|error| lost("bury message", error))?;
        if answer.get("seq").is_none() {
            return Err(lost("bury message", "no stream has stored the dead letter"));
        }
        self.accept().await
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("consumer", &self.shared.consumer)
            .finish_non_exhaustive()
    }
}
