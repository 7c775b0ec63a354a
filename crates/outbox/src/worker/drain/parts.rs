//! Which parts of the keys a worker has.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use tenantry_core::{ErrorKind, Result};

use super::Drain;
use crate::log::{Group, Progress, lost};
use crate::worker::claim::Claim;

/// How often is looked for parts that nobody has, while there should be some.
const BETWEEN_TAKES: Duration = Duration::from_millis(200);

impl Drain {
    /// Takes parts while there are too few, and gives back those that are too many.
    pub(super) async fn balance(&mut self, claim: &Claim) -> Result<()> {
        let has = self.partitions();
        let owned = has.len();
        let share = claim.share();
        if owned > share {
            return self.give_back(claim, owned - share).await;
        }
        let is_due = self.taken_at.is_none_or(|at| at.elapsed() > BETWEEN_TAKES);
        if owned == share || !is_due {
            return Ok(());
        }
        self.taken_at = Some(Instant::now());
        let mut equally_far: HashMap<Progress, Vec<i16>> = HashMap::new();
        for (partition, progress) in self.log.take(claim.token, &has, share - owned).await? {
            equally_far.entry(progress).or_default().push(partition);
        }
        if equally_far.is_empty() {
            return Ok(());
        }
        let had_none = self.groups.is_empty();
        self.groups
            .extend(equally_far.into_iter().map(|(progress, partitions)| Group {
                partitions,
                progress,
                is_main: false,
                turn: 0,
            }));
        // Before anything of them is handed over.
        (self.looked_at, self.parked_at) = (Instant::now(), Instant::now());
        if had_none {
            self.merge(claim).await?;
        }
        Ok(())
    }

    async fn give_back(&mut self, claim: &Claim, mut surplus: usize) -> Result<()> {
        // Whole ones first, the largest that are not too large: what is cut in two is one again only where both are equally far.
        let is_too_large = |group: &Group| group.partitions.len() > surplus;
        let parts = |group: &Group| group.partitions.len();
        self.groups
            .sort_by_key(|group| (Reverse(is_too_large(group)), parts(group)));
        while let Some(group) = self.groups.last_mut() {
            let kept = group.partitions.len().saturating_sub(surplus);
            let given = Group {
                partitions: group.partitions[kept..].to_vec(),
                ..group.clone()
            };
            // Where nobody knows whether they are free, another may have them: it begins anew.
            let released = self.log.release(claim.token, &given).await;
            released.map_err(|error| match error.kind() {
                ErrorKind::CommitUnknown => lost("release partitions"),
                _ => error,
            })?;
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
    pub(super) async fn merge(&mut self, claim: &Claim) -> Result<()> {
        let [first, others @ ..] = &self.groups[..] else {
            return Ok(());
        };
        // With lanes it is one with itself alone.
        let is_aligned = |group: &Group| {
            let (progress, first) = (&group.progress, &first.progress);
            progress == first
                || (progress.lanes.is_empty()
                    && first.lanes.is_empty()
                    && progress.rest.is_aligned(&first.rest))
        };
        if (others.is_empty() && first.is_main) || !others.iter().all(is_aligned) {
            return Ok(());
        }
        let progress = self.groups.iter().map(|group| &group.progress);
        let Some(progress) = progress.min_by_key(|it| it.rest.floor()).cloned() else {
            return Ok(());
        };
        let mut merged = Group {
            partitions: self.partitions(),
            progress,
            is_main: true,
            turn: 0,
        };
        merged.progress = self.log.merge(claim.token, &merged).await?;
        self.groups = vec![merged];
        Ok(())
    }
}
