//! A broker that takes everything and keeps nothing but the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use tenantry_core::TenantId;
use tenantry_outbox::{Message, Publisher, Stopped};
use tokio::sync::watch;

#[derive(Debug, Clone)]
pub(crate) struct Broker {
    count: Arc<AtomicUsize>,
    /// Whose messages are counted apart.
    watches: Option<TenantId>,
    watched: Arc<AtomicUsize>,
    last: watch::Sender<(usize, Instant)>,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self {
            count: Arc::default(),
            watches: None,
            watched: Arc::default(),
            last: watch::channel((0, Instant::now())).0,
        }
    }

    /// Counts the messages of one tenant apart.
    pub(super) fn watching(tenant: TenantId) -> Self {
        Self {
            watches: Some(tenant),
            ..Self::new()
        }
    }

    /// Returns how many messages of that tenant it got.
    pub(super) fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    /// Returns how many messages it got.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits for so many in all, and returns when the last one came.
    pub(crate) async fn got(&self, messages: usize) -> Instant {
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
        // A call has messages of one tenant alone.
        let tenant = messages.first().map(Message::tenant);
        if tenant.is_some() && tenant == self.watches {
            self.watched.fetch_add(messages.len(), Ordering::Relaxed);
            return Ok(());
        }
        let count = self.count.fetch_add(messages.len(), Ordering::Relaxed) + messages.len();
        self.last
            .send_modify(|last| *last = (count.max(last.0), Instant::now()));
        Ok(())
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "nothing"
    }
}
