//! The one place where errors of the driver turn into ours.

use std::fmt;

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use tenantry_core::{Error, ErrorKind};

/// Turns what the driver failed with into an error of ours, without the server's words: they may repeat
/// keys and values.
pub(super) fn error(operation: &'static str, cause: &RedisError) -> Error {
    let (kind, detail) = told(cause);
    Error::new(kind, operation)
        .with_detail(detail)
        .with_source(Cause::of(cause))
}

fn told(cause: &RedisError) -> (ErrorKind, &'static str) {
    match (cause.kind(), cause.code()) {
        (RedisKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => (
            ErrorKind::AuthenticationFailed,
            "the server takes neither user nor password: correct the settings",
        ),
        _ if is_forbidden(cause) => (
            ErrorKind::PermissionDenied,
            "the user's rules forbid it: give it those that RedisSettings::acl_rules returns",
        ),
        (RedisKind::Server(ServerErrorKind::ReadOnly), _) => (
            ErrorKind::ReadOnly,
            "the server is a replica: name the primary",
        ),
        (_, Some("OOM")) => (
            ErrorKind::StorageFull,
            "the server has no memory left: give it more, or, if it holds a cache and nothing else, set \
             maxmemory-policy to allkeys-lfu",
        ),
        (
            RedisKind::Server(
                ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::CrossSlot,
            ),
            _,
        ) => (ErrorKind::Unsupported, CLUSTER),
        (RedisKind::InvalidClientConfig, _) => (
            ErrorKind::InvalidSettings,
            "expected redis://[user[:password]@]host[:port][/database]",
        ),
        (RedisKind::Io | RedisKind::Server(_), _) => (
            ErrorKind::Unavailable,
            "the server does not answer: see that it runs and can be reached",
        ),
        _ if cause.is_io_error() || cause.is_connection_dropped() || cause.is_timeout() => (
            ErrorKind::Unavailable,
            "the server does not answer: see that it runs and can be reached",
        ),
        _ => (
            ErrorKind::Unexpected,
            "the server answers something else than it should: is it a Redis of 6.2 or newer?",
        ),
    }
}

/// Returns whether the rules of the user forbid it, also where a script is what they forbid it to.
fn is_forbidden(cause: &RedisError) -> bool {
    let in_a_script = ["The user executing the script", "ACL failure in script"];
    cause.kind() == RedisKind::Server(ServerErrorKind::NoPerm)
        || cause
            .detail()
            .is_some_and(|detail| in_a_script.iter().any(|it| detail.contains(it)))
}

pub(super) const CLUSTER: &str = "the server is part of a cluster, which keeps no promise about its last writes that a \
     cache could rely on: name one that is not";

/// What the driver said, without what the server did.
#[derive(Debug)]
struct Cause(String);

impl Cause {
    fn of(cause: &RedisError) -> Self {
        let kind = cause.kind();
        Self(match (cause.code(), kind) {
            (Some(code), _) => code.to_owned(),
            (None, RedisKind::Io) => cause.to_string(),
            (None, kind) => format!("{kind:?}"),
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}
