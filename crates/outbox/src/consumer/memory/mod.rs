//! Messages from the broker of this process.

mod pending;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::{Error, Result};
use tokio::sync::mpsc;

use self::pending::{Key, Pending};
use super::ConsumerSettings;
use super::delivery::{Delivery, OVERHEAD, Receipt, Source, lost};
use crate::publisher::{Handed, Handled, Unhandled};
use crate::{MemoryPublisher, PublishErrorKind};

pub(super) struct Deliveries {
    queue: mpsc::Receiver<Handed>,
    pending: Arc<Pending>,
}

impl Deliveries {
    pub(super) fn open(broker: &MemoryPublisher, settings: &ConsumerSettings) -> Result<Self> {
        Ok(Self {
            queue: broker.attend(&settings.name)?,
            pending: Arc::default(),
        })
    }

    /// Returns a message that is to be handled; none where that is under way, or has failed while nobody listened.
    fn delivery(&self, Handed { message, waiting }: Handed) -> Option<Delivery> {
        let key = (message.tenant(), message.id());
        self.pending.begin(key, waiting).then(|| Delivery {
            bytes: OVERHEAD + message.payload().len(),
            read: Ok(message),
            // The outbox counts how often one has failed.
            deliveries: 1,
            receipt: Arc::new(Held {
                key,
                pending: Arc::clone(&self.pending),
                is_told: AtomicBool::new(false),
            }),
        })
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
        let mut got: Vec<_> = self.delivery(first).into_iter().collect();
        while got.len() < most
            && let Ok(next) = self.queue.try_recv()
        {
            got.extend(self.delivery(next));
        }
        Ok(got)
    }

    fn keep_every(&self) -> Option<Duration> {
        None
    }
}

/// What was given out.
struct Held {
    key: Key,
    pending: Arc<Pending>,
    is_told: AtomicBool,
}

impl Held {
    fn tell(&self, handled: Handled) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            self.pending.end(self.key, handled);
        }
    }

    fn tell_why(&self, kind: PublishErrorKind, why: &str) {
        let detail = why.into();
        self.tell(Err(Unhandled { kind, detail }));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_told.load(Ordering::Relaxed) {
            self.pending.forget(self.key);
        }
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
        let why = format!("cannot handle it: {detail}");
        self.tell_why(PublishErrorKind::Poison, &why);
        Ok(())
    }
}
