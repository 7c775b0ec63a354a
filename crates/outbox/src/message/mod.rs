//! What leaves: a message, what it is made of, and how a broker sees it.

mod cloud_event;
mod event;
mod new;
mod read;

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tenantry_core::{CorrelationId, Error, ErrorKind, Result, TenantId, TraceParent};
use uuid::Uuid;

pub use self::cloud_event::{CloudEvent, ContentMode};
pub use self::event::{Event, JSON};
pub use self::new::NewMessage;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
pub(crate) use self::new::names_envelope;

/// The identifier of a message: a UUID of version 7, the same however often the message is delivered.
///
/// Consumers tell by it what they have handled already; see `docs/outbox.md`.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::MessageId;
///
/// let id = MessageId::generate();
/// assert_eq!(id.to_string().parse::<MessageId>()?, id);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

impl MessageId {
    /// Returns a new identifier, later than all that this process has made before.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the identifier of a message that has one already.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// Returns the UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for MessageId {
    type Err = tenantry_core::Error;

    /// # Errors
    ///
    /// `InvalidInput` if the text is no UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| {
            tenantry_core::Error::new(tenantry_core::ErrorKind::InvalidInput, "parse message id")
                .with_detail("expected a UUID")
        })
    }
}

/// A message as it was stored, on its way to a broker.
///
/// Its order is that of its tenant and key: of two messages with both alike the earlier one leaves first.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub(crate) tenant: TenantId,
    pub(crate) content: NewMessage,
    pub(crate) occurred_at: DateTime<Utc>,
}

impl Message {
    /// Returns a message of a tenant, as a test of a publisher makes one.
    ///
    /// What has no time yet occurs at the start of Unix time.
    #[must_use]
    pub fn new(tenant: TenantId, content: NewMessage) -> Self {
        let occurred_at = content.occurred_at.unwrap_or_default();
        Self {
            tenant,
            content,
            occurred_at,
        }
    }

    /// Returns the identifier.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.content.id
    }

    /// Returns the tenant in whose transaction the message was stored.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns the type of the event, such as `billing.invoice.paid`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.content.event_type
    }

    /// Returns what keeps messages of the tenant in order: the identifier of the aggregate as a rule.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.content.key
    }

    /// Returns the project within the tenant.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        self.content.project.as_deref()
    }

    /// Returns the module of the product.
    #[must_use]
    pub fn module(&self) -> Option<&str> {
        self.content.module.as_deref()
    }

    /// Returns the identifier that the caller knows the request by.
    #[must_use]
    pub const fn correlation_id(&self) -> Option<&CorrelationId> {
        self.content.correlation_id.as_ref()
    }

    /// Returns the message whose handling has led to this one.
    #[must_use]
    pub const fn causation_id(&self) -> Option<MessageId> {
        self.content.causation_id
    }

    /// Returns the trace within which the event occurred, sampled or not.
    #[must_use]
    pub const fn trace(&self) -> Option<TraceParent> {
        self.content.trace
    }

    /// Returns what vendors of tracing have put beside the trace: the header `tracestate`.
    #[must_use]
    pub fn trace_state(&self) -> Option<&str> {
        self.content.trace_state.as_deref()
    }

    /// Returns when the event occurred.
    #[must_use]
    pub const fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }

    /// Returns the media type of the payload.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content.content_type
    }

    /// Returns the payload, byte for byte as it was appended.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.content.payload
    }

    /// Reads the event that the message is of, for a handler.
    ///
    /// # Errors
    ///
    /// `InvalidValue` if it is of another type, or its payload is none of this type: as a
    /// [`HandlerError`](crate::HandlerError) poison, for no later attempt reads it either. What stands in the payload is
    /// not told.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::borrow::Cow;
    ///
    /// use serde::{Deserialize, Serialize};
    /// use tenantry_core::TenantId;
    /// use tenantry_outbox::{Event, Message, NewMessage};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct InvoicePaid {
    ///     invoice: u32,
    /// }
    ///
    /// impl Event for InvoicePaid {
    ///     const TYPE: &'static str = "billing.invoice.paid";
    ///
    ///     fn key(&self) -> Cow<'_, str> {
    ///         self.invoice.to_string().into()
    ///     }
    /// }
    ///
    /// let paid = InvoicePaid { invoice: 7 };
    /// let message = Message::new(TenantId::generate(), NewMessage::of(&paid)?);
    /// assert_eq!(message.read_event::<InvoicePaid>()?, paid);
    /// # Ok::<(), tenantry_core::Error>(())
    /// ```
    pub fn read_event<E: Event + DeserializeOwned>(&self) -> Result<E> {
        let refused = |detail: String| {
            Error::new(ErrorKind::InvalidValue, "read event")
                .with_subject(E::TYPE)
                .with_detail(detail)
        };
        if self.event_type() != E::TYPE {
            return Err(refused(format!("the message is of {}", self.event_type())));
        }
        serde_json::from_slice(self.payload()).map_err(|error| {
            // Its text may quote the payload.
            let (line, column) = (error.line(), error.column());
            refused(match error.classify() {
                Category::Data => format!("a field is missing or another one, at {line}:{column}"),
                _ => format!("the payload is no JSON, at {line}:{column}"),
            })
        })
    }

    /// Returns the message as a CloudEvent of a source: a URI reference of the service, such as
    /// `/services/billing`.
    #[must_use]
    pub fn cloud_event<'m>(&'m self, source: &'m str) -> CloudEvent<'m> {
        CloudEvent::new(self, Cow::Borrowed(source))
    }
}

impl fmt::Debug for Message {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id())
            .field("tenant", &self.tenant)
            .field("event_type", &self.event_type())
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}
