//! A broker that takes everything and keeps nothing but the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use tenantry_outbox::{Message, Publisher, Stopped};
use tokio::sync::watch;

#[derive(Debug, Clone)]
pub(super) struct Broker {
    count: Arc<AtomicUsize>,
    last: watch::Sender<(usize, Instant)>,
}

impl Broker {
    pub(super) fn new() -> Self {
        Self {
            count: Arc::default(),
            last: watch::channel((0, Instant::now())).0,
        }
    }

    /// Returns how many messages it got.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits for so many in all, and returns when the last one came.
    pub(super) async fn got(&self, messages: usize) -> Instant {
        let mut last = self.last.subscribe();
        match last.wait_for(|(count, _)| *count >= messages).await {
            Ok(last) => last.1,
            // The sender is this broker's own.
            Err(_) => Instant::now(),
        }
    }
}

#[async_trait]
impl Publisher for Broker {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        let count = self.count.fetch_add(messages.len(), Ordering::Relaxed) + messages.len();
        self.last
            .send_modify(|last| *last = (count.max(last.0), Instant::now()));
        Ok(())
    }

    fn system(&self) -> &'static str {
        "nothing"
    }
}
