//! Channels that say of each message whether it is stored.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Connection};
use uuid::Uuid;

use super::confirms::{Confirm, Confirms, Lost, Outcome};

/// Reads by what a message is told from others that were sent over its channel by the same route.
type Identity = fn(&BasicProperties) -> Option<Uuid>;

/// A message with its route: tenants have routes of their own, and may have messages of one identifier.
type Sent = (String, Uuid);

/// Sends a message, and reads its confirm.
type Publishing = BoxFuture<'static, lapin::Result<Confirm<Sent>>>;

/// A channel that confirms, and the messages that are under way over it.
#[derive(Debug)]
pub(crate) struct ConfirmedChannel {
    channel: Channel,
    identity: Identity,
    confirms: Confirms<Sent, Publishing, lapin::Error>,
}

impl ConfirmedChannel {
    /// Opens a channel for messages that bear an identity: no two of a route have one, unless they are the same.
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
        let sent = (route.as_str().to_owned(), id);
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let publishing = async move {
            let sending = channel.basic_publish(exchange, route, options, &payload, properties);
            let confirmation = sending.await?.await?;
            let is_stored = confirmation.is_ack();
            let came_back = confirmation.take_message().and_then(|message| {
                let id = identity(&message.properties)?;
                Some((message.routing_key.as_str().to_owned(), id))
            });
            Ok(Confirm {
                is_stored,
                came_back,
            })
        };
        self.confirms.of(sent, publishing.boxed()).await
    }
}
