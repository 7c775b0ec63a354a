//! Turns at a blob, for what the service takes without a condition.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::name::BlobName;

type Waiting = Mutex<HashMap<BlobName, Arc<tokio::sync::Mutex<()>>>>;

/// Who changes what keeps a blob does so one after the other: the service sets and takes off policies and
/// holds whatever state they are in, so that a look does not hold until the request that follows from it.
///
/// It is of this process alone.
#[derive(Default)]
pub(super) struct Turns(Arc<Waiting>);

impl Turns {
    /// Waits for the turn at a blob.
    pub(super) async fn take(&self, name: &BlobName) -> Turn {
        let own = Arc::clone(self.0.lock().entry(name.clone()).or_default());
        let mut turn = Turn {
            waiting: Arc::clone(&self.0),
            name: name.clone(),
            held: None,
        };
        turn.held = Some(own.lock_owned().await);
        turn
    }
}

/// A turn at a blob, until it is dropped.
pub(super) struct Turn {
    waiting: Arc<Waiting>,
    name: BlobName,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut waiting = self.waiting.lock();
        // Whoever waits has it as well.
        if waiting
            .get(&self.name)
            .is_some_and(|it| Arc::strong_count(it) == 1)
        {
            waiting.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenantry_core::TenantId;
    use tokio::time::timeout;

    use super::*;
    use crate::name::{BlobId, BlobKind};

    fn name() -> BlobName {
        let kind = BlobKind::new("exports").unwrap();
        let at = "2026-01-31T00:00:00Z".parse().unwrap();
        BlobName::new(TenantId::generate(), &kind, at, BlobId::generate()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_waits_for_the_other_and_nothing_is_left() {
        let (turns, one, other) = (Turns::default(), name(), name());
        let first = turns.take(&one).await;
        let of_other = turns.take(&other).await;
        let second = timeout(Duration::from_secs(1), turns.take(&one)).await;
        assert!(second.is_err(), "the first has it still");
        drop(of_other);
        let (second, ()) = tokio::join!(turns.take(&one), async { drop(first) });
        assert_eq!(turns.0.lock().len(), 1);
        drop(second);
        assert!(turns.0.lock().is_empty());
    }
}
