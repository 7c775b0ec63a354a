//! Why a publisher cannot be made.

use tenantry_core::{Error, ErrorKind};

use crate::{PublishError, PublishReason};

/// Says what a trouble means for who makes a publisher.
pub(super) fn told(error: PublishError) -> Error {
    let kind = match error.reason() {
        Some(PublishReason::LoginRefused) => ErrorKind::AuthenticationFailed,
        Some(PublishReason::Forbidden) => ErrorKind::PermissionDenied,
        Some(PublishReason::DestinationMissing | PublishReason::DestinationUnsafe) => {
            ErrorKind::InvalidSettings
        }
        _ => ErrorKind::Unavailable,
    };
    let kind = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<Error>())
        .map_or(kind, Error::kind);
    Error::new(kind, "connect publisher")
        .with_detail(error.detail().to_owned())
        .with_source(error)
}
