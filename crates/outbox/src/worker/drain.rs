//! The loop of a worker.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tokio::sync::watch;

use super::WorkerSettings;
use super::claim::Claim;
use super::run::{Run, by_key, publish};
use crate::log::{Group, Log, Position, Row, lost};
use crate::telemetry::Metrics;
use crate::{PublishErrorKind, Publisher};

/// For how long after the last message is looked for the next one at the shortest distance.
const STAYS_AWAKE: Duration = Duration::from_secs(2);

/// How often is looked for parts that nobody has, while there should be some.
const BETWEEN_TAKES: Duration = Duration::from_millis(200);

/// How often is looked for parked messages that somebody else has put back.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// How often generations are emptied.
const BETWEEN_PRUNES: Duration = Duration::from_secs(10);

/// After what time a position is saved though nothing has left.
const BETWEEN_SAVES: Duration = Duration::from_secs(60);

/// Where so many keys are refused in one chunk, and no other is taken, the broker is to blame.
const MANY_KEYS: usize = 16;

pub(super) struct Drain {
    log: Log,
    publisher: Arc<dyn Publisher>,
    metrics: Metrics,
    settings: WorkerSettings,
    stopped: watch::Receiver<bool>,
    groups: Vec<Group>,
    parked: HashSet<(TenantId, String)>,
    parked_at: Instant,
    taken_at: Option<Instant>,
    pruned_at: Instant,
    saved_at: Instant,
}

