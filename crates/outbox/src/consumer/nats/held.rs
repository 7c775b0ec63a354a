//! A message that was given out, and what is said of it.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use async_nats::jetstream::message::{AckKind, Message as Delivered};
use async_nats::{HeaderMap, Request, Subject};
use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tenantry_core::Result;

use super::Shared;
use crate::consumer::delivery::{Delivery, OVERHEAD, Receipt, checked, in_header, lost};
use crate::publisher::wire_len;
use crate::{CloudEvent, Message};

/// What was given out and is not settled.
pub(super) struct Held {
    shared: Arc<Shared>,
    /// Without its payload.
    delivered: Delivered,
    /// The payload, where it is another than that of the message.
    whole: Option<Bytes>,
}

impl Held {
    /// Returns what was given out, as it is to be handled.
    pub(super) fn delivery(shared: &Arc<Shared>, mut delivered: Delivered) -> Delivery {
        let read = checked(read(&delivered), &shared.routes, &delivered.message.subject);
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
            receipt: Arc::new(Self {
                shared: Arc::clone(shared),
                delivered,
                whole,
            }),
        }
    }

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
            graves,
            consumer,
            timeout,
            ..
        } = &*self.shared;
        graves.check(link).await?;
        let subject = graves.subject_of(&self.delivered.subject);
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

/// Returns a subject that is no part of a buffer.
fn apart(subject: &Subject) -> Subject {
    subject.to_string().into()
}

fn is_structured(delivered: &Delivered) -> bool {
    let headers = delivered.headers.as_ref();
    let media = headers.and_then(|headers| headers.get("Content-Type"));
    media.is_some_and(|media| media.as_str().starts_with("application/cloudevents"))
}
