//! The way of one run through what is due.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::{SweepReport, Sweeper};
use crate::backend::{BackendPage, DueBlob, ListedDue};
use crate::name::BlobName;

/// How many blobs a count of what is left goes through, how many at a time, and for how long.
const COUNTED: u64 = 100_000;
const PAGE: usize = 5_000;
const COUNTS: Duration = Duration::from_secs(10);

/// Where the next run goes on, each with what it begins behind.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// In the lap on which each tenant has its share.
    shares: Option<String>,
    /// In the lap on which what was put off has its turn, if something was.
    rest: Option<Option<String>>,
}

/// One run: on its first lap each tenant has its share, so that the many blobs of one do not hold up those of
/// the others; on its second lap goes what was put off on the first, the longest due first.
pub(super) struct Run<'s> {
    pub(super) sweeper: &'s Sweeper,
    pub(super) report: SweepReport,
    pub(super) place: Place,
    started: Instant,
    does: bool,
    is_stopped: &'s (dyn Fn() -> bool + Send + Sync),
    /// How many blobs of each tenant had their turn on the first lap.
    taken: HashMap<TenantId, u64>,
    /// What had its turn and is still due: it waits for the next run.
    left: HashSet<BlobName>,
}

impl<'s> Run<'s> {
    pub(super) fn new(
        sweeper: &'s Sweeper,
        place: Place,
        does: bool,
        is_stopped: &'s (dyn Fn() -> bool + Send + Sync),
    ) -> Self {
        Self {
            report: SweepReport::new(sweeper.backend.now()),
            sweeper,
            place,
            started: Instant::now(),
            does,
            is_stopped,
            taken: HashMap::new(),
            left: HashSet::new(),
        }
    }

    /// Goes both laps, as far as the policy lets it; tells whether it came to the end.
    pub(super) async fn go(&mut self) -> Result<bool> {
        let mut put_off = None;
        if !self.go_first(&mut put_off).await? {
            self.place.rest = self.place.rest.take().or(put_off);
            return Ok(false);
        }
        // One that an earlier run has begun comes to its end first.
        for start in [self.place.rest.take(), put_off].into_iter().flatten() {
            self.place.rest = self.go_second(start).await?;
            if self.place.rest.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes the first lap; tells whether it came to its end.
    async fn go_first(&mut self, put_off: &mut Option<Option<String>>) -> Result<bool> {
        let mut is_idle = false;
        loop {
            let Some(left) = self.left_to_do() else {
                return Ok(false);
            };
            // Where nobody has a turn, it is passed through quickly.
            let batch = match is_idle {
                true => self.sweeper.policy.batch,
                false => self.sweeper.policy.batch.min(left),
            };
            let start = self.place.shares.take();
            let page = self.due(start.as_deref(), batch).await?;
            let all = page.items.len();
            let mut turns = Vec::new();
            for due in page.items {
                if turns.len() < left && self.has_turn(&due) {
                    turns.push(due);
                }
            }
            if turns.len() < all && put_off.is_none() {
                *put_off = Some(start);
            }
            is_idle = turns.is_empty();
            self.act(turns).await;
            self.place.shares = page.next;
            if self.place.shares.is_none() {
                return Ok(true);
            }
        }
    }

    /// Goes the second lap; returns where it ended before its end.
    async fn go_second(&mut self, mut after: Option<String>) -> Result<Option<Option<String>>> {
        loop {
            let Some(left) = self.left_to_do() else {
                return Ok(Some(after));
            };
            let batch = self.sweeper.policy.batch.min(left);
            let page = self.due(after.as_deref(), batch).await?;
            let mut turns = page.items;
            turns.retain(|due| !self.left.contains(&due.name));
            self.act(turns).await;
            after = page.next;
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    /// Returns how much may still be done: nothing where the run is to end.
    fn left_to_do(&self) -> Option<usize> {
        let policy = &self.sweeper.policy;
        let left = policy.most.saturating_sub(self.report.examined);
        let is_over = left == 0 || self.started.elapsed() >= policy.longest || (self.is_stopped)();
        (!is_over).then(|| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Counts what is due, as far as is worth it, and as long as nobody waits for the end.
    pub(super) async fn count_due(&self) -> Result<u64> {
        let longest = self.started.elapsed() + COUNTS;
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self
                .sweeper
                .page(self.report.at, after.as_deref(), PAGE)
                .await?;
            count += page.items.len() as u64;
            after = page.next;
            let is_over = count >= COUNTED || self.started.elapsed() >= longest;
            if after.is_none() || is_over || (self.is_stopped)() {
                return Ok(count);
            }
        }
    }

    /// Returns a page of what is due; what cannot be read has failed.
    async fn due(&mut self, after: Option<&str>, batch: usize) -> Result<BackendPage<DueBlob>> {
        let at = self.report.at;
        let page = self.sweeper.page(at, after, batch).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for ListedDue { name, due } in page.items {
            match due {
                Ok(due) => items.push(due),
                Err(error) => self.count_unread(name, &error),
            }
        }
        Ok(BackendPage {
            items,
            next: page.next,
        })
    }

    /// Both laps may meet it, and it counts once.
    fn count_unread(&mut self, name: BlobName, error: &Error) {
        if self.left.insert(name.clone()) {
            tracing::warn!(target: "tenantry::blob", %error, blob = %name, "whether a blob is due cannot be read");
            self.report.examined += 1;
            self.report.fail(name, None, error.kind());
        }
    }

    /// Returns whether a blob is within the share of its tenant.
    fn has_turn(&mut self, due: &DueBlob) -> bool {
        let taken = self.taken.entry(due.name.tenant()).or_default();
        let has_turn = *taken < self.sweeper.policy.share;
        *taken += u64::from(has_turn);
        has_turn
    }

    /// Does what is still to be done to blobs that others have changed: once, for what is changed again and
    /// again, or cannot be changed by us, is a failure.
    async fn act_again(&mut self, changed: Vec<DueBlob>) {
        if changed.is_empty() {
            return;
        }
        let mut still = Vec::new();
        for (due, seen) in self.sweeper.look(changed).await {
            match seen {
                Ok(record) => match DueBlob::of(&record, self.report.at) {
                    Some(now) => still.push(now),
                    None => {
                        self.report.skipped += 1;
                        self.left.insert(due.name);
                    }
                },
                Err(error) => self.count(due, Err(error)),
            }
        }
        for (due, outcome) in self.sweeper.act(still).await {
            self.count(due, outcome);
        }
    }

    fn count(&mut self, due: DueBlob, outcome: Result<()>) {
        let is_done = self.does && outcome.is_ok();
        self.report.count(&due, outcome);
        if !is_done {
            self.left.insert(due.name);
        }
    }

    async fn act(&mut self, turns: Vec<DueBlob>) {
        if turns.is_empty() {
            return;
        }
        self.report.examined += turns.len() as u64;
        let oldest = turns.iter().map(|due| due.since).min();
        self.report.oldest_due = self.report.oldest_due.into_iter().chain(oldest).min();
        let outcomes = match self.does {
            true => self.sweeper.act(turns).await,
            false => turns.into_iter().map(|due| (due, Ok(()))).collect(),
        };
        let mut changed = Vec::new();
        for (due, outcome) in outcomes {
            match outcome {
                Err(error) if error.kind() == ErrorKind::Conflict => changed.push(due),
                outcome => self.count(due, outcome),
            }
        }
        self.act_again(changed).await;
        if let Some(progress) = &self.sweeper.progress {
            progress(&self.report);
        }
    }
}
