//! What confirms, and their absence, say of a message.

use std::borrow::Cow;
use std::time::Duration;

use tenantry_core::{Error, ErrorKind};

use crate::connection::{Outcome, answer_of};
use crate::{PublishError, PublishErrorKind, PublishReason};

/// Says what became of a message.
pub(super) fn told_of(outcome: Outcome, exchange: &str, route: &str) -> Result<(), PublishError> {
    match outcome {
        Outcome::Stored => Ok(()),
        Outcome::CameBack => Err(PublishError::new(
            PublishErrorKind::Refused,
            format!("it came back: no queue of the exchange {exchange} is bound for {route}"),
        )
        .with_reason(PublishReason::Unroutable)),
        Outcome::Refused => Err(PublishError::new(
            PublishErrorKind::Refused,
            "the broker refuses it: a queue is full, or has failed",
        )
        .with_reason(PublishReason::Full)),
    }
}

/// Says what an error of a channel means for a message under a routing key; the limit of the server, where it tells.
pub(super) fn failed(
    error: &lapin::Error,
    route: &str,
    bytes: usize,
) -> (PublishError, Option<usize>) {
    let text = error.to_string();
    let limit = limit_in(&text);
    let told = match answer_of(error) {
        // Whoever was on the same channel hears of it as well.
        Some(406) if limit.is_some_and(|limit| bytes > limit) => {
            too_large(bytes, limit.unwrap_or_default())
        }
        Some(403) if text.contains(&format!("'{route}'")) => PublishError::new(
            PublishErrorKind::Refused,
            format!("the user may not publish under {route}"),
        )
        .with_reason(PublishReason::Forbidden),
        Some(403) if !text.contains("access to topic") => unavailable(
            PublishReason::Forbidden,
            "the user may not publish to the exchange",
        ),
        Some(404) => unavailable(
            PublishReason::DestinationMissing,
            "the exchange is not there",
        ),
        _ => unavailable(
            PublishReason::Disconnected,
            "the channel or the connection was closed",
        ),
    };
    (told, limit)
}

/// Returns the number in `message size 7 is larger than configured max size 5`.
fn limit_in(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("max size ")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// Turns an answer that did not come, or an error, into what they mean for all messages.
pub(super) fn asked<T>(
    answer: Option<lapin::Result<T>>,
    timeout: Duration,
) -> Result<T, PublishError> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(unavailable(
            PublishReason::Disconnected,
            "the channel or the connection was closed",
        )
        .with_source(error)),
        None => Err(not_answered(timeout)),
    }
}

pub(super) fn too_large(bytes: usize, most: usize) -> PublishError {
    PublishError::new(
        PublishErrorKind::Poison,
        format!("it takes {bytes} bytes, of {most} at most"),
    )
    .with_reason(PublishReason::TooLarge)
}

pub(super) fn not_answered(timeout: Duration) -> PublishError {
    unavailable(
        PublishReason::NoAnswer,
        format!("no confirm within {} ms", timeout.as_millis()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_server_is_read_from_what_it_says() {
        let said =
            "PRECONDITION_FAILED - message size 70000 is larger than configured max size 65536";
        assert_eq!(limit_in(said), Some(65_536));
        assert_eq!(limit_in(&format!("{said}, really")), Some(65_536));
        for other in ["", "max size ", "max size x", "larger than"] {
            assert_eq!(limit_in(other), None);
        }
    }
}
