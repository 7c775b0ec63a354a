//! What a server must be, so that an entry is there when it says so.

use redis::aio::MultiplexedConnection;

use super::outcome::{failed, unavailable};
use super::{RedisDurability, RedisStreamsSettings};
use crate::{PublishError, PublishReason};

/// Looks at a server and its stream.
pub(super) async fn look(
    connection: &mut MultiplexedConnection,
    settings: &RedisStreamsSettings,
) -> Result<(), PublishError> {
    let mut asking = redis::pipe();
    for section in ["persistence", "memory", "replication"] {
        asking.cmd("INFO").arg(section);
    }
    asking.cmd("TYPE").arg(&settings.stream);
    let (persistence, memory, replication, kind): (String, String, String, String) = asking
        .query_async(connection)
        .await
        .map_err(|error| failed(&error, settings))?;
    let info = [persistence, memory, replication].join("\n");
    let fsync = match settings.durability {
        // A server whose settings nobody may see tells nothing.
        RedisDurability::Disk => redis::cmd("CONFIG")
            .arg(&["GET", "appendfsync"])
            .query_async::<Vec<String>>(connection)
            .await
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    match refuse(&info, fsync.get(1).map(String::as_str), settings.durability) {
        Some(wrong) => Err(unavailable(
            PublishReason::DestinationUnsafe,
            format!("the server is refused: {wrong}"),
        )),
        None if kind == "none" => Err(unavailable(
            PublishReason::DestinationMissing,
            format!(
                "the stream {} is not there: make it with a group",
                settings.stream
            ),
        )),
        None if kind != "stream" => Err(unavailable(
            PublishReason::DestinationUnsafe,
            format!("under the key {} is no stream", settings.stream),
        )),
        None => Ok(()),
    }
}

/// Returns what is wrong with a server.
fn refuse(info: &str, fsync: Option<&str>, durability: RedisDurability) -> Option<String> {
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let number = |name: &str| {
        field(name)
            .and_then(|it| it.trim().parse().ok())
            .unwrap_or(0)
    };
    if field("role") != Some("master") {
        return Some("it is a replica: name the primary".to_owned());
    }
    match field("maxmemory_policy") {
        Some(policy) if !policy.starts_with("allkeys") => {}
        Some(policy) => {
            return Some(format!(
                "it may throw the stream away when its memory is full (maxmemory-policy {policy})"
            ));
        }
        None => return Some("it does not tell what it does when its memory is full".to_owned()),
    }
    let has_file = field("aof_enabled") == Some("1");
    match durability {
        RedisDurability::Memory => None,
        RedisDurability::Replicas(asked) => (number("connected_slaves") < asked)
            .then(|| format!("it has fewer than {asked} replicas")),
        RedisDurability::File | RedisDurability::Disk if !has_file => {
            Some("it forgets with a restart: set appendonly to yes, or say Memory".to_owned())
        }
        RedisDurability::File => None,
        RedisDurability::Disk => (fsync != Some("always")).then(|| {
            "it does not flush before it answers, or does not tell: set appendfsync to always, or say \
             File"
                .to_owned()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_may_lose_is_refused_until_that_is_asked_for() {
        let info = |role: &str, policy: &str, aof: u8, replicas: u8| {
            format!(
                "# x\r\nrole:{role}\r\nmaxmemory_policy:{policy}\r\naof_enabled:{aof}\r\nconnected_slaves:{replicas}\r\n"
            )
        };
        let is_taken = |info: &str, fsync, durability| refuse(info, fsync, durability).is_none();
        let good = info("master", "noeviction", 1, 1);
        for durability in [
            RedisDurability::Disk,
            RedisDurability::File,
            RedisDurability::Replicas(1),
            RedisDurability::Memory,
        ] {
            assert!(is_taken(&good, Some("always"), durability));
            for bad in [
                info("slave", "noeviction", 1, 1),
                info("master", "allkeys-lru", 1, 1),
                "role:master".to_owned(),
            ] {
                assert!(!is_taken(&bad, Some("always"), durability));
            }
        }
        assert!(!is_taken(&good, Some("everysec"), RedisDurability::Disk));
        assert!(!is_taken(&good, None, RedisDurability::Disk));
        assert!(is_taken(&good, None, RedisDurability::File));
        assert!(!is_taken(&good, None, RedisDurability::Replicas(2)));
        let forgets = info("master", "volatile-lru", 0, 0);
        assert!(!is_taken(&forgets, Some("always"), RedisDurability::Disk));
        assert!(!is_taken(&forgets, None, RedisDurability::File));
        assert!(is_taken(&forgets, None, RedisDurability::Memory));
    }
}
