//! Messages from the broker of this process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use super::ConsumerSettings;
use super::delivery::{Delivery, OVERHEAD, Receipt, Source, lost};
use crate::publisher::Handed;
use crate::{MemoryPublisher, PublishError, PublishErrorKind};

pub(super) struct Deliveries {
    consumer: Arc<str>,
    queue: mpsc::Receiver<Handed>,
}

impl Deliveries {
    pub(super) fn open(broker: &MemoryPublisher, settings: &ConsumerSettings) -> Result<Self> {
        Ok(Self {
            consumer: settings.name.as_str().into(),
            queue: broker.attend(&settings.name)?,
        })
    }

    fn delivery(&self, Handed { message, told }: Handed) -> Delivery {
        Delivery {
            bytes: OVERHEAD + message.payload().len(),
            read: Ok(message),
            // The outbox counts how often one has failed.
            deliveries: 1,
            receipt: Arc::new(Held {
                consumer: Arc::clone(&self.consumer),
                told: Mutex::new(Some(told)),
            }),
        }
    }
}

#[async_trait]
impl Source for Deliveries {
    const MAY_BE_DROPPED: bool = true;

    fn system(&self) -> &'static str {
        "memory"
    }

    async fn next(&mut self, most: usize, _room: usize) -> Result<Vec<Delivery>> {
        let first = self.queue.recv().await;
        let first = first.ok_or_else(|| lost("take messages", "the broker is gone"))?;
        let mut got = vec![self.delivery(first)];
        while got.len() < most
            && let Ok(next) = self.queue.try_recv()
        {
            got.push(self.delivery(next));
        }
        Ok(got)
    }

    fn keep_every(&self) -> Option<Duration> {
        None
    }
}

/// What was given out; the one who has published waits for what is said of it.
struct Held {
    consumer: Arc<str>,
    told: Mutex<Option<oneshot::Sender<Result<(), PublishError>>>>,
}

impl Held {
    fn tell(&self, outcome: Result<(), PublishError>) {
        if let Some(told) = self.told.lock().take() {
            // Nobody waits any more where the worker has given up: the message comes again, and the inbox knows it.
            let _ = told.send(outcome);
        }
    }

    fn tell_why(&self, kind: PublishErrorKind, why: &str) {
        let detail = format!("the consumer {} {why}", self.consumer);
        self.tell(Err(PublishError::new(kind, detail)));
    }
}

#[async_trait]
impl Receipt for Held {
    async fn accept(&self) -> Result<()> {
        self.tell(Ok(()));
        Ok(())
    }

    async fn release(&self) -> Result<()> {
        self.tell_why(PublishErrorKind::Unavailable, "ends: it is waited for");
        Ok(())
    }

    async fn keep(&self) -> Result<()> {
        Ok(())
    }

    fn refuse(&self, error: &Error) -> bool {
        self.tell_why(PublishErrorKind::Refused, &format!("has failed: {error}"));
        true
    }

    async fn bury(&self, _payload: Option<&[u8]>, _reason: &str, detail: &str) -> Result<()> {
        self.tell_why(
            PublishErrorKind::Poison,
            &format!("cannot handle it: {detail}"),
        );
        Ok(())
    }
}
