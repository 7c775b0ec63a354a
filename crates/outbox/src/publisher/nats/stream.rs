//! What a stream must be, so that an acknowledgement means what it says.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::NatsSettings;

/// A way in which a stream does not keep what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    NoAcknowledgement,
    Sealed,
    Mirror,
    Memory,
    Interest,
    Limits,
}

impl Loss {
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::NoAcknowledgement => "it acknowledges nothing (no_ack)",
            Self::Sealed => "it is sealed",
            Self::Mirror => "it is a mirror of another",
            Self::Memory => "it is in memory: store it in files",
            Self::Interest => {
                "it keeps nothing that no consumer is there for: take limits or workqueue as retention"
            }
            Self::Limits => {
                "it throws the oldest messages away when it is full, read or not: take `new` as discard policy"
            }
        }
    }

    /// Returns whether what it acknowledges is stored all the same, for as long as that goes well.
    pub(crate) const fn may_go_well(self) -> bool {
        matches!(self, Self::Memory | Self::Interest | Self::Limits)
    }
}

/// Returns in which ways a stream does not keep what it is sent.
pub(crate) fn losses(config: &Config) -> impl Iterator<Item = Loss> {
    let has_limit =
        config.max_messages > 0 || config.max_bytes > 0 || config.max_messages_per_subject > 0;
    [
        (config.no_ack, Loss::NoAcknowledgement),
        (config.sealed, Loss::Sealed),
        (config.mirror.is_some(), Loss::Mirror),
        (config.storage == StorageType::Memory, Loss::Memory),
        (
            config.retention == RetentionPolicy::Interest,
            Loss::Interest,
        ),
        (
            config.discard == DiscardPolicy::Old && has_limit,
            Loss::Limits,
        ),
    ]
    .into_iter()
    .filter_map(|(loses, how)| loses.then_some(how))
}

/// Returns what is wrong with a stream.
pub(super) fn refuse(config: &Config, settings: &NatsSettings, prefix: &str) -> Option<String> {
    let taken_by = |loss| match loss {
        Loss::Memory => Some((settings.takes_memory, "with_stream_in_memory")),
        Loss::Interest => Some((settings.takes_interest, "with_stream_of_interest")),
        Loss::Limits => Some((settings.takes_limits, "with_stream_that_discards")),
        _ => None,
    };
    for loss in losses(config) {
        match taken_by(loss) {
            Some((true, _)) => {}
            Some((false, setting)) => return Some(format!("{}, or say {setting}", loss.told())),
            None => return Some(loss.told().to_owned()),
        }
    }
    if config.duplicate_window < settings.duplicate_window {
        return Some(format!(
            "it tells duplicates apart for {:?}, and {:?} is asked for: raise its duplicate window",
            config.duplicate_window, settings.duplicate_window
        ));
    }
    let has_all = config
        .subjects
        .iter()
        .any(|subject| covers(subject, prefix));
    (!has_all).then(|| format!("its subjects do not have all of {prefix}.>"))
}

/// Returns whether a subject of a stream has all that is below a prefix.
pub(crate) fn covers(subject: &str, prefix: &str) -> bool {
    let mut parts = prefix.split('.');
    for part in subject.split('.') {
        match (part, parts.next()) {
            (">", _) => return true,
            ("*", Some(_)) => {}
            (part, Some(own)) if part == own => {}
            // Whatever is fixed below the prefix leaves something out.
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::NatsConnection;

    #[test]
    fn a_subject_covers_a_prefix_if_nothing_below_is_left_out() {
        for subject in [">", "a.>", "*.>", "a.b.>", "*.b.>", "a.*.>"] {
            assert!(covers(subject, "a.b"), "{subject}");
        }
        for subject in [
            "a.b", "a.b.*", "a.b.c.>", "b.>", "a.c.>", "a.b.*.*", "a.b.*.>", "", "*",
        ] {
            assert!(!covers(subject, "a.b"), "{subject}");
        }
    }

    #[test]
    fn what_may_lose_is_refused_until_it_is_asked_for() {
        let settings = NatsSettings::new(NatsConnection::new("nats://a:1"), "S", "/s");
        let good = Config {
            subjects: vec!["events.>".to_owned()],
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        };
        let refused = |config: &Config, settings: &NatsSettings| {
            refuse(config, settings, "events").unwrap_or_default()
        };
        assert_eq!(refused(&good, &settings), "");
        let with = |change: fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            config
        };
        let memory = with(|config| config.storage = StorageType::Memory);
        let interest = with(|config| config.retention = RetentionPolicy::Interest);
        let full = with(|config| config.max_bytes = 1_000);
        for (config, said) in [
            (with(|config| config.no_ack = true), "no_ack"),
            (with(|config| config.sealed = true), "sealed"),
            (
                with(|config| config.duplicate_window = Duration::from_secs(119)),
                "duplicate window",
            ),
            (
                with(|config| config.subjects = vec!["events.a.>".to_owned()]),
                "events.>",
            ),
            (memory.clone(), "memory"),
            (interest.clone(), "consumer"),
            (full.clone(), "oldest"),
            (with(|config| config.max_messages = 5), "oldest"),
            (with(|config| config.max_messages_per_subject = 5), "oldest"),
        ] {
            assert!(refused(&config, &settings).contains(said), "{said}");
        }
        assert_eq!(
            refused(&memory, &settings.clone().with_stream_in_memory()),
            ""
        );
        assert_eq!(
            refused(&interest, &settings.clone().with_stream_of_interest()),
            ""
        );
        assert_eq!(refused(&full, &settings.with_stream_that_discards()), "");
        let refuses_new = with(|config| {
            config.max_bytes = 1_000;
            config.discard = DiscardPolicy::New;
        });
        let settings = NatsSettings::new(NatsConnection::new("nats://a:1"), "S", "/s");
        assert_eq!(refused(&refuses_new, &settings), "");
    }
}
