use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Datelike as _, Utc};
use tenantry_core::{CorrelationId, Error, ErrorKind, RequestContext, Result, TraceParent};

use super::{Event, JSON, MessageId};

/// A message that is to be appended.
///
/// An [`Event`] is made into one; make it by hand for a payload that
/// serde does not write, or to say more of it.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::NewMessage;
///
/// let message = NewMessage::new("billing.invoice.rendered", "invoice-7")
///     .with_payload("application/pdf", vec![0x25, 0x50, 0x44, 0x46])
///     .with_module("billing");
/// assert_eq!(message.event_type(), "billing.invoice.rendered");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub(crate) id: MessageId,
    pub(crate) event_type: Cow<'static, str>,
    pub(crate) key: String,
    pub(crate) project: Option<String>,
    pub(crate) module: Option<String>,
    pub(crate) correlation_id: Option<CorrelationId>,
    pub(crate) causation_id: Option<MessageId>,
    pub(crate) trace: Option<TraceParent>,
    pub(crate) trace_state: Option<String>,
    pub(crate) occurred_at: Option<DateTime<Utc>>,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) payload: Vec<u8>,
}

/// The most bytes of a key: consumers and brokers index it.
const MOST_OF_KEY: usize = 256;
/// The most bytes of a type, and of the names of a project and of a module.
const MOST_OF_NAME: usize = 200;
/// The most bytes of `tracestate` that W3C Trace Context asks everybody to carry.
const MOST_OF_TRACE_STATE: usize = 512;

impl NewMessage {
    /// Returns a message without a payload, with an identifier of its own.
    #[must_use]
    pub fn new(event_type: impl Into<Cow<'static, str>>, key: impl Into<String>) -> Self {
        Self {
            id: MessageId::generate(),
            event_type: event_type.into(),
            key: key.into(),
            project: None,
            module: None,
            correlation_id: None,
            causation_id: None,
            trace: None,
            trace_state: None,
            occurred_at: None,
            content_type: Cow::Borrowed(JSON),
            payload: Vec::new(),
        }
    }

    /// Returns the message of an event.
    ///
    /// # Errors
    ///
    /// `InvalidValue` if the event cannot be written.
    pub fn of<E: Event + ?Sized>(event: &E) -> Result<Self> {
        let payload = serde_json::to_vec(event).map_err(|error| {
            Error::new(ErrorKind::InvalidValue, "write event")
                .with_subject(E::TYPE)
                .with_detail("it cannot be written as JSON")
                .with_source(error)
        })?;
        Ok(Self::new(E::TYPE, event.key()).with_payload(JSON, payload))
    }

