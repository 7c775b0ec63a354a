//! The claim of a worker, kept alive by a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenantry_core::Result;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::log::{Log, Token, lost};
use crate::partition::PARTITIONS;

/// A claim that is renewed until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) token: Token,
    /// Until when nobody can have taken it away, by the clock of this process; none once it is lost.
    holds_until: watch::Receiver<Option<Instant>>,
    share: Arc<AtomicUsize>,
    heartbeat: AbortHandle,
}

impl Claim {
    /// Makes a claim, after those that have expired are taken away.
    pub(super) async fn make(log: &Log, worker: &str, lease: Duration) -> Result<Self> {
        let others = log.reap().await?;
        let begun = Instant::now();
        let token = log.claim(worker, lease).await?;
        let (renewed, holds_until) = watch::channel(Some(begun + lease));
        let share = Arc::new(AtomicUsize::new(share_of(others + 1)));
        let heartbeat = Heartbeat {
            log: log.clone(),
            token,
            lease,
            renewed,
            share: Arc::clone(&share),
        };
        Ok(Self {
            token,
            holds_until,
            share,
            heartbeat: tokio::spawn(heartbeat.go_on()).abort_handle(),
        })
    }

    /// Returns how many parts the worker should have.
    pub(super) fn share(&self) -> usize {
        self.share.load(Ordering::Relaxed)
    }

    /// Refuses to go on where another may have taken over.
    pub(super) fn check(&self) -> Result<()> {
        let holds = self
            .holds_until
            .borrow()
            .is_some_and(|until| Instant::now() < until);
        match holds {
            true => Ok(()),
            false => Err(lost("hold claim")),
        }
    }

    /// Returns when the claim is lost.
    pub(super) async fn is_lost(&self) {
        let mut holds_until = self.holds_until.clone();
        loop {
            let Some(until) = *holds_until.borrow_and_update() else {
                return;
            };
            tokio::select! {
                changed = holds_until.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(until.into()) => {
                    // It may have been put off at the last moment.
                    if holds_until.borrow().is_none_or(|until| until <= Instant::now()) {
                        return;
                    }
                }
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

struct Heartbeat {
    log: Log,
    token: Token,
    lease: Duration,
    renewed: watch::Sender<Option<Instant>>,
    share: Arc<AtomicUsize>,
}

impl Heartbeat {
    async fn go_on(self) {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            // The database counts from when it gets the message, which is later.
            let begun = Instant::now();
            match self.log.renew(self.token, self.lease).await {
                Ok(true) => {
                    self.renewed.send_replace(Some(begun + self.lease));
                }
                Ok(false) => {
                    self.renewed.send_replace(None);
                    return;
                }
                // As long as it holds there is another try.
                Err(error) => tracing::warn!(
                    target: "tenantry::outbox",
                    %error,
                    "the claim of the worker cannot be renewed"
                ),
            }
            match self.log.reap().await {
                Ok(live) => self.share.store(share_of(live), Ordering::Relaxed),
                Err(error) => tracing::debug!(
                    target: "tenantry::outbox",
                    %error,
                    "claims of others cannot be looked at"
                ),
            }
        }
    }
}

/// Returns how many parts each of so many workers has, the odd ones taken up.
fn share_of(workers: usize) -> usize {
    usize::from(PARTITIONS).div_ceil(workers.max(1))
}
