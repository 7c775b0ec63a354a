//! A message that was given out, and what is said of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use async_trait::async_trait;
use lapin::BasicProperties;
use lapin::message::Delivery as Delivered;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tenantry_core::Result;
use uuid::Uuid;

use super::graves::{Graves, IDENTITY};
use super::live::said;
use crate::connection::{Lost, Outcome, in_time};
use crate::consumer::delivery::{Delivery, OVERHEAD, Receipt, checked, in_header, lost};
use crate::{CloudEvent, Message, Routes};

/// What was given out and is not settled.
pub(super) struct Held {
    graves: Arc<Graves>,
    consumer: String,
    /// Without its payload.
    delivered: Delivered,
    /// The payload, where it is another than that of the message.
    whole: Option<Vec<u8>>,
}

impl Held {
    /// Returns what was given out, as it is to be handled.
    pub(super) fn delivery(
        graves: &Arc<Graves>,
        routes: &Routes,
        consumer: &str,
        mut delivered: Delivered,
    ) -> Delivery {
        let read = checked(read(&delivered), routes, delivered.routing_key.as_str());
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
            receipt: Arc::new(Self {
                graves: Arc::clone(graves),
                consumer: consumer.to_owned(),
                delivered,
                whole,
            }),
        }
    }

    async fn in_time<T>(
        &self,
        saying: impl Future<Output = lapin::Result<T>>,
    ) -> Option<lapin::Result<T>> {
        in_time(self.graves.timeout, saying).await
    }
}

#[async_trait]
impl Receipt for Held {
    async fn accept(&self) -> Result<()> {
        let accepting = self.delivered.acker.ack(BasicAckOptions::default());
        said("acknowledge message", self.in_time(accepting).await).map(drop)
    }

    async fn release(&self) -> Result<()> {
        let options = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        let releasing = self.delivered.acker.nack(options);
        said("give message back", self.in_time(releasing).await).map(drop)
    }

    async fn keep(&self) -> Result<()> {
        Ok(())
    }

    async fn bury(&self, payload: Option<&[u8]>, reason: &str, detail: &str) -> Result<()> {
        self.graves.check().await?;
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
            (IDENTITY, Uuid::now_v7().to_string()),
        ] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = kept(&self.delivered.properties)
            .with_headers(headers)
            .with_delivery_mode(2);
        let route = self.delivered.routing_key.clone();
        let burying = self.graves.publish(route, payload.to_vec(), properties);
        match tokio::time::timeout(self.graves.timeout, burying).await {
            Ok(Ok(Outcome::Stored)) => {
                // It is there: whoever tries again has it there twice. It comes again if this is lost.
                let _ = self.accept().await;
                Ok(())
            }
            Ok(Ok(Outcome::CameBack)) => Err(failed("no queue takes dead letters")),
            Ok(Ok(Outcome::Refused)) => Err(failed("a queue of dead letters refuses it")),
            Ok(Err(Lost::Ended(error))) => Err(lost("bury message", error)),
            Ok(Err(Lost::Unheard)) | Err(_) => Err(failed("no confirm")),
        }
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
