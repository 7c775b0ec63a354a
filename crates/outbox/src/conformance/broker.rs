use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{Message, PublishError, PublishErrorKind, Publisher, Stopped};

/// A broker that keeps what it got, in order, and does what a test asks of it.
#[derive(Clone, Default)]
pub struct Broker {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    got: Mutex<Vec<Message>>,
    answers: Mutex<Option<Answers>>,
    gate: Mutex<Option<Arc<Semaphore>>>,
}

type Answers = Arc<dyn Fn(&Message) -> Option<Answer> + Send + Sync>;

/// How a broker answers to a message that it does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// By a refusal.
    No(PublishErrorKind),
    /// Not at all, and it has the message.
    Silence,
}

impl Broker {
    /// Returns what it got, in order, repetitions included.
    #[must_use]
    pub fn got(&self) -> Vec<Message> {
        self.inner.got.lock().clone()
    }

    /// Returns how many messages it got.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.got.lock().len()
    }

    /// Answers by `answer` from now on; nothing is taken for which it has one.
    pub fn answer(&self, answer: impl Fn(&Message) -> Option<Answer> + Send + Sync + 'static) {
        *self.inner.answers.lock() = Some(Arc::new(answer));
    }

    /// Takes everything from now on.
    pub fn take_all(&self) {
        *self.inner.answers.lock() = None;
    }

    /// Takes so many messages from now on, and keeps those behind them waiting.
    pub fn stop_after(&self, messages: usize) {
        *self.inner.gate.lock() = Some(Arc::new(Semaphore::new(messages)));
    }

    /// Lets everything through again; what waits goes on.
    pub fn go_on(&self) {
        if let Some(gate) = self.inner.gate.lock().take() {
            gate.close();
        }
    }
}

#[async_trait]
impl Publisher for Broker {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        for (index, message) in messages.iter().enumerate() {
            let gate = self.inner.gate.lock().clone();
            if let Some(gate) = gate
                && let Ok(permit) = gate.acquire().await
            {
                permit.forget();
            }
            let answers = self.inner.answers.lock().clone();
            match answers.and_then(|answer| answer(message)) {
                Some(Answer::No(kind)) => {
                    return Err(Stopped::new(
                        index,
                        PublishError::new(kind, "as the test asks"),
                    ));
                }
                Some(Answer::Silence) => {
                    self.inner.got.lock().push(message.clone());
                    tokio::time::sleep(Duration::from_secs(3_600)).await;
                }
                None => self.inner.got.lock().push(message.clone()),
            }
        }
        Ok(())
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "conformance"
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("got", &self.count())
            .finish_non_exhaustive()
    }
}

/// A broker that takes its time for each call.
#[derive(Debug, Clone)]
pub(super) struct Slow(pub(super) Broker, pub(super) Duration);

#[async_trait]
impl Publisher for Slow {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        tokio::time::sleep(self.1).await;
        self.0.publish(messages).await
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "slow"
    }
}