impl Drain {
    pub(super) fn new(
        log: Log,
        publisher: Arc<dyn Publisher>,
        settings: WorkerSettings,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            log,
            metrics: Metrics::new(publisher.system()),
            publisher,
            settings,
            stopped,
            groups: Vec::new(),
            parked: HashSet::new(),
            parked_at: now,
            taken_at: None,
            pruned_at: now,
            saved_at: now,
        }
    }

    /// Works until it is stopped: makes a claim, and another one where that is lost.
    pub(super) async fn go_on(mut self) -> Result<()> {
        let mut failures = 0;
        loop {
            let outcome = self.serve().await;
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if self.is_stopped() => return Err(error),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        target: "tenantry::outbox",
                        worker = self.settings.name,
                        %error,
                        "the worker begins anew"
                    );
                }
            }
            self.rest(self.settings.policy.wait(failures.min(4), 0.5))
                .await;
            if self.is_stopped() {
                return Ok(());
            }
        }
    }

    /// Serves one claim: `Ok` once it was stopped and has given everything back.
    async fn serve(&mut self) -> Result<()> {
        self.groups.clear();
        self.parked.clear();
        self.taken_at = None;
        self.log.settle_in_cluster().await?;
        let claim = Claim::make(&self.log, &self.settings.name, self.settings.lease).await?;
        let mut delay = self.settings.shortest_poll;
        let mut last_rows = Instant::now();
        let mut failures = 0;
        while !self.is_stopped() {
            match self.round(&claim).await {
                Ok(true) => {
                    failures = 0;
                    last_rows = Instant::now();
                    delay = self.settings.shortest_poll;
                }
                Ok(false) => {
                    failures = 0;
                    if last_rows.elapsed() > STAYS_AWAKE {
                        delay = (delay * 2).min(self.settings.longest_poll);
                    }
                    self.wait(&claim, delay).await;
                }
                Err(error) if is_lost(&error) => return Err(error),
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
                    self.wait(&claim, wait).await;
                }
            }
            claim.check()?;
        }
        for group in &self.groups {
            self.log.release(claim.token, group).await?;
        }
        self.log.unclaim(claim.token).await
    }

    /// Hands over all that is new; returns whether there was anything.
    async fn round(&mut self, claim: &Claim) -> Result<bool> {
        claim.check()?;
        self.balance(claim).await?;
        let mut any = self.parked_pass(claim).await?;
        for index in 0..self.groups.len() {
            if !self.groups[index].position.is_closed() {
                any |= self.finish(claim, index, &mut None).await?;
            }
        }
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
                group.position = self.log.save(claim.token, group, &[]).await?;
            }
            self.saved_at = Instant::now();
        }
        self.prune().await;
        Ok(any)
    }

    /// Hands over what is new to a group, up to the snapshot `upto` or one that is taken now.
    async fn finish(
        &mut self,
        claim: &Claim,
        index: usize,
        upto: &mut Option<(String, i64)>,
    ) -> Result<bool> {
        let mut any = false;
        loop {
            let mut next = self.groups[index].clone();
            if let Some((snapshot, _)) = upto
                && next.position.is_closed()
            {
                next.position.open(snapshot);
            }
            let chunk = self.log.read(&next, self.settings.batch).await?;
            if next.position.is_closed()
                && let Some(snapshot) = &chunk.snapshot
            {
                next.position.open(snapshot);
                *upto = Some((snapshot.clone(), chunk.highest));
            }
            let is_all = chunk.rows.len() < self.settings.batch;
            let last = chunk.rows.last().map(|row| row.position);
            let mut failed = Vec::new();
            if let Some(last) = last {
                failed = self.hand_over(claim, chunk.rows).await?;
                next.position.advance(last);
            }
            if is_all {
                // Of a snapshot that another worker has taken nothing more is known.
                let highest = upto.as_ref().map(|(_, highest)| *highest);
                let cursor = next.position.cursor();
                next.position.close(highest.unwrap_or(cursor));
            }
            if last.is_some() {
                any = true;
                next.position = self.save(claim, &next, &failed).await?;
            }
            self.groups[index] = next;
            if is_all || self.is_stopped() {
                return Ok(any);
            }
            any |= self.parked_pass(claim).await?;
        }
    }

    /// Publishes the messages of a chunk; returns what goes into the side table.
    async fn hand_over(
        &mut self,
        claim: &Claim,
        rows: Vec<Row>,
    ) -> Result<Vec<crate::log::Failed>> {
        let mut runs = by_key(rows);
        if !self.parked.is_empty() {
            for run in &mut runs {
                if self.parked.contains(&key_of(run)) {
                    run.park();
                }
            }
        }
        let mut outages = 0;
        while runs.iter().any(|run| !run.is_done()) {
            claim.check()?;
            let asked = runs.iter().filter(|run| !run.is_done()).count();
            self.publish(claim, "publish messages", &mut runs).await?;
            let kind = |run: &Run| run.stopped.as_ref().map(crate::PublishError::kind);
            let count = |wanted| runs.iter().filter(|run| kind(run) == Some(wanted)).count();
            let refused = count(PublishErrorKind::Refused);
            let is_outage = refused == asked && asked >= MANY_KEYS;
            let mut waits = is_outage;
            for run in &mut runs {
                match kind(run) {
                    None => {}
                    Some(PublishErrorKind::Unavailable) => waits = true,
                    Some(PublishErrorKind::Refused) if is_outage => {}
                    Some(_) => {
                        let goes_on = run.judge(&self.settings.policy);
                        if !goes_on && run.failed.last().is_some_and(stands_still) {
                            self.parked.insert(key_of(run));
                            self.parked_at = Instant::now();
                        }
                    }
                }
            }
            if waits {
                outages += 1;
                let error = runs.iter_mut().find_map(|run| run.stopped.take());
                if let (1, Some(error)) = (outages, error) {
                    tracing::warn!(
                        target: "tenantry::outbox",
                        worker = self.settings.name,
                        %error,
                        "the broker takes nothing: messages wait"
                    );
                }
                for run in &mut runs {
                    run.stopped = None;
                }
                let wait = self.settings.policy.wait(outages, rand::random());
                tokio::select! {
                    () = self.rest(wait) => {}
                    () = claim.is_lost() => return Err(lost("publish messages")),
                }
                if self.is_stopped() {
                    return Err(Error::new(ErrorKind::Unavailable, "publish messages")
                        .with_detail("stopped while the broker took nothing"));
                }
            }
        }
        Ok(runs.into_iter().flat_map(|run| run.failed).collect())
    }

    /// Saves a position; what was published is published, so that this is tried until the claim is lost.
    async fn save(
        &mut self,
        claim: &Claim,
        group: &Group,
        failed: &[crate::log::Failed],
    ) -> Result<Position> {
        let mut attempts = 0;
        loop {
            claim.check()?;
            match self.log.save(claim.token, group, failed).await {
                Ok(position) => {
                    self.saved_at = Instant::now();
                    return Ok(position);
                }
                Err(error) if is_lost(&error) => return Err(error),
                Err(error) => {
                    attempts += 1;
                    tracing::debug!(target: "tenantry::outbox", %error, "a position is not saved yet");
                    let wait = Duration::from_millis(20) * (1 << attempts.min(6));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = claim.is_lost() => return Err(lost("save position")),
                    }
                }
            }
        }
    }

    /// Hands runs to the broker, for as long as the claim is held.
    async fn publish(
        &self,
        claim: &Claim,
        operation: &'static str,
        runs: &mut [Run],
    ) -> Result<()> {
        let publishing = publish(
            &*self.publisher,
            &self.metrics,
            runs,
            self.settings.keys_in_flight,
            self.settings.publish_timeout,
        );
        tokio::select! {
            () = publishing => Ok(()),
            () = claim.is_lost() => Err(lost(operation)),
        }
    }

    /// Publishes parked messages whose turn it is; returns whether any has left.
    async fn parked_pass(&mut self, claim: &Claim) -> Result<bool> {
        if Instant::now() < self.parked_at || self.groups.is_empty() {
            return Ok(false);
        }
        claim.check()?;
        let partitions = self.partitions();
        let due = self.log.parked_due(&partitions).await?;
        let mut left = Vec::new();
        let mut failed = Vec::new();
        if !due.is_empty() {
            let mut attempts = HashMap::new();
            let mut blocked = HashSet::new();
            let mut rows = Vec::new();
            for parked in due {
                let message = &parked.row.message;
                let key = (message.tenant(), message.key().to_owned());
                // What stands behind one that is blocked, waits with it.
                if parked.is_blocked || blocked.contains(&key) {
                    blocked.insert(key);
                    continue;
                }
                attempts.insert(parked.row.position, parked.attempts);
                rows.push(parked.row);
            }
            let mut runs = by_key(rows);
            self.publish(claim, "publish parked messages", &mut runs)
                .await?;
            for run in &runs {
                left.extend_from_slice(&run.positions[..run.done]);
                if let Some(error) = &run.stopped
                    && error.kind() != PublishErrorKind::Unavailable
                {
                    let position = run.positions[run.done];
                    let before = attempts.get(&position).copied().unwrap_or_default();
                    let event_type = run.messages[run.done].event_type();
                    let verdict = self.settings.policy.judge(event_type, before + 1, error);
                    failed.push((position, verdict));
                }
            }
            self.log.settle_parked(claim.token, &left, &failed).await?;
        }
        self.parked = self.log.parked_keys(&partitions).await?;
        let any = !left.is_empty() || !failed.is_empty();
        self.parked_at = Instant::now()
            + match (self.parked.is_empty(), any) {
                (true, _) => BETWEEN_LOOKS,
                (false, true) => Duration::ZERO,
                (false, false) => Duration::from_millis(100),
            };
        Ok(!left.is_empty())
    }

    /// Takes parts while there are too few, and gives back those that are too many.
    async fn balance(&mut self, claim: &Claim) -> Result<()> {
        let owned = self.partitions().len();
        let share = claim.share();
        if owned > share {
            return self.give_back(claim, owned - share).await;
        }
        let is_due = self.taken_at.is_none_or(|at| at.elapsed() > BETWEEN_TAKES);
        if owned == share || !is_due {
            return Ok(());
        }
        self.taken_at = Some(Instant::now());
        let mut by_position: HashMap<Position, Vec<i16>> = HashMap::new();
        for (partition, position) in self.log.take(claim.token, share - owned).await? {
            by_position.entry(position).or_default().push(partition);
        }
        if by_position.is_empty() {
            return Ok(());
        }
        let had_none = self.groups.is_empty();
        self.groups
            .extend(by_position.into_iter().map(|(position, partitions)| Group {
                partitions,
                position,
                is_main: false,
            }));
        if had_none {
            self.merge(claim).await?;
        }
        self.parked = self.log.parked_keys(&self.partitions()).await?;
        self.parked_at = Instant::now();
        Ok(())
    }

    async fn give_back(&mut self, claim: &Claim, mut surplus: usize) -> Result<()> {
        while let Some(group) = self.groups.last_mut() {
            let kept = group.partitions.len().saturating_sub(surplus);
            let given = Group {
                partitions: group.partitions[kept..].to_vec(),
                ..group.clone()
            };
            self.log.release(claim.token, &given).await?;
            group.partitions.truncate(kept);
            surplus -= given.partitions.len();
            if kept > 0 || surplus == 0 {
                break;
            }
            self.groups.pop();
        }
        self.groups.retain(|group| !group.partitions.is_empty());
        Ok(())
    }

    /// Makes the groups one where all are equally far: then what is saved is one row.
    async fn merge(&mut self, claim: &Claim) -> Result<()> {
        let [first, others @ ..] = &self.groups[..] else {
            return Ok(());
        };
        let is_aligned = |group: &Group| group.position.is_aligned(&first.position);
        if (others.is_empty() && first.is_main) || !others.iter().all(is_aligned) {
            return Ok(());
        }
        let positions = self.groups.iter().map(|group| &group.position);
        let Some(position) = positions.min_by_key(|position| position.floor()).cloned() else {
            return Ok(());
        };
        let mut merged = Group {
            partitions: self.partitions(),
            position,
            is_main: true,
        };
        merged.position = self.log.merge(claim.token, &merged).await?;
        self.groups = vec![merged];
        Ok(())
    }

    async fn prune(&mut self) {
        if self.pruned_at.elapsed() < BETWEEN_PRUNES {
            return;
        }
        self.pruned_at = Instant::now();
        if !self.partitions().contains(&0) {
            self.metrics.stands(None);
            return;
        }
        if Metrics::IS_ON {
            let status = self.log.status().await;
            self.metrics.stands(status.ok());
        }
        match self.log.prune().await {
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
        let committed = async {
            match &self.settings.committed {
                Some(committed) => committed.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = committed => {}
            () = self.rest(time) => {}
            () = claim.is_lost() => {}
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

fn key_of(run: &Run) -> (TenantId, String) {
    let message = &run.messages[0];
    (message.tenant(), message.key().to_owned())
}

fn stands_still(failed: &crate::log::Failed) -> bool {
    let dead = crate::log::Parked::Dead;
    failed
        .first
        .as_ref()
        .is_none_or(|verdict| verdict.state != dead)
}

fn is_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
}