    /// Sets the identifier, where the message had one before it came here.
    ///
    /// One that the tenant has already is refused as `AlreadyExists` as long as the log has it: on PostgreSQL within the
    /// same minute, on SQLite until it has left. Later it is handed over again, and whoever consumes it knows it by its
    /// [`Inbox`](crate::Inbox): do what appends it by `Inbox::once` as well.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = id;
        self
    }

    /// Sets the payload and its media type.
    #[must_use]
    pub fn with_payload(
        mut self,
        content_type: impl Into<Cow<'static, str>>,
        payload: Vec<u8>,
    ) -> Self {
        self.content_type = content_type.into();
        self.payload = payload;
        self
    }

    /// Sets the project within the tenant.
    #[must_use]
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Sets the module of the product.
    #[must_use]
    pub fn with_module(mut self, module: impl Into<String>) -> Self {
        self.module = Some(module.into());
        self
    }

    /// Sets the identifier that the caller knows the request by; without it that of the unit of work is
    /// taken.
    #[must_use]
    pub fn with_correlation_id(mut self, id: CorrelationId) -> Self {
        self.correlation_id = Some(id);
        self
    }

    /// Sets the message whose handling has led to this one.
    #[must_use]
    pub fn with_causation_id(mut self, id: MessageId) -> Self {
        self.causation_id = Some(id);
        self
    }

    /// Sets the trace; without it that of the unit of work is taken.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceParent, state: Option<String>) -> Self {
        self.trace = Some(trace);
        self.trace_state = state;
        self
    }

    /// Sets when the event occurred; without it, it is when the message is appended.
    #[must_use]
    pub fn with_occurred_at(mut self, at: DateTime<Utc>) -> Self {
        self.occurred_at = Some(at);
        self
    }

    /// Returns the identifier.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// Returns the type of the event.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns what keeps messages in order.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Fills in from the unit of work what the caller has not said.
    pub(crate) fn complete(&mut self, context: &RequestContext, now: DateTime<Utc>) {
        if self.trace.is_none() {
            self.trace = context.trace();
        }
        if self.correlation_id.is_none() {
            self.correlation_id = context.correlation_id().cloned();
        }
        self.occurred_at.get_or_insert(now);
    }

    /// Refuses what no broker or no database could carry.
    pub(crate) fn check(&self, most_bytes: usize) -> Result<()> {
        let is_plain = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        let may_be =
            |text: &Option<String>, most| text.as_deref().is_none_or(|it| is_plain(it, most));
        let wrong = if !is_plain(&self.event_type, MOST_OF_NAME) {
            "its type is not of 1 to 200 bytes without control characters"
        } else if !is_plain(&self.key, MOST_OF_KEY) {
            "its key is not of 1 to 256 bytes without control characters"
        } else if !is_plain(&self.content_type, MOST_OF_NAME) {
            "its content type is not of 1 to 200 bytes without control characters"
        } else if names_envelope(&self.content_type) {
            "its content type is that of an event itself, which a consumer would take it for"
        } else if !may_be(&self.project, MOST_OF_NAME) || !may_be(&self.module, MOST_OF_NAME) {
            "its project or module is not of 1 to 200 bytes without control characters"
        } else if !may_be(&self.trace_state, MOST_OF_TRACE_STATE) {
            "its trace state is not of 1 to 512 bytes without control characters"
        } else if self.id.as_uuid().is_nil() {
            "its id is nil"
        } else if self
            .occurred_at
            .is_some_and(|at| !(0..=9_999).contains(&at.year()))
        {
            // What RFC 3339, and so a CloudEvent, can say.
            "its time is not of the years 0 to 9999"
        } else if self.payload.len() > most_bytes {
            let detail = format!(
                "its payload takes {} bytes of {most_bytes} at most: put it into a blob, and send where it is",
                self.payload.len()
            );
            return Err(self.refused(detail));
        } else {
            return Ok(());
        };
        Err(self.refused(wrong))
    }

    fn refused(&self, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::InvalidInput, "append message")
            .with_subject(self.id.to_string())
            .with_detail(detail)
    }
}

/// Whether a content type is that of a `CloudEvent` in structured mode, or of several.
pub(crate) fn names_envelope(content_type: &str) -> bool {
    const ENVELOPE: &str = "application/cloudevents";
    let start = content_type.trim_start().get(..ENVELOPE.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(ENVELOPE))
}

impl fmt::Debug for NewMessage {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_carry_is_refused_by_name() {
        let message = || NewMessage::new("a.b", "k").with_payload(JSON, vec![b'1'; 10]);
        assert!(message().check(10).is_ok());
        for (wrong, said) in [
            (message(), "payload"),
            (NewMessage::new("", "k"), "type"),
            (
                NewMessage::new("a", "k").with_payload("Application/CloudEvents+json", vec![]),
                "event",
            ),
            (message().with_occurred_at(DateTime::<Utc>::MAX_UTC), "time"),
            (message().with_occurred_at(DateTime::<Utc>::MIN_UTC), "time"),
            (NewMessage::new("a", ""), "key"),
            (NewMessage::new("a", "k\n"), "key"),
            (NewMessage::new("a", "k".repeat(257)), "key"),
            (NewMessage::new("a", "k").with_module("\0"), "module"),
            (NewMessage::new("a", "k").with_project(""), "project"),
            (
                NewMessage::new("a", "k").with_id(MessageId::new(uuid::Uuid::nil())),
                "id",
            ),
            (
                NewMessage::new("a", "k").with_payload("", vec![]),
                "content type",
            ),
        ] {
            let error = wrong.check(9).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.detail().contains(said), "{error}");
        }
    }

    #[test]
    fn the_unit_of_work_says_what_the_caller_has_not() {
        let trace: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
            .parse()
            .unwrap();
        let context = RequestContext::system()
            .with_trace(trace)
            .with_correlation_id(CorrelationId::new("order-1").unwrap());
        let now = DateTime::from_timestamp(5, 0).unwrap();
        let mut plain = NewMessage::new("a", "k");
        plain.complete(&context, now);
        // Unsampled as it is.
        assert_eq!(plain.trace, Some(trace));
        assert_eq!(plain.correlation_id.unwrap().as_str(), "order-1");
        assert_eq!(plain.occurred_at, Some(now));

        let own = CorrelationId::new("order-2").unwrap();
        let mut said = NewMessage::new("a", "k").with_correlation_id(own.clone());
        said.complete(&context, now);
        assert_eq!(said.correlation_id, Some(own));
    }
}
