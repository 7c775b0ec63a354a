//! What one worker does for all: it removes what has left, and tells how the outbox is doing.

use std::time::{Duration, Instant};

use super::Drain;
use crate::log::Log;
use crate::telemetry::Metrics;

/// How often generations are emptied.
const BETWEEN_PRUNES: Duration = Duration::from_secs(10);

impl Drain {
    /// Tells how the outbox is doing, and removes what has left, now and then.
    pub(super) async fn prune(&mut self) {
        if self.pruned_at.elapsed() < BETWEEN_PRUNES {
            return;
        }
        self.pruned_at = Instant::now();
        self.tell().await;
        if !self.looks_after_all() {
            return;
        }
        // What the database does not tell now, it does the next time.
        self.has_arrivals = self.log.has_arrived().await.unwrap_or_default();
        while self.pruning.try_join_next().is_some() {}
        if self.pruning.is_empty() {
            self.pruning.spawn(prune(self.log.clone()));
        }
    }

    /// Tells how the outbox is doing, as one of its workers does.
    pub(super) async fn tell(&self) {
        if Metrics::IS_ON {
            let status = match self.looks_after_all() {
                true => self.log.status().await.ok(),
                false => None,
            };
            self.metrics.stands(status);
        }
    }

    /// Returns whether it is this worker that does what one does for all.
    fn looks_after_all(&self) -> bool {
        self.partitions().contains(&0)
    }
}

/// Removes what has left, once; it takes a small part of the time, and holds up no message.
async fn prune(log: Log) {
    let begun = Instant::now();
    match log.prune().await {
        Ok(0) => {}
        Ok(emptied) => {
            tracing::debug!(target: "tenantry::outbox", emptied, "generations emptied")
        }
        Err(error) => tracing::warn!(
            target: "tenantry::outbox",
            %error,
            "what has left cannot be removed, and is as soon as it can"
        ),
    }
    tokio::time::sleep(begun.elapsed() * 10).await;
}
