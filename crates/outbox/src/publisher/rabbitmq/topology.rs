//! What an exchange and its queues must be, so that a confirm means what it says.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ExchangeKind};

use super::RabbitMqSettings;
use super::outcome::unavailable;
use crate::connection::{answer_of, in_time};
use crate::{PublishError, PublishReason};

/// Looks at the exchange and the queues, and changes nothing.
///
/// Only what is there is asked for as durable: a server refuses to find one that is not, and does not make another.
pub(super) async fn look(
    connection: &Connection,
    settings: &RabbitMqSettings,
) -> Result<(), PublishError> {
    let timeout = settings.connection.timeout();
    let kind = "exchange";
    let name = &settings.exchange;
    for passive in [true, false] {
        let channel = channel(connection, settings).await?;
        let options = ExchangeDeclareOptions {
            passive,
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let asking = channel.exchange_declare(
            name.as_str().into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        judge(in_time(timeout, asking).await, kind, name, settings)?;
    }
    let kind = "queue";
    for name in &settings.queues {
        for passive in [true, false] {
            let channel = channel(connection, settings).await?;
            let options = QueueDeclareOptions {
                passive,
                durable: true,
                ..QueueDeclareOptions::default()
            };
            let asking =
                channel.queue_declare(name.as_str().into(), options, FieldTable::default());
            judge(in_time(timeout, asking).await, kind, name, settings)?;
        }
    }
    Ok(())
}

async fn channel(
    connection: &Connection,
    settings: &RabbitMqSettings,
) -> Result<lapin::Channel, PublishError> {
    let timeout = settings.connection.timeout();
    super::outcome::asked(in_time(timeout, connection.create_channel()).await, timeout)
}

fn judge<T>(
    answer: Option<lapin::Result<T>>,
    kind: &str,
    name: &str,
    settings: &RabbitMqSettings,
) -> Result<(), PublishError> {
    let Some(Err(error)) = &answer else {
        let timeout = settings.connection.timeout();
        return super::outcome::asked(answer, timeout).map(drop);
    };
    let text = error.to_string();
    let (reason, detail) = match answer_of(error) {
        Some(404) => (
            PublishReason::DestinationMissing,
            format!("the {kind} {name} is not there: make it, and its bindings"),
        ),
        Some(406) if text.contains("'durable'") => (
            PublishReason::DestinationUnsafe,
            format!(
                "the {kind} {name} is refused: it is gone with its server, for it is not durable"
            ),
        ),
        Some(405) => (
            PublishReason::DestinationUnsafe,
            format!("the {kind} {name} is refused: it belongs to one connection, and goes with it"),
        ),
        // It differs in something that loses nothing, or the user may not look: then nothing can be said.
        Some(403 | 406) => return Ok(()),
        _ => return super::outcome::asked(answer, settings.connection.timeout()).map(drop),
    };
    Err(unavailable(reason, detail))
}
