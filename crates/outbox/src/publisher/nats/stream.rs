//! What a stream must be, so that an acknowledgement means what it says.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::NatsSettings;

/// Returns what is wrong with a stream.
pub(super) fn refuse(config: &Config, settings: &NatsSettings, prefix: &str) -> Option<String> {
    let has_limit =
        config.max_messages > 0 || config.max_bytes > 0 || config.max_messages_per_subject > 0;
    let wrong = if config.no_ack {
        "it acknowledges nothing (no_ack)"
    } else if config.sealed {
        "it is sealed"
    } else if config.mirror.is_some() {
        "it is a mirror of another"
    } else if config.storage == StorageType::Memory && !settings.takes_memory {
        "it is in memory: store it in files, or say with_stream_in_memory"
    } else if config.retention == RetentionPolicy::Interest && !settings.takes_interest {
        "it keeps nothing that no consumer is there for: take limits or workqueue as retention, or say \
         with_stream_of_interest"
    } else if config.discard == DiscardPolicy::Old && has_limit && !settings.takes_limits {
        "it throws the oldest messages away when it is full, read or not: take `new` as discard policy, or \
         say with_stream_that_discards"
    } else if config.duplicate_window < settings.duplicate_window {
        return Some(format!(
            "it tells duplicates apart for {:?}, and {:?} is asked for: raise its duplicate window",
            config.duplicate_window, settings.duplicate_window
        ));
    } else if !config
        .subjects
        .iter()
        .any(|subject| covers(subject, prefix))
    {
        return Some(format!("its subjects do not have all of {prefix}.>"));
    } else {
        return None;
    };
    Some(wrong.to_owned())
}

/// Returns whether a subject of a stream has all that is below a prefix.
fn covers(subject: &str, prefix: &str) -> bool {
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
