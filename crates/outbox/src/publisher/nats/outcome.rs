//! What answers, and their absence, say of a message.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;
use tenantry_core::{Error, ErrorKind};

use crate::connection::NatsLink;
use crate::{PublishError, PublishErrorKind, PublishReason};

#[derive(Deserialize)]
struct Answer {
    error: Option<jetstream::Error>,
    stream: Option<String>,
}

/// Reads the acknowledgement of a stream.
pub(super) fn answered(answer: &[u8], stream: &str) -> Result<(), PublishError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| {
        unavailable(
            PublishReason::DestinationUnsafe,
            "somebody else than a stream answers under the subject",
        )
        .with_source(error)
    })?;
    if let Some(error) = answer.error {
        return Err(refused(&error).with_source(error));
    }
    if answer.stream.as_deref() != Some(stream) {
        return Err(unavailable(
            PublishReason::DestinationUnsafe,
            format!("another stream than {stream} has the subject"),
        ));
    }
    Ok(())
}

fn refused(error: &jetstream::Error) -> PublishError {
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            PublishError::new(
                PublishErrorKind::Poison,
                "it is larger than the stream takes",
            )
            .with_reason(PublishReason::TooLarge)
        }
        ErrorCode::STREAM_NOT_MATCH | ErrorCode::STREAM_SEALED => unavailable(
            PublishReason::DestinationUnsafe,
            "the subject is in another stream, or its stream is sealed",
        ),
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::STREAM_OFFLINE => unavailable(
            PublishReason::DestinationMissing,
            "the stream is gone, or offline",
        ),
        // Of this subject alone.
        ErrorCode::STREAM_STORE_FAILED if error.to_string().contains("per subject") => {
            PublishError::new(
                PublishErrorKind::Refused,
                "its subject takes no more messages",
            )
            .with_reason(PublishReason::Full)
        }
        // All of them tell of a stream or a server that has no room, and none of the message.
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => unavailable(
            PublishReason::Full,
            "the stream takes no more: it, or its server, is full",
        ),
        ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER
        | ErrorCode::CLUSTER_NOT_ACTIVE => unavailable(
            PublishReason::NoAnswer,
            "the stream has no leader at the moment",
        ),
        _ => PublishError::new(
            PublishErrorKind::Refused,
            format!("the stream refuses it: {error}"),
        ),
    }
}

/// Says what no answer means to what was asked then.
pub(super) fn of_request(
    error: &RequestError,
    link: &NatsLink,
    subject: &str,
    since: Instant,
    timeout: Duration,
) -> PublishError {
    match error.kind() {
        RequestErrorKind::NoResponders => unavailable(
            PublishReason::DestinationMissing,
            "no stream has the subject",
        ),
        RequestErrorKind::MaxPayloadExceeded => PublishError::new(
            PublishErrorKind::Poison,
            "it is larger than the server takes",
        )
        .with_reason(PublishReason::TooLarge),
        RequestErrorKind::InvalidSubject => {
            PublishError::new(PublishErrorKind::Poison, "its subject is none")
                .with_reason(PublishReason::Unwritable)
        }
        _ if link.take_refusal(subject, since) => PublishError::new(
            PublishErrorKind::Refused,
            format!("the user may not publish to {subject}"),
        )
        .with_reason(PublishReason::Forbidden),
        _ if !link.is_connected() => disconnected(link),
        _ => not_answered(timeout),
    }
}

pub(super) fn too_large(bytes: usize, most: usize) -> PublishError {
    PublishError::new(
        PublishErrorKind::Poison,
        format!("it takes {bytes} bytes with its headers, of {most} at most"),
    )
    .with_reason(PublishReason::TooLarge)
}

pub(super) fn disconnected(link: &NatsLink) -> PublishError {
    match link.is_login_refused() {
        true => unavailable(
            PublishReason::LoginRefused,
            "the server takes neither user nor password",
        ),
        false => unavailable(
            PublishReason::Disconnected,
            "there is no connection to the server",
        ),
    }
}

pub(super) fn not_answered(timeout: Duration) -> PublishError {
    unavailable(
        PublishReason::NoAnswer,
        format!("no acknowledgement within {} ms", timeout.as_millis()),
    )
}

pub(super) fn unavailable(
    reason: PublishReason,
    detail: impl Into<Cow<'static, str>>,
) -> PublishError {
    PublishError::new(PublishErrorKind::Unavailable, detail).with_reason(reason)
}

/// Says what a connection that could not be made means for a message.
pub(super) fn of_error(error: Error) -> PublishError {
    let reason = match error.kind() {
        ErrorKind::AuthenticationFailed => PublishReason::LoginRefused,
        _ => PublishReason::Disconnected,
    };
    unavailable(reason, error.detail().to_owned()).with_source(error)
}
