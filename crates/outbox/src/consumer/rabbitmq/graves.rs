//! Where dead letters go.

use std::iter;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::live::{open, said};
use super::{OPERATION, RabbitMqSource};
use crate::connection::in_time;
use crate::consumer::graves::Seen;
use crate::publisher::{Place, fault_of};

/// The exchange for dead letters, over a channel that confirms.
pub(super) struct Graves {
    /// The server closes it where a dead letter is refused: then there is another.
    channel: Mutex<Channel>,
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
        let channel = open(timeout, &connection).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        said(OPERATION, in_time(timeout, confirms).await)?;
        let graves = Self {
            channel: Mutex::new(channel),
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

    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        let mut channel = self.channel.lock().await;
        if !channel.status().connected() {
            let anew = self.connection.create_channel().await?;
            anew.confirm_select(ConfirmSelectOptions::default()).await?;
            *channel = anew;
        }
        Ok(channel.clone())
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
