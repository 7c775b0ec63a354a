use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::{Publisher, Stopped};
use crate::Message;

/// A broker in this process: each subscriber gets every message whose type begins as it asks for.
///
/// The default of an embedded service. A message is acknowledged when each subscription has it in its
/// queue; one whose queue is full makes the publisher wait, and so the worker. What is in a queue
/// when the process ends is gone, unlike with a broker that keeps what it has acknowledged: an effect that must not be lost
/// belongs into the unit of work.
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
}

#[derive(Clone)]
struct Subscriber {
    prefix: Arc<str>,
    queue: mpsc::Sender<Message>,
}

/// The messages of one subscriber; dropped, it gets no more.
pub struct Subscription {
    queue: mpsc::Receiver<Message>,
}

impl MemoryPublisher {
    /// Returns a broker that nobody has subscribed to; it takes every message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes to the types that begin with a prefix; `""` is all. Up to `queue` messages, from one to a
    /// million, wait for the subscriber.
    #[must_use]
    pub fn subscribe(&self, prefix: &str, queue: usize) -> Subscription {
        let (sender, receiver) = mpsc::channel(queue.clamp(1, 1_000_000));
        self.subscribers.write().push(Subscriber {
            prefix: prefix.into(),
            queue: sender,
        });
        Subscription { queue: receiver }
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
        let subscribers = self.subscribers.read().clone();
        let mut has_gone = false;
        for (index, message) in messages.iter().enumerate() {
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

    fn system(&self) -> &'static str {
        "memory"
    }
}

impl fmt::Debug for MemoryPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPublisher")
            .field("subscribers", &self.subscribers.read().len())
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
