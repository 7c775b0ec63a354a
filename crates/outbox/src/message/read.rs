//! The way back: a message from the attributes and the payload that a broker gives out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tenantry_core::{CorrelationId, Error, ErrorKind, Result, TenantId, TraceParent};

use super::cloud_event::is_json;
use super::{CloudEvent, JSON, Message, MessageId, NewMessage};

/// The most bytes of a payload that came from elsewhere: what the broker lets through.
const ANY: usize = usize::MAX;

impl CloudEvent<'_> {
    /// Reads a message from its attributes, by their names without prefix, and its payload.
    ///
    /// # Isolation
    ///
    /// An event without a tenant, or of none that can be one, is no message.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` where there is no tenant, `InvalidValue` for what is no such event otherwise; the detail names the
    /// attribute.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::TenantId;
    /// use tenantry_outbox::{CloudEvent, Message, NewMessage};
    ///
    /// let sent = Message::new(TenantId::generate(), NewMessage::new("billing.invoice.paid", "7"));
    /// let event = sent.cloud_event("/services/billing");
    /// let attributes = event.attributes().map(|(name, value)| (name, value));
    /// let read = CloudEvent::read(attributes, sent.payload().to_vec())?;
    /// assert_eq!((read.tenant(), read.id(), read.key()), (sent.tenant(), sent.id(), "7"));
    /// # Ok::<(), tenantry_core::Error>(())
    /// ```
    pub fn read<'a, N: AsRef<str>>(
        attributes: impl IntoIterator<Item = (N, Cow<'a, str>)>,
        payload: Vec<u8>,
    ) -> Result<Message> {
        let mut found = Attributes::default();
        for (name, value) in attributes {
            found.set(name.as_ref(), &value)?;
        }
        found.message(payload)
    }

    /// Reads a message from one JSON document, as [`structured`](Self::structured) writes it, and others do: data that is
    /// a text and not JSON by its content type is that text.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_structured(document: &[u8]) -> Result<Message> {
        let Members(members) = serde_json::from_slice(document)
            .map_err(|error| invalid("it is no JSON object").with_source(error))?;
        let mut found = Attributes::default();
        let (mut payload, mut data) = (Vec::new(), None);
        let mut names = HashSet::new();
        for (name, value) in &members {
            if !names.insert(&**name) && KNOWN.contains(&&**name) && name != "tenantid" {
                return Err(invalid(format!("`{name}` stands there more than once")));
            }
            let text = || {
                serde_json::from_str::<Cow<'_, str>>(value.get())
                    .map_err(|_| invalid(format!("`{name}` is no text")))
            };
            match &**name {
                "data" => data = Some(*value),
                "data_base64" => {
                    payload = STANDARD
                        .decode(text()?.as_bytes())
                        .map_err(|_| invalid("`data_base64` is no base64"))?;
                }
                // Of somebody else, and perhaps a number.
                other if !KNOWN.contains(&other) => {}
                other => found.set(other, &text()?)?,
            }
        }
        if let Some(data) = data {
            let is_json = found.content_type.as_deref().is_none_or(is_json);
            payload = match serde_json::from_str::<Cow<'_, str>>(data.get()) {
                Ok(text) if !is_json => text.into_owned().into_bytes(),
                _ => data.get().as_bytes().to_vec(),
            };
        }
        found.message(payload)
    }
}

/// The members of an object, also those of one name.
struct Members<'d>(Vec<(Cow<'d, str>, &'d RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMembers)
    }
}

struct OfMembers;

