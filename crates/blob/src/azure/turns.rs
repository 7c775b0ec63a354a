//! Turns at a blob, for what the service takes without a condition.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout_at;

use super::retry::after;
use crate::name::BlobName;
use crate::store::about;

type Waiting = Mutex<HashMap<BlobName, Arc<tokio::sync::Mutex<()>>>>;

/// Who changes what keeps a blob does so one after the other: the service sets and takes off policies and
/// holds whatever state they are in, so that a look does not hold until the request that follows from it.
///
/// It is of this process alone. A turn is taken in a [task of its own](super::apart): a caller who neither
/// goes on nor drops its call would keep it from all others.
#[derive(Default)]
pub(super) struct Turns(Arc<Waiting>);

impl Turns {
    /// Waits for the turn at a blob, but not longer than that.
    pub(super) async fn take(
        &self,
        operation: &'static str,
        name: &BlobName,
        longest: Duration,
    ) -> Result<Turn> {
        let own = Arc::clone(self.0.lock().entry(name.clone()).or_default());
        let mut turn = Turn {
            waiting: Arc::clone(&self.0),
            name: name.clone(),
            held: None,
        };
        let held = timeout_at(after(longest), own.lock_owned()).await;
        turn.held = Some(held.map_err(|_| {
            about(Error::new(ErrorKind::Unavailable, operation), name)
                .with_detail("other calls of this process change it, and take too long: try again")
        })?);
        Ok(turn)
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
        let take = |name| turns.take("change", name, Duration::from_secs(9));
        let first = take(&one).await.unwrap();
        let of_other = take(&other).await.unwrap();
        let second = timeout(Duration::from_secs(1), take(&one)).await;
        assert!(second.is_err(), "the first has it still");
        drop(of_other);
        let (second, ()) = tokio::join!(take(&one), async { drop(first) });
        assert_eq!(turns.0.lock().len(), 1);
        drop(second.unwrap());
        assert!(turns.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_not_waited_for_without_end() {
        let (turns, one) = (Turns::default(), name());
        let take = || turns.take("change", &one, Duration::from_secs(9));
        let first = take().await.unwrap();
        let (second, third) = tokio::join!(take(), take());
        for late in [second, third] {
            assert_eq!(late.err().unwrap().kind(), ErrorKind::Unavailable);
        }
        drop(first);
        assert!(turns.0.lock().is_empty());
    }
}
