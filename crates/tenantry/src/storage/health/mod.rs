//! Whether everything that is open answers.

mod ask;
mod text;

use std::fmt;
use std::time::Duration;

use tenantry_store::Error;

/// A part of a [`Storage`](crate::Storage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoragePart {
    /// The database of the tenants.
    Database,
    /// The same, by the role for work across tenants.
    Platform,
    /// The server for cache, rate limits and sessions.
    Cache,
    /// Where blobs are kept.
    Blobs,
    /// A vault that secrets come from.
    Vault,
    /// Where messages go.
    Broker,
    /// A worker that hands them over.
    OutboxWorker,
    /// What handles those of others.
    Consumer,
}

impl StoragePart {
    /// Returns the stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Platform => "platform",
            Self::Cache => "cache",
            Self::Blobs => "blobs",
            Self::Vault => "vault",
            Self::Broker => "broker",
            Self::OutboxWorker => "outbox_worker",
            Self::Consumer => "consumer",
        }
    }

    /// Returns whether no request can be served without it.
    ///
    /// A cache that does not answer is a miss; the outbox holds what a broker or a worker does not take; a
    /// secret that is known is used for an hour without its vault.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Database | Self::Blobs)
    }
}

impl fmt::Display for StoragePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How one part is.
#[derive(Debug)]
#[non_exhaustive]
pub struct PartHealth {
    /// The part.
    pub part: StoragePart,
    /// Which of several it is: the name of a vault, a worker or a consumer; empty where there is one.
    pub name: String,
    /// The technology: `postgresql`, `sqlite`, `redis`, `memory`, `nats` and so on.
    pub system: &'static str,
    /// How long the answer took.
    pub took: Duration,
    /// Why it does not answer.
    pub error: Option<Error>,
}

/// How everything is that is open, by [`Storage::health`](crate::Storage::health).
///
/// It is told as text by `Display`, a line for each part, and as [JSON](Self::to_json). Neither has a
/// password in it; both name servers, and are for operators.
#[derive(Debug)]
pub struct Health {
    parts: Vec<PartHealth>,
    is_closed: bool,
}

impl Health {
    /// Returns one entry for each part that is open.
    #[must_use]
    pub fn parts(&self) -> &[PartHealth] {
        &self.parts
    }

    /// Returns whether each part answers.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.is_closed && self.parts.iter().all(|part| part.error.is_none())
    }

    /// Returns whether requests can be served: nothing is missing that is
    /// [required](StoragePart::is_required), and it was not closed. For a readiness probe.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready_with(&[])
    }

    /// Returns whether requests can be served that need these parts as well, such as
    /// [`Cache`](StoragePart::Cache) where sessions are kept there.
    #[must_use]
    pub fn is_ready_with(&self, required: &[StoragePart]) -> bool {
        let is_needed = |part: StoragePart| part.is_required() || required.contains(&part);
        let mut parts = self.parts.iter();
        !self.is_closed && parts.all(|it| it.error.is_none() || !is_needed(it.part))
    }

    /// Returns whether the process itself goes on: no worker and no consumer of it has died. For a liveness probe: neither a
    /// server that is down nor a storage that is being closed is a reason to end the process by force.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let is_of_process =
            |it: &PartHealth| matches!(it.part, StoragePart::OutboxWorker | StoragePart::Consumer);
        let mut parts = self.parts.iter();
        self.is_closed || !parts.any(|it| is_of_process(it) && it.error.is_some())
    }
}

#[cfg(test)]
mod tests {
    use tenantry_store::ErrorKind;

    use super::*;

    fn part(part: StoragePart, kind: Option<ErrorKind>) -> PartHealth {
        PartHealth {
            part,
            name: String::new(),
            system: "memory",
            took: Duration::from_micros(1_500),
            error: kind.map(|kind| Error::new(kind, "check").with_detail("say \"so\"\n\u{1}")),
        }
    }

    fn health(parts: Vec<PartHealth>) -> Health {
        Health {
            parts,
            is_closed: false,
        }
    }

    #[test]
    fn a_part_that_is_required_decides_whether_it_is_ready() {
        for (broken, ready, alive) in [
            (StoragePart::Database, false, true),
            (StoragePart::Blobs, false, true),
            (StoragePart::Platform, true, true),
            (StoragePart::Cache, true, true),
            (StoragePart::Vault, true, true),
            (StoragePart::Broker, true, true),
            (StoragePart::OutboxWorker, true, false),
            (StoragePart::Consumer, true, false),
        ] {
            let health = health(vec![
                part(StoragePart::Database, None),
                part(broken, Some(ErrorKind::Unavailable)),
            ]);
            assert_eq!(
                (health.is_ready(), health.is_alive()),
                (ready, alive),
                "{broken}"
            );
            assert!(
                !health.is_healthy() && !health.is_ready_with(&[broken]),
                "{broken}"
            );
        }
    }

    #[test]
    fn what_was_closed_is_not_ready_and_no_reason_to_end_the_process() {
        let ended = part(StoragePart::OutboxWorker, Some(ErrorKind::Unexpected));
        let closed = Health {
            parts: vec![part(StoragePart::Database, None), ended],
            is_closed: true,
        };
        assert!(closed.is_alive() && !closed.is_ready() && !closed.is_healthy());
        assert!(closed.to_string().starts_with("closed\n"));
    }

    #[test]
    fn json_is_read_by_others() {
        let health = health(vec![
            part(StoragePart::Database, None),
            part(StoragePart::Broker, Some(ErrorKind::Unavailable)),
        ]);
        let json: serde_json::Value = serde_json::from_str(&health.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "ready": true,
                "alive": true,
                "parts": [
                    { "part": "database", "name": "", "system": "memory", "millis": 1.5, "ok": true },
                    {
                        "part": "broker", "name": "", "system": "memory", "millis": 1.5, "ok": false,
                        "kind": "unavailable",
                        "error": "check: unavailable: say \"so\"\n\u{1}",
                    },
                ],
            })
        );
    }

    #[test]
    fn text_has_a_line_for_each_part() {
        let health = health(vec![part(StoragePart::Database, None)]);
        assert_eq!(health.to_string(), "ready\ndatabase (memory) 1.5 ms: ok");
    }
}
