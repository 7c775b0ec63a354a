use std::borrow::Cow;

use serde::Serialize;

/// The media type of JSON, in which events are written.
pub const JSON: &str = "application/json";

/// Something that has happened to an aggregate, and that other services hear of.
///
/// The payload is what serde makes of the struct, as JSON. What is written otherwise, in Protocol Buffers
/// for one, is a [`NewMessage`](crate::NewMessage) with bytes of its own.
///
/// # Examples
///
/// ```
/// use std::borrow::Cow;
/// use serde::Serialize;
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{Event, Message, NewMessage};
/// use uuid::Uuid;
///
/// #[derive(Serialize)]
/// struct InvoicePaid {
///     invoice: Uuid,
///     total_cents: i64,
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
/// let paid = NewMessage::of(&InvoicePaid { invoice: Uuid::nil(), total_cents: 500 })?;
/// let message = Message::new(TenantId::generate(), paid);
/// let payload = br#"{"invoice":"00000000-0000-0000-0000-000000000000","total_cents":500}"#;
/// assert_eq!(message.payload(), payload);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
pub trait Event: Serialize {
    /// The type by which consumers know it, such as `billing.invoice.paid`: 1 to 200 bytes.
    ///
    /// Consumers hold on to it: what changes its meaning gets another.
    const TYPE: &'static str;

    /// Returns what keeps events of the tenant in order: the identifier of the aggregate, 1 to 256 bytes.
    fn key(&self) -> Cow<'_, str>;
}
