//! Where dead letters go.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Connection};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::live::said;
use super::{OPERATION, RabbitMqSource};
use crate::connection::{ConfirmedChannel, Lost, Outcome, in_time};
use crate::consumer::graves::Seen;
use crate::publisher::{Place, fault_of};

/// The header by which one dead letter is told from others that are under way: senders need not write identifiers, and may
/// write them twice.
pub(super) const IDENTITY: &str = "tenantry-dead-id";

fn identity(properties: &BasicProperties) -> Option<Uuid> {
    let headers = properties.headers().as_ref().map(FieldTable::inner)?;
    let text = headers.get(IDENTITY)?.as_long_string()?;
    Uuid::try_parse_ascii(text.as_bytes()).ok()
}

/// The exchange for dead letters, over a channel that confirms.
pub(super) struct Graves {
    /// The server closes it where a dead letter is refused: then there is another.
    channel: Mutex<Arc<ConfirmedChannel>>,
    pub(super) exchange: String,
    /// Those that are to keep them, as far as the settings name them.
    queues: Vec<String>,
    pub(super) timeout: Duration,
    /// It lasts as long as anything that came over it.
    pub(super) connection: Connection,
    seen: Seen,
}

impl Graves {
    /// Opens a channel, and looks whether dead letters are kept.
    pub(super) async fn open(source: &RabbitMqSource, connection: Connection) -> Result<Self> {
        let timeout = source.connection.timeout();
        let opening = ConfirmedChannel::open(&connection, identity);
        let channel = said(OPERATION, in_time(timeout, opening).await)?;
        let graves = Self {
            channel: Mutex::new(Arc::new(channel)),
            exchange: source.dead_letters.clone(),
            queues: source.dead_letter_queues.clone(),
            timeout,
            connection,
            seen: Seen::good(),
        };
        match graves.wrong().await? {
            Some(wrong) => {
                Err(Error::new(ErrorKind::InvalidSettings, OPERATION).with_detail(wrong))
            }
            None => Ok(graves),
        }
    }

    /// Hands over a dead letter that bears its [`IDENTITY`].
    pub(super) async fn publish(
        &self,
        route: ShortString,
        payload: Vec<u8>,
        properties: BasicProperties,
    ) -> std::result::Result<Outcome, Lost<lapin::Error>> {
        let channel = self.channel().await.map_err(Lost::Ended)?;
        let exchange = self.exchange.as_str().into();
        channel.publish(exchange, route, payload, properties).await
    }

    async fn channel(&self) -> lapin::Result<Arc<ConfirmedChannel>> {
        let mut channel = self.channel.lock().await;
        if !channel.is_open() {
            *channel = Arc::new(ConfirmedChannel::open(&self.connection, identity).await?);
        }
        Ok(Arc::clone(&channel))
    }

    /// Refuses to bury anything where it would be lost.
    pub(super) async fn check(&self) -> Result<()> {
        self.seen.check(self.wrong()).await
    }

    /// Returns what is wrong with the exchange or a queue.
    async fn wrong(&self) -> Result<Option<String>> {
        let queues = self.queues.iter().map(|name| Place::Queue(name));
        for place in iter::once(Place::Exchange(&self.exchange)).chain(queues) {
            match fault_of(&self.connection, place, self.timeout).await {
                Ok(None) => {}
                Ok(Some(fault)) => {
                    return Ok(Some(format!("for dead letters {}", fault.told(place))));
                }
                Err(answer) => {
                    let answer: Option<lapin::Result<()>> = answer.map(Err);
                    said(OPERATION, answer)?;
                }
            }
        }
        Ok(None)
    }
}
