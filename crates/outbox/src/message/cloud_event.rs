//! Messages as CloudEvents 1.0.
//!
//! In binary mode a binding puts each attribute into a header, under its own prefix, and the payload stays
//! as it is; in structured mode all is one JSON document. The mapping is this file and not the official crate, whose
//! event owns every attribute and copies the payload for each message.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::SecondsFormat;
use serde::de::IgnoredAny;
use serde::ser::{SerializeMap as _, Serializer as _};
use tenantry_core::{Error, ErrorKind, Result};

use super::{JSON, Message};

/// The media type of one CloudEvent in structured mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// How a broker gets an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentMode {
    /// Each attribute in a header, and the payload as it is.
    #[default]
    Binary,
    /// All in one JSON document, for consumers that see no headers.
    Structured,
}

/// A [`Message`] as a [CloudEvent 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md).
///
/// | attribute | is |
/// |---|---|
/// | `id`, `type`, `time`, `datacontenttype` | those of the message |
/// | `source` | the service; with `id` it tells an event from every other |
/// | `subject`, `partitionkey` | the key |
/// | `tenantid`, `projectid`, `moduleid` | where it belongs |
/// | `correlationid`, `causationid` | what it belongs to |
/// | `traceparent`, `tracestate` | where it occurred, however many hops ago |
///
/// # Examples
///
/// ```
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{Message, NewMessage};
///
/// let tenant = TenantId::generate();
/// let content = NewMessage::new("billing.invoice.paid", "7").with_payload("application/json", b"{}".to_vec());
/// let message = Message::new(tenant, content);
/// let event = message.cloud_event("/services/billing");
/// let subject = event.attributes().find(|(name, _)| *name == "subject");
/// assert_eq!(subject.map(|(_, value)| value.into_owned()).as_deref(), Some("7"));
/// ```
#[derive(Debug, Clone)]
pub struct CloudEvent<'m> {
    message: &'m Message,
    source: Cow<'m, str>,
}

impl<'m> CloudEvent<'m> {
    /// The version of the specification.
    pub const SPEC_VERSION: &'static str = "1.0";

    pub(super) const fn new(message: &'m Message, source: Cow<'m, str>) -> Self {
        Self { message, source }
    }

