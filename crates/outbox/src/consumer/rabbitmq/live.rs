//! A connection over which messages come.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tenantry_core::{Error, ErrorKind, Result};

use super::graves::Graves;
use super::{OPERATION, RabbitMqSource};
use crate::connection::{answer_of, in_time};
use crate::consumer::delivery::lost;

pub(super) struct Live {
    pub(super) channel: Channel,
    pub(super) stream: lapin::Consumer,
    pub(super) graves: Arc<Graves>,
}

impl Live {
    /// Connects, and asks for so many messages at a time.
    pub(super) async fn open(source: &RabbitMqSource, window: u16) -> Result<Self> {
        let connection = source.connection.open("tenantry-outbox-consumer").await?;
        let graves = Arc::new(Graves::open(source, connection).await?);
        let (channel, stream) = consume(&graves, &source.queue, window).await?;
        Ok(Self {
            channel,
            stream,
            graves,
        })
    }
}

/// Asks for what is in the queue, over a channel of its own.
async fn consume(graves: &Graves, queue: &str, window: u16) -> Result<(Channel, lapin::Consumer)> {
    let timeout = graves.timeout;
    let channel = open(timeout, &graves.connection).await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let looking = channel.queue_declare(queue.into(), passive, FieldTable::default());
    let looked = in_time(timeout, looking).await.map(|it| it.map(drop));
    answered(looked, &format!("the queue {queue}"))?;
    let limiting = channel.basic_qos(window, BasicQosOptions::default());
    said(OPERATION, in_time(timeout, limiting).await)?;
    let consuming = channel.basic_consume(
        queue.into(),
        // The server finds another name where several instances have one.
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    match in_time(timeout, consuming).await {
        Some(Ok(stream)) => Ok((channel, stream)),
        Some(Err(error)) => Err(lost(OPERATION, error)),
        None => Err(lost(OPERATION, "no answer")),
    }
}

pub(super) async fn open(timeout: Duration, connection: &Connection) -> Result<Channel> {
    match in_time(timeout, connection.create_channel()).await {
        Some(Ok(channel)) => Ok(channel),
        Some(Err(error)) => Err(lost(OPERATION, error)),
        None => Err(lost(OPERATION, "no answer")),
    }
}

fn answered(answer: Option<lapin::Result<()>>, what: &str) -> Result<()> {
    match answer {
        Some(Err(error)) if answer_of(&error) == Some(404) => {
            Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
                .with_detail(format!("{what} is not there"))
                .with_source(error))
        }
        answer => said(OPERATION, answer),
    }
}

pub(super) fn said<T>(operation: &'static str, answer: Option<lapin::Result<T>>) -> Result<T> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(lost(operation, error)),
        None => Err(lost(operation, "no answer")),
    }
}
