//! The one place where errors of the driver turn into ours.

use std::fmt;

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
use tenantry_core::{Error, ErrorKind};

/// Turns what the driver failed with into an error of ours, without the server's words: they may repeat
/// keys and values.
pub(super) fn error(operation: &'static str, cause: &RedisError) -> Error {
    // Of several calls that were sent together, the first that was refused.
    let refusals = cause.clone().into_server_errors();
    let refusal = refusals.and_then(|refusals| refusals.first().map(|(_, it)| it.clone()));
    let refusal = refusal.map(RedisError::from);
    let cause = refusal.as_ref().unwrap_or(cause);
    let (kind, detail) = told(cause);
    Error::new(kind, operation)
        .with_detail(detail)
        .with_source(Cause::of(cause))
}

fn told(cause: &RedisError) -> (ErrorKind, &'static str) {
    let says = |words: &str| cause.detail().is_some_and(|detail| detail.contains(words));
    match (cause.kind(), cause.code()) {
        _ if says("max number of clients") => (
            ErrorKind::Unavailable,
            "the server takes no more connections: see maxclients",
        ),
        (RedisKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => (
            ErrorKind::AuthenticationFailed,
            "the server takes neither user nor password: correct the settings",
        ),
        _ if is_forbidden(cause) => (
            ErrorKind::PermissionDenied,
            "the user's rules forbid it: give it those that RedisSettings::acl_rules returns",
        ),
        _ if is_read_only(cause) => (
            ErrorKind::ReadOnly,
            "the server is a replica: name the primary",
        ),
        (_, Some("MISCONF")) => (
            ErrorKind::ReadOnly,
            "the server cannot save what it holds, and takes no writes: see to its disk, or to \
             stop-writes-on-bgsave-error",
        ),
        // In a script of older servers it stands in the words alone.
        _ if cause.code() == Some("OOM") || says("OOM command not allowed") => (
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
        _ if says("DB index") => (
            ErrorKind::InvalidSettings,
            "the server has no database of that number: correct the URL",
        ),
        (RedisKind::InvalidClientConfig, _) => (
            ErrorKind::InvalidSettings,
            "expected redis[s]://[user[:password]@]host[:port][/database]",
        ),
        (RedisKind::Server(ServerErrorKind::ResponseError), _) => UNEXPECTED,
        (RedisKind::Io | RedisKind::Server(_), _) | (_, Some("BUSY" | "NOREPLICAS")) => UNAVAILABLE,
        _ if cause.is_io_error() || cause.is_connection_dropped() || cause.is_timeout() => {
            UNAVAILABLE
        }
        _ => UNEXPECTED,
    }
}

const UNAVAILABLE: (ErrorKind, &str) = (
    ErrorKind::Unavailable,
    "the server does not answer: see that it runs and can be reached",
);
const UNEXPECTED: (ErrorKind, &str) = (
    ErrorKind::Unexpected,
    "the server answers something else than it should: is it a Redis of 6.2 or newer?",
);

/// Returns whether a server refuses to write, itself or in a script.
pub(super) fn is_read_only(cause: &RedisError) -> bool {
    cause.code() == Some("READONLY")
        || cause
            .detail()
            .is_some_and(|detail| detail.contains("READONLY"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_kind_and_repeats_nothing() {
        let kinds = [
            ("MOVED 3999 127.0.0.1:6381", ErrorKind::Unsupported),
            ("ASK 3999 127.0.0.1:6381", ErrorKind::Unsupported),
            ("CLUSTERDOWN The cluster is down", ErrorKind::Unsupported),
            ("CROSSSLOT Keys in request", ErrorKind::Unsupported),
            ("READONLY You can't write", ErrorKind::ReadOnly),
            ("ERR @user_script: 9: -READONLY You", ErrorKind::ReadOnly),
            ("MISCONF Redis is configured", ErrorKind::ReadOnly),
            ("OOM command not allowed", ErrorKind::StorageFull),
            ("ERR -OOM command not allowed", ErrorKind::StorageFull),
            ("NOPERM this user has no", ErrorKind::PermissionDenied),
            (
                "ERR The user executing the script can't",
                ErrorKind::PermissionDenied,
            ),
            (
                "ERR ACL failure in script: hunter2",
                ErrorKind::PermissionDenied,
            ),
            (
                "NOAUTH Authentication required.",
                ErrorKind::AuthenticationFailed,
            ),
            ("WRONGPASS invalid", ErrorKind::AuthenticationFailed),
            ("LOADING Redis is loading", ErrorKind::Unavailable),
            ("BUSY Redis is busy", ErrorKind::Unavailable),
            ("MASTERDOWN Link with MASTER", ErrorKind::Unavailable),
            ("TRYAGAIN Multiple keys", ErrorKind::Unavailable),
            ("NOREPLICAS Not enough good", ErrorKind::Unavailable),
            ("ERR max number of clients reached", ErrorKind::Unavailable),
            ("ERR DB index is out of range", ErrorKind::InvalidSettings),
            ("ERR unknown command 'hunter2'", ErrorKind::Unexpected),
            ("WRONGTYPE Operation against", ErrorKind::Unexpected),
        ];
        for (answer, kind) in kinds {
            let line = format!("-{answer} hunter2\r\n");
            let answered = redis::parse_redis_value(line.as_bytes()).unwrap();
            let cause = answered.extract_error().unwrap_err();
            let error = error("read shared cache", &cause);
            assert_eq!(error.kind(), kind, "{answer}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
