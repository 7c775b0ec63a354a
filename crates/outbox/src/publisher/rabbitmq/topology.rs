//! What an exchange and its queues must be, so that a confirm means what it says.

use std::fmt;
use std::iter;
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ExchangeKind};

use super::RabbitMqSettings;
use super::outcome::{asked, unavailable};
use crate::connection::{answer_of, in_time};
use crate::{PublishError, PublishReason};

/// Something that messages go to, by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    Exchange(&'a str),
    Queue(&'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name) => write!(f, "the exchange {name}"),
            Self::Queue(name) => write!(f, "the queue {name}"),
        }
    }
}

/// Why nothing may be sent to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Missing,
    NotDurable,
    OfOneConnection,
}

impl Fault {
    pub(crate) fn told(self, place: Place<'_>) -> String {
        match self {
            Self::Missing => format!("{place} is not there: make it, and its bindings"),
            Self::NotDurable => {
                format!("{place} is refused: it is gone with its server, for it is not durable")
            }
            Self::OfOneConnection => {
                format!("{place} is refused: it belongs to one connection, and goes with it")
            }
        }
    }
}

/// Looks at a place, and changes nothing; within, an answer that says nothing of it, or that there was none.
///
/// Only what is there is asked for as durable: a server refuses to find one that is not, and does not make another.
pub(crate) async fn fault_of(
    connection: &Connection,
    place: Place<'_>,
    timeout: Duration,
) -> Result<Option<Fault>, Option<lapin::Error>> {
    let (mut passive, mut kind) = (true, ExchangeKind::Topic);
    loop {
        // The server closes the channel over which it answers so.
        let channel = match in_time(timeout, connection.create_channel()).await {
            Some(opened) => opened.map_err(Some)?,
            None => return Err(None),
        };
        let asking = declare(&channel, place, kind.clone(), passive);
        let error = match in_time(timeout, asking).await {
            Some(Ok(())) if passive => {
                passive = false;
                continue;
            }
            Some(Ok(())) => return Ok(None),
            Some(Err(error)) => error,
            None => return Err(None),
        };
        let text = error.to_string();
        return match answer_of(&error) {
            Some(404) => Ok(Some(Fault::Missing)),
            Some(405) => Ok(Some(Fault::OfOneConnection)),
            Some(406) if text.contains("'durable'") => Ok(Some(Fault::NotDurable)),
            Some(406) if kind == ExchangeKind::Topic => match kind_in(&text) {
                // Its type is compared before that.
                Some(other) => {
                    kind = ExchangeKind::Custom(other.to_owned());
                    continue;
                }
                None => Ok(None),
            },
            // It differs in something that loses nothing, or the user may not look: then nothing can be said.
            Some(403 | 406) => Ok(None),
            _ => Err(Some(error)),
        };
    }
}

async fn declare(
    channel: &Channel,
    place: Place<'_>,
    kind: ExchangeKind,
    passive: bool,
) -> lapin::Result<()> {
    let durable = true;
    match place {
        Place::Exchange(name) => {
            let options = ExchangeDeclareOptions {
                passive,
                durable,
                ..ExchangeDeclareOptions::default()
            };
            channel
                .exchange_declare(name.into(), kind, options, FieldTable::default())
                .await
        }
        Place::Queue(name) => {
            let options = QueueDeclareOptions {
                passive,
                durable,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(name.into(), options, FieldTable::default())
                .await
                .map(drop)
        }
    }
}

/// Returns the type in `inequivalent arg 'type' for exchange 'a' …: received 'topic' but current is 'fanout'`.
fn kind_in(text: &str) -> Option<&str> {
    let (_, kind) = text.split_once("arg 'type'")?.1.split_once("current is ")?;
    // One of a plugin stands in two.
    let (kind, _) = kind.trim_start_matches('\'').split_once('\'')?;
    Some(kind)
}

/// Looks at the exchange and the queues of a publisher.
pub(super) async fn look(
    connection: &Connection,
    settings: &RabbitMqSettings,
) -> Result<(), PublishError> {
    let timeout = settings.connection.timeout();
    let queues = settings.queues.iter().map(|name| Place::Queue(name));
    for place in iter::once(Place::Exchange(&settings.exchange)).chain(queues) {
        let fault = match fault_of(connection, place, timeout).await {
            Ok(None) => continue,
            Ok(Some(fault)) => fault,
            Err(answer) => return asked(answer.map(Err), timeout),
        };
        let reason = match fault {
            Fault::Missing => PublishReason::DestinationMissing,
            Fault::NotDurable | Fault::OfOneConnection => PublishReason::DestinationUnsafe,
        };
        return Err(unavailable(reason, fault.told(place)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_an_exchange_is_read_from_the_refusal() {
        let of = |kind: &str| {
            format!(
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'a' in vhost '/': received 'topic' but \
                 current is {kind}"
            )
        };
        assert_eq!(kind_in(&of("'fanout'")), Some("fanout"));
        assert_eq!(
            kind_in(&of("''x-consistent-hash''")),
            Some("x-consistent-hash")
        );
        assert_eq!(kind_in(&of("")), None);
        let other = of("'fanout'").replace("'type'", "'internal'");
        assert_eq!(kind_in(&other), None);
    }
}
