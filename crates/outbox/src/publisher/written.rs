//! Which messages can be written for any broker.

use crate::message::names_envelope;
use crate::{Message, PublishError, PublishErrorKind, PublishReason};

/// Refuses a message whose content type says that its payload is an event in one document.
///
/// An outbox appends none; who makes one otherwise would have it read as that event, with the identifier, type and key
/// that stand in it.
pub(super) fn check(message: &Message) -> Result<(), PublishError> {
    if !names_envelope(message.content_type()) {
        return Ok(());
    }
    Err(PublishError::new(
        PublishErrorKind::Poison,
        "its content type is that of an event, and its payload would be read as one",
    )
    .with_reason(PublishReason::Unwritable))
}
