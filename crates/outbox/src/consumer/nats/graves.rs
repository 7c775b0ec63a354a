//! The stream that takes dead letters.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use tenantry_core::Result;

use super::NatsSource;
use crate::Routes;
use crate::connection::NatsLink;
use crate::consumer::delivery::lost;
use crate::consumer::graves::Seen;
use crate::publisher::{covers, losses};

const OPERATION: &str = "look for dead letters";

pub(super) struct Graves {
    /// What their subjects begin with; that of the message follows.
    prefix: String,
    /// What all of them begin with.
    of_messages: String,
    may_be_lost: bool,
    timeout: Duration,
    seen: Seen,
}

impl Graves {
    /// Returns the graves of a consumer, which were not looked at yet.
    pub(super) fn new(source: &NatsSource, routes: &Routes, consumer: &str) -> Self {
        let prefix = format!("{}.{consumer}", source.dead_letters);
        Self {
            of_messages: format!("{prefix}.{}", routes.prefix()),
            prefix,
            may_be_lost: source.takes_any_dead_letters,
            timeout: source.connection.timeout(),
            seen: Seen::good(),
        }
    }

    /// Returns the subject of the dead letter of a message.
    pub(super) fn subject_of(&self, subject: &str) -> String {
        format!("{}.{subject}", self.prefix)
    }

    /// Refuses to bury anything where it would be lost.
    pub(super) async fn check(&self, link: &NatsLink) -> Result<()> {
        self.seen.check(self.wrong(link)).await
    }

    /// Returns what is wrong with the stream that takes them.
    pub(super) async fn wrong(&self, link: &NatsLink) -> Result<Option<String>> {
        let mut context = jetstream::new(link.client.clone());
        context.set_timeout(self.timeout);
        let one = format!("{}.any", self.of_messages);
        let name = match context.stream_by_subject(&one).await {
            Ok(name) => name,
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
                return Ok(Some(format!(
                    "no stream takes dead letters: make one with the subjects {}.>",
                    self.prefix
                )));
            }
            Err(error) => return Err(lost(OPERATION, error)),
        };
        let since = Instant::now();
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(_) if link.take_refusal(&format!("$JS.API.STREAM.INFO.{name}"), since) => {
                return Ok(Some(format!(
                    "the user may not look at the stream {name}, which takes dead letters: allow \
                     $JS.API.STREAM.INFO.{name}"
                )));
            }
            Err(error) => return Err(lost(OPERATION, error)),
        };
        let config = &stream.cached_info().config;
        let loss = losses(config).find(|loss| !(self.may_be_lost && loss.may_go_well()));
        let wrong = match loss {
            Some(loss) if loss.may_go_well() => {
                format!("{}, or say with_dead_letters_that_may_be_lost", loss.told())
            }
            Some(loss) => loss.told().to_owned(),
            None => {
                let mut subjects = config.subjects.iter();
                if subjects.any(|subject| covers(subject, &self.of_messages)) {
                    return Ok(None);
                }
                format!("its subjects do not have all of {}.>", self.of_messages)
            }
        };
        Ok(Some(format!(
            "the stream {name} is refused for dead letters: {wrong}"
        )))
    }
}
