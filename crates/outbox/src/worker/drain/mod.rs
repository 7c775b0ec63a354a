//! The loop of a worker.

mod doubt;
mod hand_over;
mod idle;
mod lanes;
mod parts;
mod save;
mod shares;
mod turns;
mod upkeep;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::doubt::Doubt;
use self::turns::Turns;
use super::WorkerSettings;
use super::claim::Claim;
use super::run::Slice;
use crate::Publisher;
use crate::log::{Group, Log, Passed};
use crate::telemetry::Metrics;

/// For how long after the last message is looked for the next one at the shortest distance.
const STAYS_AWAKE: Duration = Duration::from_secs(2);

/// Once a claim was served for so long, what failed before counts no longer.
const IS_WELL: Duration = Duration::from_secs(60);

/// After what time a position is saved though nothing has left.
const BETWEEN_SAVES: Duration = Duration::from_secs(60);

pub(super) struct Drain {
    log: Log,
    publisher: Arc<dyn Publisher>,
    metrics: Metrics,
    settings: WorkerSettings,
    stopped: watch::Receiver<bool>,
    groups: Vec<Group>,
    parked: HashSet<(TenantId, String)>,
    /// Whether that is all of them.
    knows_parked: bool,
    parked_at: Instant,
    /// When is looked which keys stand still.
    looked_at: Instant,
    taken_at: Option<Instant>,
    pruned_at: Instant,
    /// What removes what has left; it ends with the worker.
    pruning: JoinSet<()>,
    saved_at: Instant,
    /// How many messages are read at a time: fewer than the settings say, where they are large.
    reads: usize,
    /// How many messages of a key are published at a time.
    slice: Slice,
    /// How long is waited for an answer to parked messages.
    patience_aside: Duration,
    /// Who is to blame where all of many keys are refused.
    doubt: Doubt,
    /// How many times as far as usual is looked for messages of tenants without a lane.
    widening: i64,
    /// When a tenant without a lane last had a message.
    rest_came_at: Option<Instant>,
    /// When lanes were last served.
    served_at: Instant,
    /// Whose turn it is, where nobody without a lane has messages.
    turns: Turns,
    /// When there was last something to do.
    awaited_at: Instant,
    /// Whether there are rows that were appended in another cluster.
    has_arrivals: bool,
}

/// Why a claim was given up.
#[derive(PartialEq, Eq)]
enum End {
    Stopped,
    Idle,
    /// There is something that can be mended only where nobody has a claim.
    Arrivals,
}

impl Drain {
    pub(super) fn new(
        log: Log,
        publisher: Arc<dyn Publisher>,
        settings: WorkerSettings,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let (now, slice) = (Instant::now(), Slice::new(settings.batch));
        Self {
            log,
            reads: settings.batch,
            patience_aside: settings.patience,
            metrics: Metrics::new(publisher.system()),
            publisher,
            settings,
            stopped,
            groups: Vec::new(),
            parked: HashSet::new(),
            knows_parked: false,
            parked_at: now,
            looked_at: now,
            taken_at: None,
            pruned_at: now,
            pruning: JoinSet::new(),
            saved_at: now,
            slice,
            doubt: Doubt::default(),
            widening: 1,
            rest_came_at: None,
            served_at: now,
            turns: Turns::default(),
            awaited_at: now,
            has_arrivals: false,
        }
    }

