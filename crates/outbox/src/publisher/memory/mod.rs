//! The broker in this process.

mod consumers;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use self::consumers::{Expected, hand_to_all};
pub(crate) use self::consumers::{Handed, Handled, Unhandled};
use super::{Publisher, Stopped};
use crate::Message;

/// A broker in this process, the default of an embedded service: it keeps nothing, and gives each message to those who hear
/// of its type.
///
/// - A **consumer** ([`Consumer::start_memory`](crate::Consumer::start_memory)) handles it: the message is acknowledged when each
///   consumer that was [named](Self::with_consumer) has committed what it made of it. Until then it stays in the outbox
///   that it came from, also where the process is killed; a consumer that was not started yet, or was stopped, is waited
///   for. One that a consumer cannot handle is parked with its key and tried again by that outbox, and becomes one of its
///   [dead letters](crate::DeadLetters).
/// - A **subscription** ([`subscribe`](Self::subscribe)) hears of it: the message is acknowledged when it is in its queue, and
///   one whose queue is full makes the publisher wait, and so the worker. What is in the queue when the process ends is gone:
///   for tests, and for what may be missed, such as a page that shows itself anew.
///
/// # Examples
///
/// ```
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{MemoryPublisher, Message, NewMessage, Publisher as _};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let broker = MemoryPublisher::new();
/// let mut paid = broker.subscribe("billing.invoice.", 100);
///
/// let message = Message::new(TenantId::generate(), NewMessage::new("billing.invoice.paid", "7"));
/// broker.publish(&[message.clone()]).await.unwrap();
/// assert_eq!(paid.next().await, Some(message));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryPublisher {
    subscribers: Arc<RwLock<Vec<Subscriber>>>,
    consumers: Arc<RwLock<Vec<Expected>>>,
}

#[derive(Clone)]
struct Subscriber {
    prefix: Arc<str>,
    queue: mpsc::Sender<Message>,
}

/// The messages of one subscriber; dropped, it gets no more.
#[must_use = "dropped, it ends at once"]
pub struct Subscription {
    queue: mpsc::Receiver<Message>,
}

impl MemoryPublisher {
    /// Returns a broker that nobody hears of; it takes every message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names a consumer, and the types that it hears of: those that begin with one of these texts; `""` is all.
    ///
    /// Name every consumer before the first worker starts. A message of its types that is handed over before is not kept
    /// for it, and one that is handed over later waits until the consumer has handled it, running or not.
    #[must_use]
    pub fn with_consumer<T: Into<String>>(
        self,
        name: impl Into<String>,
        types: impl IntoIterator<Item = T>,
    ) -> Self {
        let types = types.into_iter().map(Into::into).collect();
        let expected = Expected::new(name.into(), types);
        {
            let mut consumers = self.consumers.write();
            consumers.retain(|consumer| consumer.name() != expected.name());
            consumers.push(expected);
        }
        self
    }

    /// Subscribes to the types that begin with a prefix; `""` is all. Up to `queue` messages, from one to a
    /// million, wait for the subscriber.
    pub fn subscribe(&self, prefix: &str, queue: usize) -> Subscription {
        let (sender, receiver) = mpsc::channel(queue.clamp(1, 1_000_000));
        self.subscribers.write().push(Subscriber {
            prefix: prefix.into(),
            queue: sender,
        });
        Subscription { queue: receiver }
    }

    /// Lets a consumer take the place that was kept for its name.
    pub(crate) fn attend(&self, name: &str) -> Result<mpsc::Receiver<Handed>> {
        let mut consumers = self.consumers.write();
        match consumers.iter_mut().find(|expected| expected.name() == name) {
            Some(expected) => expected.attend(),
            None => Err(Error::new(ErrorKind::InvalidSettings, "start consumer")
                .with_subject(name.to_owned())
                .with_detail(
                    "the broker keeps no message for it: name it by MemoryPublisher::with_consumer, before a worker \
                     starts",
                )),
        }
    }
}

impl Subscription {
    /// Returns the next message; `None` once the broker is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropped, no message is lost.
    pub async fn next(&mut self) -> Option<Message> {
        self.queue.recv().await
    }

    /// Returns the next message if there is one.
    pub fn try_next(&mut self) -> Option<Message> {
        self.queue.try_recv().ok()
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        let consumers = self.consumers.read().clone();
        let subscribers = self.subscribers.read().clone();
        let mut has_gone = false;
        for (index, message) in messages.iter().enumerate() {
            let handed = hand_to_all(&consumers, message).await;
            handed.map_err(|error| Stopped::new(index, error))?;
            for subscriber in &subscribers {
                if !message.event_type().starts_with(&*subscriber.prefix) {
                    continue;
                }
                if subscriber.queue.send(message.clone()).await.is_err() {
                    has_gone = true;
                }
            }
            if index % 64 == 63 {
                // A subscriber of the same thread has its turn as well.
                tokio::task::yield_now().await;
            }
        }
        if has_gone {
            self.subscribers
                .write()
                .retain(|subscriber| !subscriber.queue.is_closed());
        }
        Ok(())
    }

    /// Says that it would, once every consumer is there.
    async fn check(&self) -> Result<()> {
        let consumers = self.consumers.read();
        match consumers.iter().find(|consumer| !consumer.is_there()) {
            Some(absent) => Err(Error::new(ErrorKind::Unavailable, "check broker")
                .with_subject(absent.name().to_owned())
                .with_detail(
                    "a consumer is not there: what it hears of waits for it in the outbox",
                )),
            None => Ok(()),
        }
    }

    fn system(&self) -> &'static str {
        "memory"
    }
}

impl fmt::Debug for MemoryPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPublisher")
            .field("subscribers", &self.subscribers.read().len())
            .field("consumers", &self.consumers.read().len())
            .finish()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("waiting", &self.queue.len())
            .finish()
    }
}