impl<'de> Visitor<'de> for OfMembers {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

const KNOWN: [&str; 14] = [
    "specversion",
    "id",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "partitionkey",
    "tenantid",
    "projectid",
    "moduleid",
    "correlationid",
    "causationid",
    "traceparent",
    "tracestate",
];

#[derive(Default)]
struct Attributes {
    version: Option<String>,
    id: Option<MessageId>,
    event_type: Option<String>,
    subject: Option<String>,
    key: Option<String>,
    tenant: Option<TenantId>,
    time: Option<DateTime<Utc>>,
    content_type: Option<String>,
    project: Option<String>,
    module: Option<String>,
    correlation: Option<CorrelationId>,
    causation: Option<MessageId>,
    trace: Option<TraceParent>,
    trace_state: Option<String>,
}

impl Attributes {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |_| invalid(format!("`{name}` is not what it should be"));
        let text = || Some(value.to_owned());
        match name {
            "specversion" => self.version = text(),
            "id" => self.id = Some(value.parse().map_err(wrong)?),
            "type" => self.event_type = text(),
            "subject" => self.subject = text(),
            "partitionkey" => self.key = text(),
            "tenantid" => {
                if self.tenant.is_some() {
                    return Err(no_tenant("it names more than one tenant"));
                }
                let tenant = value.parse();
                self.tenant = Some(tenant.map_err(|_| no_tenant("`tenantid` is no tenant"))?);
            }
            "time" => {
                let time = DateTime::parse_from_rfc3339(value);
                let wrong = |_| invalid("`time` is no time");
                self.time = Some(time.map_err(wrong)?.with_timezone(&Utc));
            }
            "datacontenttype" => self.content_type = text(),
            "projectid" => self.project = text(),
            "moduleid" => self.module = text(),
            "correlationid" => {
                self.correlation = Some(CorrelationId::new(value).map_err(wrong)?);
            }
            "causationid" => self.causation = Some(value.parse().map_err(wrong)?),
            // A trace that nobody can follow is not worth an event.
            "traceparent" => self.trace = value.parse().ok(),
            "tracestate" => self.trace_state = text(),
            _ => {}
        }
        Ok(())
    }

    fn message(self, payload: Vec<u8>) -> Result<Message> {
        if self.version.as_deref() != Some(CloudEvent::SPEC_VERSION) {
            return Err(invalid("`specversion` is not 1.0"));
        }
        let missing = |name: &str| invalid(format!("`{name}` is missing"));
        let tenant = self
            .tenant
            .ok_or_else(|| no_tenant("`tenantid` is missing"))?;
        let event_type = self.event_type.ok_or_else(|| missing("type"))?;
        let key = self
            .key
            .or(self.subject)
            .ok_or_else(|| missing("partitionkey"))?;
        let mut content = NewMessage::new(event_type, key)
            .with_id(self.id.ok_or_else(|| missing("id"))?)
            .with_payload(
                self.content_type.map_or(Cow::Borrowed(JSON), Cow::Owned),
                payload,
            );
        content.project = self.project;
        content.module = self.module;
        content.correlation_id = self.correlation;
        content.causation_id = self.causation;
        content.trace = self.trace;
        content.trace_state = self.trace.and(self.trace_state);
        content.occurred_at = self.time;
        content.check(ANY).map_err(|error| {
            invalid(error.detail().to_owned()).with_subject(content.id.to_string())
        })?;
        // What the writer did not say stays unsaid, so that the message is equal to the one that was sent.
        Ok(Message::new(tenant, content))
    }
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidValue, "read cloud event").with_detail(detail)
}

