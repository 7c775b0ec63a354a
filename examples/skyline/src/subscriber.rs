//! Hearing of events: each takes effect once, in a unit of work of its tenant.

use std::time::Duration;

use tenantry::outbox::{Inbox, Message, Subscription};
use tenantry::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::broker::Broker;

/// How often a message is tried before it is given up.
const ATTEMPTS: u32 = 10;

/// How many messages may wait for a service; then the worker of the publishing one waits too.
const QUEUE: usize = 1_000;

/// What a service does with a message.
#[async_trait]
pub(crate) trait Handler: Send + Sync + 'static {
    /// Its name in the inbox.
    const NAME: &'static str;

    /// The types that it hears of.
    const TYPES: &'static [&'static str];

    /// Has the effects, by `work`; the message is marked as handled in the same transaction.
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<()>;

    /// Hears that the effects are stored, or are about to be where the broker is a server.
    fn handled(&self) {}
}

/// A subscription at work.
#[derive(Debug)]
pub(crate) enum Subscriber {
    /// At the broker of the process, which knows no consumers: what one does is done here.
    Memory {
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    },
    /// At a server, by the consumer of the library.
    #[cfg(feature = "servers")]
    Nats(tenantry::outbox::Consumer),
}

impl Subscriber {
    /// Subscribes to the broker.
    pub(crate) async fn start<H: Handler>(
        broker: &Broker,
        storage: &Storage,
        handler: H,
    ) -> Result<Self> {
        match broker {
            Broker::Memory(publisher) => {
                let (stop, stopped) = watch::channel(false);
                // One subscription for all types: what a tenant's events say, they say in their order.
                let subscription = publisher.subscribe("", QUEUE);
                let task = tokio::spawn(run(subscription, storage.clone(), handler, stopped));
                Ok(Self::Memory { stop, task })
            }
            #[cfg(feature = "servers")]
            Broker::Nats(connection) => nats::start(connection, storage, handler).await,
        }
    }

    /// Ends what it is at, and hears of no more.
    pub(crate) async fn stop(self) {
        match self {
            Self::Memory { stop, task } => {
                // It is an error where the task has ended already.
                let _ = stop.send(true);
                if let Err(error) = task.await {
                    tracing::error!(%error, "a subscription has ended by a panic");
                }
            }
            #[cfg(feature = "servers")]
            Self::Nats(consumer) => {
                if let Err(error) = consumer.stop().await {
                    tracing::error!(%error, "a consumer has not ended as it should");
                }
            }
        }
    }
}

async fn run<H: Handler>(
    mut subscription: Subscription,
    storage: Storage,
    handler: H,
    mut stopped: watch::Receiver<bool>,
) {
    let inbox = storage.inbox();
    loop {
        let message = tokio::select! {
            message = subscription.next() => message,
            _ = stopped.changed() => None,
        };
        let Some(message) = message else { return };
        if !H::TYPES.contains(&message.event_type()) {
            continue;
        }
        attempts(&inbox, &storage, &handler, &message, &mut stopped).await;
    }
}

async fn attempts<H: Handler>(
    inbox: &Inbox,
    storage: &Storage,
    handler: &H,
    message: &Message,
    stopped: &mut watch::Receiver<bool>,
) {
    let mut pause = Duration::from_millis(50);
    for attempt in 1..=ATTEMPTS {
        match once(inbox, storage, handler, message).await {
            Ok(()) => return,
            // What cannot be read today cannot be read tomorrow.
            Err(error) if attempt == ATTEMPTS || error.kind() == ErrorKind::InvalidValue => {
                tracing::error!(id = %message.id(), %error, "a message was given up");
            }
            Err(error) => {
                tracing::warn!(id = %message.id(), attempt, %error, "a message is tried again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stopped.changed() => return,
                }
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

async fn once<H: Handler>(
    inbox: &Inbox,
    storage: &Storage,
    handler: &H,
    message: &Message,
) -> Result<()> {
    let mut context = RequestContext::new(Actor::new(format!("service:{}", H::NAME))?);
    if let Some(trace) = message.trace() {
        context = context.with_trace(trace);
    }
    let scope = storage.tenant(message.tenant()).with_context(context);
    let work = scope.begin().await?;
    if !inbox.once(&work, message.id(), H::NAME).await? {
        return work.rollback().await;
    }
    handler.handle(&work, message).await?;
    work.commit().await?;
    handler.handled();
    Ok(())
}

/// The same by the consumer of the library, which does the inbox, the attempts and the dead letters.
#[cfg(feature = "servers")]
mod nats {
    use std::sync::Arc;

    use tenantry::outbox::{
        Consumer, ConsumerSettings, HandlerError, MessageHandler, NatsConnection, NatsSource,
    };

    use super::*;

    /// How many messages are handled side by side.
    const IN_FLIGHT: usize = 3;

    struct Adapter<H>(H);

    #[async_trait]
    impl<H: Handler> MessageHandler for Adapter<H> {
        async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
            if !H::TYPES.contains(&message.event_type()) {
                return Ok(());
            }
            match self.0.handle(work, message).await {
                Ok(()) => {
                    self.0.handled();
                    Ok(())
                }
                Err(error) if error.kind() == ErrorKind::InvalidValue => {
                    Err(HandlerError::Poison(error))
                }
                Err(error) => Err(HandlerError::Retry(error)),
            }
        }
    }

    pub(super) async fn start<H: Handler>(
        connection: &NatsConnection,
        storage: &Storage,
        handler: H,
    ) -> Result<Subscriber> {
        let source = NatsSource::new(connection.clone(), Broker::STREAM, Broker::DEAD);
        // A handler that puts blobs holds a connection meanwhile: fewer at a time than the pool has, or
        // requests wait for messages.
        let settings = ConsumerSettings::new(H::NAME).with_in_flight(IN_FLIGHT);
        let handler = Arc::new(Adapter(handler));
        let consumer = Consumer::nats(storage.tenant_store(), source, handler, settings).await?;
        Ok(Subscriber::Nats(consumer))
    }
}
