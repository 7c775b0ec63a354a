//! What a broker gives out, and what it is told of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result};

use crate::Message;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
use crate::Routes;

/// What a delivery takes beside its payload and headers.
pub(super) const OVERHEAD: usize = 1_024;

/// Where messages come from.
#[async_trait]
pub(super) trait Source: Send + 'static {
    /// Whether nothing is lost where [`next`](Self::next) is dropped, so that who stops does not wait for it.
    const MAY_BE_DROPPED: bool = false;

    fn system(&self) -> &'static str;

    /// Returns up to so many deliveries, and about so many bytes: those that are there, or the first that comes within a
    /// second.
    ///
    /// After an error it is asked again, and connects anew.
    async fn next(&mut self, most: usize, room: usize) -> Result<Vec<Delivery>>;

    /// Returns how often the broker wants to hear that a message is still wanted.
    fn keep_every(&self) -> Option<Duration>;

    /// Lets the broker have all that was said of deliveries, before the connection goes.
    async fn end(&mut self) {}
}

/// A message that is to be handled, or what could not be read as one.
pub(super) struct Delivery {
    pub(super) read: Result<Message, Refusal>,
    /// How often it was given out, this time included, where the broker counts.
    pub(super) deliveries: u64,
    /// How many bytes it holds.
    pub(super) bytes: usize,
    pub(super) receipt: Arc<dyn Receipt>,
}

/// Why something is no message for anybody.
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// What is said to the broker of one delivery.
#[async_trait]
pub(super) trait Receipt: Send + Sync {
    /// Says that it was handled.
    async fn accept(&self) -> Result<()>;

    /// Gives it back, to be delivered again.
    async fn release(&self) -> Result<()>;

    /// Says that it is still wanted.
    async fn keep(&self) -> Result<()>;

    /// Leaves it to the sender to try again after a while; false where that is done here.
    fn refuse(&self, _error: &Error) -> bool {
        false
    }

    /// Stores the whole of it among the dead letters, and then says that it was handled.
    ///
    /// The payload is that of the message, where it is one.
    async fn bury(&self, payload: Option<&[u8]>, reason: &str, detail: &str) -> Result<()>;
}

/// Refuses a message whose tenant is another than that of the name it came under.
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
pub(super) fn checked(
    read: Result<Message>,
    routes: &Routes,
    route: &str,
) -> Result<Message, Refusal> {
    let message = read.map_err(|error| Refusal {
        reason: match error.kind() {
            ErrorKind::PermissionDenied => "no_tenant",
            _ => "unreadable",
        },
        detail: error.to_string(),
    })?;
    if routes.tenant_of(route) != Some(message.tenant()) {
        return Err(Refusal {
            reason: "forged_tenant",
            detail: "its envelope names another tenant than the name it came under".to_owned(),
        });
    }
    Ok(message)
}

/// Returns a text that a header can hold.
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
pub(super) fn in_header(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(1_000).collect()
}

pub(super) fn lost(
    operation: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
        .with_detail("the broker does not take it")
        .with_source(error)
}
