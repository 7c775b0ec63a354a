//! Channels that say of each message whether it is stored.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Connection};
use uuid::Uuid;

use super::confirms::{Confirm, Confirms, Lost, Outcome};

/// Reads by what a message is told from others that were sent over its channel.
type Identity = fn(&BasicProperties) -> Option<Uuid>;

/// Sends a message, and reads its confirm.
type Publishing = BoxFuture<'static, lapin::Result<Confirm<Uuid>>>;

/// A channel that confirms, and the messages that are under way over it.
#[derive(Debug)]
pub(crate) struct ConfirmedChannel {
    channel: Channel,
    identity: Identity,
    confirms: Confirms<Uuid, Publishing, lapin::Error>,
}

impl ConfirmedChannel {
    /// Opens a channel for messages that bear an identity.
    pub(crate) async fn open(connection: &Connection, identity: Identity) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            channel,
            identity,
            confirms: Confirms::default(),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Sends a message, and waits for what becomes of it.
    ///
    /// # Cancel safety
    ///
    /// The message is sent, or is not; what becomes of others is told as before.
    pub(crate) async fn publish(
        &self,
        exchange: ShortString,
        route: ShortString,
        payload: Vec<u8>,
        properties: BasicProperties,
    ) -> Result<Outcome, Lost<lapin::Error>> {
        let (channel, identity) = (self.channel.clone(), self.identity);
        let Some(id) = identity(&properties) else {
            return Err(Lost::Unheard);
        };
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let publishing = async move {
            let sent = channel.basic_publish(exchange, route, options, &payload, properties);
            let confirmation = sent.await?.await?;
            let is_stored = confirmation.is_ack();
            let came_back = confirmation.take_message();
            Ok(Confirm {
                is_stored,
                came_back: came_back.and_then(|message| identity(&message.properties)),
            })
        };
        self.confirms.of(id, publishing.boxed()).await
    }
}