    /// Returns the attributes by their names, without prefix, for a header each; the payload is the body.
    ///
    /// The media type is among them as `datacontenttype`, which most bindings put into a header of their
    /// own.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let message = self.message;
        let time = message
            .occurred_at
            .to_rfc3339_opts(SecondsFormat::Micros, true);
        let trace = message.trace().map(|trace| Cow::Owned(trace.to_string()));
        let causation = message.causation_id().map(|id| Cow::Owned(id.to_string()));
        let correlation = message
            .correlation_id()
            .map(|id| Cow::Borrowed(id.as_str()));
        [
            ("specversion", Some(Cow::Borrowed(Self::SPEC_VERSION))),
            ("id", Some(Cow::Owned(message.id().to_string()))),
            ("source", Some(Cow::Borrowed(&*self.source))),
            ("type", Some(Cow::Borrowed(message.event_type()))),
            ("subject", Some(Cow::Borrowed(message.key()))),
            ("time", Some(Cow::Owned(time))),
            (
                "datacontenttype",
                Some(Cow::Borrowed(message.content_type())),
            ),
            ("partitionkey", Some(Cow::Borrowed(message.key()))),
            ("tenantid", Some(Cow::Owned(message.tenant.to_string()))),
            ("projectid", message.project().map(Cow::Borrowed)),
            ("moduleid", message.module().map(Cow::Borrowed)),
            ("correlationid", correlation),
            ("causationid", causation),
            ("traceparent", trace),
            ("tracestate", message.trace_state().map(Cow::Borrowed)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Returns the media type of [`structured`](Self::structured).
    #[must_use]
    pub const fn structured_content_type() -> &'static str {
        STRUCTURED
    }

    /// Returns all of it as one JSON document: a payload that is JSON as it is, any other in base64, and none where there
    /// is none.
    ///
    /// # Errors
    ///
    /// `InvalidValue` if a payload that says it is JSON is none.
    pub fn structured(&self) -> Result<Vec<u8>> {
        let payload = self.message.payload();
        let mut document = Vec::with_capacity(payload.len() + 512);
        self.write_attributes(&mut document).map_err(|error| {
            self.invalid("its attributes cannot be written as JSON")
                .with_source(error)
        })?;
        // What follows takes the place of the brace.
        document.pop();
        if payload.is_empty() {
            // An event need not have data.
        } else if is_json(self.message.content_type()) {
            let text = std::str::from_utf8(payload).map_err(|error| {
                self.invalid("its payload is no UTF-8, and its content type says it is JSON")
                    .with_source(error)
            })?;
            let is_document = serde_json::from_str::<IgnoredAny>(text);
            is_document.map_err(|error| {
                self.invalid("its payload is no JSON, and its content type says so")
                    .with_source(error)
            })?;
            document.extend_from_slice(br#","data":"#);
            document.extend_from_slice(payload);
        } else {
            document.extend_from_slice(br#","data_base64":""#);
            document.extend_from_slice(STANDARD.encode(payload).as_bytes());
            document.push(b'"');
        }
        document.push(b'}');
        Ok(document)
    }

    fn write_attributes(&self, document: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut serializer = serde_json::Serializer::new(document);
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.attributes() {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }

    fn invalid(&self, detail: &'static str) -> Error {
        Error::new(ErrorKind::InvalidValue, "write cloud event")
            .with_subject(self.message.id().to_string())
            .with_detail(detail)
    }
}

pub(super) fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case(JSON) || media.to_ascii_lowercase().ends_with("+json")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tenantry_core::{CorrelationId, TenantId};
    use uuid::Uuid;

    use super::*;
    use crate::{MessageId, NewMessage};

    fn message(tenant: u128, content_type: &'static str, payload: &[u8]) -> Message {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let content = NewMessage::new("billing.invoice.paid", "invoice \"7\" ä")
            .with_id(MessageId::new(Uuid::from_u128(0x0190_b5a4)))
            .with_payload(content_type, payload.to_vec())
            .with_project("p-1")
            .with_module("billing")
            .with_correlation_id(CorrelationId::new("order-4711").unwrap())
            .with_causation_id(MessageId::new(Uuid::from_u128(9)))
            .with_trace(trace.parse().unwrap(), Some("vendor=1".to_owned()))
            .with_occurred_at(DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap());
        Message::new(TenantId::from_u128(tenant).unwrap(), content)
    }

    // What consumers hold on to: these bytes do not change.
    const STRUCTURED_JSON: &str = concat!(
        r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-00000190b5a4","#,
        r#""source":"/services/billing","type":"billing.invoice.paid","#,
        r#""subject":"invoice \"7\" ä","time":"2023-11-14T22:13:20.000001Z","#,
        r#""datacontenttype":"application/json","partitionkey":"invoice \"7\" ä","#,
        r#""tenantid":"00000000-0000-0000-0000-000000000001","projectid":"p-1","moduleid":"billing","#,
        r#""correlationid":"order-4711","causationid":"00000000-0000-0000-0000-000000000009","#,
        r#""traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00","#,
        r#""tracestate":"vendor=1","data":{"total":1 }}"#,
    );

    #[test]
    fn a_structured_event_keeps_its_bytes() {
        let message = message(1, "application/json", br#"{"total":1 }"#);
        let written = message
            .cloud_event("/services/billing")
            .structured()
            .unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), STRUCTURED_JSON);
    }

    #[test]
    fn a_payload_that_is_no_json_is_in_base64() {
        let message = message(2, "application/octet-stream", &[0xff, 0x00, 0x01]);
        let written = message.cloud_event("/s").structured().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(document["data_base64"], "/wAB");
        assert_eq!(document["tenantid"], "00000000-0000-0000-0000-000000000002");
        assert_eq!(document.get("data"), None);
    }

    #[test]
    fn a_payload_that_only_says_it_is_json_is_refused() {
        for payload in [&b"{"[..], b" ", b"{} {}", b"\"\xff\""] {
            let message = message(1, "application/json; charset=utf-8", payload);
            let error = message.cloud_event("/s").structured().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue);
        }
    }

    #[test]
    fn without_a_payload_there_is_no_data() {
        for content_type in [JSON, "text/plain"] {
            let message = message(1, content_type, b"");
            let written = message.cloud_event("/s").structured().unwrap();
            let document: serde_json::Value = serde_json::from_slice(&written).unwrap();
            assert_eq!(
                (document.get("data"), document.get("data_base64")),
                (None, None)
            );
            assert_eq!(CloudEvent::read_structured(&written).unwrap(), message);
        }
    }

    #[test]
    fn names_of_attributes_are_such_as_the_specification_allows() {
        let message = message(1, JSON, b"1");
        let event = message.cloud_event("/s");
        let names: Vec<_> = event.attributes().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 15);
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(is_allowed) && name.len() <= 20)
        );

        let content = NewMessage::new("a", "k");
        let bare = Message::new(TenantId::from_u128(2).unwrap(), content);
        let bare = bare.cloud_event("/s");
        let names: Vec<_> = bare.attributes().map(|(name, _)| name).collect();
        let always = [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "partitionkey",
            "tenantid",
        ];
        assert_eq!(names, always);
    }
}