    /// Works until it is stopped: makes a claim, and another one where that is lost or was given up.
    pub(super) async fn go_on(mut self) -> Result<()> {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let outcome = match self.serve().await {
                Ok(End::Stopped) => return Ok(()),
                Ok(End::Idle) => self.doze().await,
                Ok(End::Arrivals) => Ok(()),
                Err(error) => Err(error),
            };
            let taken = match outcome {
                Ok(()) if self.is_stopped() => return Ok(()),
                Ok(()) => {
                    failures = 0;
                    continue;
                }
                Err(error) if self.is_stopped() => return Err(error),
                Err(error) => {
                    self.metrics.stands(None);
                    failures = match begun.elapsed() < IS_WELL {
                        true => failures + 1,
                        false => 1,
                    };
                    tracing::warn!(
                        target: "tenantry::outbox",
                        worker = self.settings.name,
                        %error,
                        "the worker begins anew"
                    );
                    Some(error).filter(|it| it.kind() == ErrorKind::AlreadyExists)
                }
            };
            self.rest(self.settings.policy.wait(failures.min(4), 0.5))
                .await;
            if self.is_stopped() {
                // It has never begun.
                return taken.map_or(Ok(()), Err);
            }
        }
    }

    /// Serves one claim: `Ok` once it has given everything back.
    async fn serve(&mut self) -> Result<End> {
        self.groups.clear();
        self.parked.clear();
        self.knows_parked = false;
        self.taken_at = None;
        self.has_arrivals = false;
        self.log.settle_in_cluster().await?;
        let claim = Claim::make(&self.log, &self.settings.name, self.settings.lease).await?;
        let served = self.serve_under(&claim).await;
        match &served {
            Ok(_) => self.give_all_back(&claim).await?,
            // Another may have them, or another server answers, where they are freed as they stand.
            Err(error) if is_lost(error) => {
                let freed = self.log.unclaim(claim.token);
                let _ = tokio::time::timeout(self.settings.lease, freed).await;
            }
            Err(_) => {}
        }
        served
    }

    /// Hands over until it is stopped, has nothing to do, or cannot go on under its claim.
    async fn serve_under(&mut self, claim: &Claim) -> Result<End> {
        let mut delay = self.settings.shortest_poll;
        let mut failures = 0;
        let mut end = End::Stopped;
        while !self.is_stopped() {
            match self.round(claim).await {
                Ok(true) => {
                    failures = 0;
                    self.awaited_at = Instant::now();
                    delay = self.settings.shortest_poll;
                }
                Ok(false) => {
                    failures = 0;
                    // What the database does not tell now, the next round does.
                    if self.is_idle().await.unwrap_or(false) {
                        end = End::Idle;
                        break;
                    }
                    if self.awaited_at.elapsed() > STAYS_AWAKE {
                        delay = (delay * 2).min(self.settings.longest_poll);
                    }
                    self.wait(claim, delay).await;
                }
                Err(error) if is_lost(&error) => return Err(error),
                Err(error) if !may_pass(&error) => {
                    // Another worker may be able to, and this one begins anew.
                    self.give_up(claim).await;
                    return Err(error);
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(
                            target: "tenantry::outbox",
                            worker = self.settings.name,
                            %error,
                            "messages cannot be handed over, and are as soon as they can"
                        );
                    }
                    let wait = Duration::from_millis(50) * (1 << failures.min(5));
                    self.wait(claim, wait).await;
                }
            }
            claim.check()?;
            if self.has_arrivals {
                end = End::Arrivals;
                break;
            }
        }
        Ok(end)
    }

    async fn give_all_back(&self, claim: &Claim) -> Result<()> {
        for group in &self.groups {
            self.log.release(claim.token, group).await?;
        }
        self.log.unclaim(claim.token).await
    }

    /// Gives everything back, or leaves it to whoever comes when the claim has expired.
    async fn give_up(&self, claim: &Claim) {
        if let Err(error) = self.give_all_back(claim).await {
            tracing::debug!(target: "tenantry::outbox", %error, "a claim is not given back");
        }
    }

    /// Hands over all that is new; returns whether there was anything.
    async fn round(&mut self, claim: &Claim) -> Result<bool> {
        claim.check()?;
        self.balance(claim).await?;
        let mut any = self.parked_pass(claim).await?;
        for index in 0..self.groups.len() {
            if !self.groups[index].progress.rest.is_closed() {
                any |= self.finish(claim, index, &mut None).await?;
            }
        }
        let is_open = |group: &Group| !group.progress.rest.is_closed();
        if self.groups.iter().any(is_open) {
            self.prune().await;
            return Ok(any);
        }
        // Those that had their turns up to one snapshot in other rounds.
        self.merge(claim).await?;
        // All groups up to one snapshot, and they are one.
        let mut upto = None;
        for index in 0..self.groups.len() {
            if self.is_stopped() {
                return Ok(any);
            }
            any |= self.finish(claim, index, &mut upto).await?;
        }
        self.merge(claim).await?;
        if self.saved_at.elapsed() > BETWEEN_SAVES {
            for group in &mut self.groups {
                let nothing = Passed::default();
                group.progress = self.log.save(claim.token, group, &nothing).await?;
            }
            self.saved_at = Instant::now();
        }
        self.prune().await;
        Ok(any)
    }

    fn partitions(&self) -> Vec<i16> {
        let partitions = self.groups.iter().flat_map(|group| group.partitions.iter());
        partitions.copied().collect()
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    /// Waits for messages, for a time at most.
    async fn wait(&self, claim: &Claim, time: Duration) {
        tokio::select! {
            () = self.committed() => {}
            () = self.rest(time) => {}
            () = claim.is_lost() => {}
        }
    }

    /// Waits for a commit of the outbox in this process, if there is one.
    async fn committed(&self) {
        match &self.settings.committed {
            Some(committed) => committed.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for a time, or until it is stopped.
    async fn rest(&self, time: Duration) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
        }
    }
}

fn is_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
}

/// Returns whether the same may work a little later, under the same claim.
fn may_pass(error: &Error) -> bool {
    let kind = error.kind();
    // What is saved twice is saved once.
    error.is_retryable() || matches!(kind, ErrorKind::StorageFull | ErrorKind::CommitUnknown)
}