fn no_tenant(detail: &'static str) -> Error {
    Error::new(ErrorKind::PermissionDenied, "read cloud event").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn full(tenant: u128) -> Message {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let content = NewMessage::new("billing.invoice.paid", "invoice \"7\" ä")
            .with_payload("application/json", br#"{"total":1 }"#.to_vec())
            .with_project("p-1")
            .with_module("billing")
            .with_correlation_id(CorrelationId::new("order-4711").unwrap())
            .with_causation_id(MessageId::new(Uuid::from_u128(9)))
            .with_trace(trace.parse().unwrap(), Some("vendor=1".to_owned()))
            .with_occurred_at(DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap());
        Message::new(TenantId::from_u128(tenant).unwrap(), content)
    }

    #[test]
    fn what_was_written_is_read_as_it_was_in_both_modes() {
        for message in [full(1), full(2)] {
            let event = message.cloud_event("/s");
            let read = CloudEvent::read(event.attributes(), message.payload().to_vec()).unwrap();
            assert_eq!(read, message);
            let document = event.structured().unwrap();
            assert_eq!(CloudEvent::read_structured(&document).unwrap(), message);
        }
        let bytes = NewMessage::new("a", "k")
            .with_payload("application/octet-stream", vec![0, 255])
            .with_occurred_at(DateTime::from_timestamp(5, 0).unwrap());
        let message = Message::new(TenantId::from_u128(1).unwrap(), bytes);
        let document = message.cloud_event("/s").structured().unwrap();
        assert_eq!(CloudEvent::read_structured(&document).unwrap(), message);
    }

    #[test]
    fn what_bears_no_tenant_is_no_message() {
        let message = full(1);
        let event = message.cloud_event("/s");
        let nil = Uuid::nil().to_string();
        let with = |tenants: &[&str]| {
            let attributes = event.attributes().filter(|(name, _)| *name != "tenantid");
            let tenants: Vec<_> = tenants
                .iter()
                .map(|tenant| ("tenantid", Cow::Owned((*tenant).to_owned())))
                .collect();
            CloudEvent::read(attributes.chain(tenants), Vec::new())
        };
        let own = message.tenant().to_string();
        assert!(with(&[&own]).is_ok());
        for tenants in [&[][..], &[""], &[&nil], &["junk"], &[&own, &own]] {
            let error = with(tenants).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{tenants:?}");
        }
        for tenants in ["", r#","tenantid":"{0}","tenantid":"{1}""#] {
            let tenants = tenants
                .replace("{0}", &own)
                .replace("{1}", &TenantId::generate().to_string());
            let error = CloudEvent::read_structured(document(&tenants).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        }
    }

    /// An event with further members.
    fn document(further: &str) -> String {
        let id = "00000000-0000-0000-0000-00000190b5a4";
        format!(r#"{{"specversion":"1.0","id":"{id}","type":"a","subject":"k"{further}}}"#)
    }

    #[test]
    fn data_is_read_as_its_content_type_says() {
        let tenant = TenantId::generate();
        for (content_type, data, payload) in [
            ("text/plain", r#""h\u00e9llo""#, "héllo"),
            ("application/json", r#""hello""#, r#""hello""#),
            ("text/plain", "7", "7"),
        ] {
            let further = format!(
                r#","tenantid":"{tenant}","datacontenttype":"{content_type}","data":{data}"#
            );
            let read = CloudEvent::read_structured(document(&further).as_bytes()).unwrap();
            assert_eq!(read.payload(), payload.as_bytes(), "{data}");
        }
        let twice = format!(r#","tenantid":"{tenant}","type":"b""#);
        let error = CloudEvent::read_structured(document(&twice).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue);
    }

    #[test]
    fn what_is_no_such_event_is_told_by_the_name_of_the_attribute() {
        let message = full(1);
        let event = message.cloud_event("/s");
        for (name, value) in [
            ("specversion", Some("2.0")),
            ("specversion", None),
            ("id", None),
            ("id", Some("7")),
            ("id", Some("00000000-0000-0000-0000-000000000000")),
            ("type", None),
            ("type", Some("")),
            ("time", Some("yesterday")),
            ("causationid", Some("x")),
            ("partitionkey", Some("a\nb")),
        ] {
            let attributes = event.attributes().filter(|(other, _)| *other != name);
            let attributes = attributes.chain(value.map(|value| (name, Cow::Borrowed(value))));
            let error = CloudEvent::read(attributes, Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{name}");
        }
        for document in [
            &b"{"[..],
            b"[]",
            br#"{"specversion":1}"#,
            br#"{"data_base64":"?"}"#,
        ] {
            let error = CloudEvent::read_structured(document).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue);
        }
    }
}
