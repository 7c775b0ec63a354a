//! What answers, and their absence, say of a message.

use std::borrow::Cow;

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use tenantry_core::{Error, ErrorKind};

use super::RedisStreamsSettings;
use crate::connection::is_login_refused;
use crate::{PublishError, PublishErrorKind, PublishReason};

/// Says what an error means, without the server's words: they may repeat values.
pub(super) fn failed(error: &RedisError, settings: &RedisStreamsSettings) -> PublishError {
    let says = |word: &str| {
        error.code() == Some(word) || error.detail().is_some_and(|detail| detail.contains(word))
    };
    let stream = &settings.stream;
    if is_login_refused(error) {
        return unavailable(
            PublishReason::LoginRefused,
            "the server takes neither user nor password",
        );
    }
    if says("MISSING the stream") || error.code() == Some("MISSING") {
        return unavailable(
            PublishReason::DestinationMissing,
            format!("the stream {stream} is not there: make it with a group"),
        );
    }
    if says("OOM") || says("MISCONF") {
        return unavailable(
            PublishReason::Full,
            "the server has no memory or no disk left",
        );
    }
    if says("WRONGTYPE") {
        return unavailable(
            PublishReason::DestinationUnsafe,
            format!("under the key {stream} is no stream"),
        );
    }
    // The second is what is said of a command within a script.
    if says("NOPERM")
        || says("can't run this command")
        || error.kind() == RedisKind::Server(ServerErrorKind::NoPerm)
    {
        return unavailable(
            PublishReason::Forbidden,
            "the user may not do it: allow EVALSHA, EVAL, INFO, TYPE, and what the script calls",
        );
    }
    if error.is_timeout() {
        return not_answered(settings);
    }
    unavailable(PublishReason::Disconnected, "the server cannot be asked")
}

pub(super) fn full(settings: &RedisStreamsSettings) -> PublishError {
    let stream = &settings.stream;
    unavailable(
        PublishReason::Full,
        format!("the stream {stream} holds all that it may: somebody has to read it"),
    )
}

pub(super) fn not_answered(settings: &RedisStreamsSettings) -> PublishError {
    unavailable(
        PublishReason::NoAnswer,
        format!(
            "no answer within {} ms",
            settings.connection.timeout().as_millis()
        ),
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
