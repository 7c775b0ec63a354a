//! How far a worker reads at a time, and for whom.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tenantry_core::Result;

use super::Drain;
use super::shares::{HEAVY, heavy_of, parts_of, split_off};
use super::turns::Turns;
use crate::log::{Chunk, Lane, Passed, Position, Progress, Row, Share};
use crate::partition::PARTITIONS;
use crate::worker::claim::Claim;

/// How many times as many positions as a chunk has rows are looked at, where most may be of other lanes; and how many of
/// them at most, unless a chunk has more, where nothing is found, for there may be a gap of any width: lanes wait as long.
const WINDOW: i64 = 10;
const WIDEST: i64 = 10_000;

/// For how long after a message of the others lanes have a part of each round only, an eighth; and how often at most between
/// two looks at them.
const BUSY: Duration = Duration::from_millis(100);
const BESIDE_OTHERS: usize = 8;

/// For how long one group is read before the others have their turn, and other workers theirs to get parts.
const IN_A_ROUND: Duration = Duration::from_millis(500);

/// How many rows a lane has a turn, on average at least: where there are many, they take turns over several rounds, for each
/// is a query.
const IN_TURN: usize = 32;

/// How many positions count as a row that is handed over, for most of them may be of others; and through how many a lane is
/// looked for in a turn, at least and at most, by the rows that are its part.
const LIKE_A_ROW: i64 = 16;
const LEAST_WINDOW: i64 = 4_000;
const LANE_WINDOW: i64 = 16_000;

/// Through how many positions is looked at once for all lanes at most, where one has found nothing.
const FAR: i64 = 256_000;

/// What was read and handed over of one share.
struct Step {
    /// Whether anything was there.
    is_any: bool,
    /// Whether all is done up to the snapshot.
    is_all: bool,
    passed: Passed,
}

impl Drain {
    /// Hands over what is new to a group, up to the snapshot `upto` or one that is taken now, and a part of what its
    /// lanes have, for as long as it has its turn; returns whether there may be more.
    pub(super) async fn finish(
        &mut self,
        claim: &Claim,
        index: usize,
        upto: &mut Option<(String, i64)>,
    ) -> Result<bool> {
        let begun = Instant::now();
        let mut any = false;
        loop {
            let at = Instant::now();
            let Step { is_any, is_all, .. } = self.step_of_rest(claim, index, upto).await?;
            any |= is_any;
            if is_any || is_all {
                self.turns = Turns::default();
                any |= self.serve_lanes(claim, index).await?;
            } else if self.is_busy() {
                // A window in which nobody else has anything, where some are: lanes have no part of it.
                if self.served_at.elapsed() >= BUSY {
                    any |= self.serve_lanes(claim, index).await?;
                }
            } else {
                self.turns.searched(at.elapsed());
                any |= self.serve_beside_search(claim, index).await?;
            }
            if is_all || self.is_stopped() {
                return Ok(any);
            }
            any |= self.parked_pass(claim).await?;
            if begun.elapsed() >= IN_A_ROUND {
                return Ok(true);
            }
        }
    }

    /// Returns whether tenants without a lane have messages now.
    fn is_busy(&self) -> bool {
        self.rest_came_at.is_some_and(|at| at.elapsed() < BUSY)
    }

    /// Hands over what lanes have, for as long as was looked for messages of others and none were found.
    async fn serve_beside_search(&mut self, claim: &Claim, index: usize) -> Result<bool> {
        let mut any = false;
        while self.turns.is_of_lanes() && !self.is_stopped() {
            let begun = Instant::now();
            if !self.serve_lanes(claim, index).await? {
                break;
            }
            any = true;
            self.turns.served(begun.elapsed());
        }
        Ok(any)
    }

    /// Hands over a chunk of the tenants that have no lane.
    async fn step_of_rest(
        &mut self,
        claim: &Claim,
        index: usize,
        upto: &mut Option<(String, i64)>,
    ) -> Result<Step> {
        let mut next = self.groups[index].clone();
        let share = next.progress.share_of_rest();
        if let Some((snapshot, highest)) = upto {
            next.progress.rest.open(snapshot, Some(*highest));
        }
        let position = &mut next.progress.rest;
        let batch = self.reads;
        let end = end_of(position, batch, self.widening);
        let chunk = self
            .log
            .read(
                claim.token,
                &next.partitions,
                (&share, position),
                end,
                batch,
            )
            .await?;
        self.notice_room(&chunk, batch);
        if position.is_closed()
            && let Some(snapshot) = &chunk.snapshot
        {
            position.open(snapshot, Some(chunk.highest));
            *upto = Some((snapshot.clone(), chunk.highest));
        }
        self.widening = match chunk.len() {
            0 => self.widening.saturating_mul(2),
            _ => 1,
        };
        let is_full = chunk.is_cut || chunk.len() >= batch;
        // In a batch of few everybody would have a good part, and each lane is a query a round.
        let heavy = match is_full && self.settings.batch >= HEAVY {
            true => heavy_of(&chunk.rows, (batch / HEAVY).max(2)),
            false => Vec::new(),
        };
        let is_of_others = |row: &Row| !heavy.contains(&row.message.tenant());
        let mut is_quiet = !chunk.rows.iter().any(is_of_others);
        let mut step = self.pass(claim, chunk, position, end, is_full).await?;
        // Whoever has all of it gets a lane for all that comes.
        is_quiet &= !step.is_all && self.give_lanes(&mut next.progress, heavy);
        if step.is_any {
            if !is_quiet {
                self.rest_came_at = Some(Instant::now());
            }
            let passed = std::mem::take(&mut step.passed);
            next.progress = self.save(claim, &next, &passed).await?;
        }
        self.groups[index] = next;
        Ok(step)
    }

    /// Hands over a part of what each lane has; returns whether there may be more.
    async fn serve_lanes(&mut self, claim: &Claim, index: usize) -> Result<bool> {
        if self.groups[index].progress.lanes.is_empty() {
            return Ok(false);
        }
        let mut next = self.groups[index].clone();
        let rows = match (self.is_busy(), next.progress.rest.is_closed()) {
            (true, _) => (self.reads / BESIDE_OTHERS).max(1),
            // Somebody may wait in what was not looked through.
            (false, false) => self.turns.rows(self.reads),
            (false, true) => self.reads,
        };
        let count = next.progress.lanes.len();
        let parts = parts_of(
            rows.max(count * IN_TURN),
            next.progress.lanes.iter().map(|lane| self.weight_of(lane)),
        );
        let Progress { rest, lanes } = &mut next.progress;
        let (mut spent, mut served) = (0, 0);
        let mut any = false;
        let mut passed = Passed::default();
        let mut split = Vec::new();
        let mut found_nothing: Option<i64> = None;
        while served < count && spent < rows {
            let at = (next.turn + served) % count;
            served += 1;
            let (lane, limit) = (&mut lanes[at], parts[at].min(self.reads));
            let share = Share {
                tenants: lane.tenants.clone(),
                is_theirs: true,
            };
            // It follows the others, so that it is abreast of them when it is done.
            lane.position.follow(rest);
            // Who has few rows in it is not to be as slow as who has many.
            let window = window_of(limit, next.partitions.len());
            let end = lane.position.done().saturating_add(window);
            let of_share = (&share, &lane.position);
            let chunk = self
                .log
                .read(claim.token, &next.partitions, of_share, end, limit)
                .await?;
            self.notice_room(&chunk, limit);
            let is_full = chunk.is_cut || chunk.len() >= limit;
            spent += match is_full {
                true => limit,
                false => limit.max(looked_through(&lane.position, end)),
            };
            if is_full && lane.tenants.len() > 1 {
                split.extend(heavy_of(&chunk.rows, limit / 2 + 1));
            }
            let step = self
                .pass(claim, chunk, &mut lane.position, end, is_full)
                .await?;
            any |= step.is_any || !step.is_all;
            if !step.is_any && !step.is_all {
                let done = lane.position.done();
                found_nothing = Some(found_nothing.map_or(done, |before| before.min(done)));
            }
            passed.positions.extend(step.passed.positions);
            passed.failed.extend(step.passed.failed);
        }
        // The others have their turn when the rest had its own.
        any |= served < count;
        next.turn = (next.turn + served) % count;
        for tenant in split {
            split_off(lanes, tenant);
        }
        if any {
            next.progress = self.save(claim, &next, &passed).await?;
        }
        if next.progress.join_lanes() {
            // What a lane has done is saved while it is one.
            next.progress = self.save(claim, &next, &Passed::default()).await?;
        }
        self.groups[index] = next;
        if let Some(from) = found_nothing {
            self.pass_gaps(from).await?;
        }
        self.served_at = Instant::now();
        Ok(any)
    }

    /// Moves all lanes over positions behind `from` that are of others, by one look for as many positions as they all look
    /// through in a turn: where groups have many of them, each would look through all on its own.
    async fn pass_gaps(&mut self, from: i64) -> Result<()> {
        let (mut tenants, mut top, mut count) = (HashSet::new(), from, 0);
        for lane in self.groups.iter().flat_map(|group| &group.progress.lanes) {
            if let Some(end) = far_end(lane, from) {
                tenants.extend(lane.tenants.iter().copied());
                top = top.max(end);
                count += 1;
            }
        }
        if count < 2 {
            return Ok(());
        }
        let far = LANE_WINDOW.saturating_mul(count).min(FAR);
        let end = from.saturating_add(far).min(top);
        // What a lane is to read was committed before this look, which sees it.
        let tenants = tenants.into_iter().collect();
        let firsts = self.log.firsts(tenants, from, end).await?;
        let groups = self.groups.iter_mut();
        for lane in groups.flat_map(|group| &mut group.progress.lanes) {
            let Some(top) = far_end(lane, from) else {
                continue;
            };
            let first = lane.tenants.iter().filter_map(|it| firsts.get(it)).min();
            let free = first.map_or(end, |first| first - 1).min(top);
            if free > lane.position.done() {
                lane.position.advance(free);
            }
        }
        Ok(())
    }

    /// Has fewer rows read the next time where they have no room, and more where they have.
    fn notice_room(&mut self, chunk: &Chunk, limit: usize) {
        if chunk.is_cut {
            self.reads = chunk.len().max(1);
        } else if chunk.len() >= limit {
            self.reads = self.reads.saturating_mul(2).min(self.settings.batch);
        }
    }

    /// Hands over rows that were looked for up to `end`, and moves the position over them; there may be more up to there
    /// where the chunk is full.
    async fn pass(
        &mut self,
        claim: &Claim,
        chunk: Chunk,
        position: &mut Position,
        end: i64,
        is_full: bool,
    ) -> Result<Step> {
        let last = chunk.last();
        let is_all = !is_full && end >= position.top().unwrap_or(chunk.highest);
        let mut passed = Passed::default();
        if let Some(last) = last {
            passed.positions = chunk.positions();
            passed.failed = self.hand_over(claim, chunk).await?;
            position.advance(last);
        }
        if is_all {
            position.close();
        } else if !is_full {
            position.advance(end);
        }
        Ok(Step {
            is_any: last.is_some(),
            is_all,
            passed,
        })
    }
}

/// Returns up to where a lane is read, where it is being read behind `from`, and has read what stands below its floor: late
/// ones, which nobody finds by a position.
fn far_end(lane: &Lane, from: i64) -> Option<i64> {
    let position = &lane.position;
    let is_behind = position.cursor() >= position.floor() && position.done() >= from;
    position
        .top()
        .filter(|_| is_behind && !position.is_closed())
}

/// Returns through how many positions is looked for so many rows of a lane, which are in so many of the parts.
fn window_of(rows: usize, parts: usize) -> i64 {
    let of_all = rows.saturating_mul(usize::from(PARTITIONS)) / parts.max(1);
    let of_all = i64::try_from(of_all).unwrap_or(i64::MAX);
    let positions = of_all.saturating_mul(LIKE_A_ROW);
    positions.clamp(LEAST_WINDOW, LANE_WINDOW)
}

/// Returns as how many rows it counts to look for some up to a position.
fn looked_through(position: &Position, end: i64) -> usize {
    let end = end.min(position.top().unwrap_or(end));
    let looked = end.saturating_sub(position.done()).clamp(0, LANE_WINDOW);
    usize::try_from(looked / LIKE_A_ROW).unwrap_or(0)
}

/// Returns up to where is looked for rows. There is always an end: where most rows are of others, or where the server
/// reckons so, all of them would be looked through.
fn end_of(position: &Position, rows: usize, widening: i64) -> i64 {
    let window = i64::try_from(rows.max(200)).unwrap_or(i64::MAX);
    let window = window.saturating_mul(WINDOW);
    let wide = window.saturating_mul(widening).min(WIDEST).max(window);
    position.done().saturating_add(wide)
}

#[cfg(test)]
mod tests {
    use tenantry_core::TenantId;

    use super::*;

    fn lane(position: &str) -> Lane {
        Lane {
            tenants: vec![TenantId::from_u128(1).unwrap()],
            position: position.parse().unwrap(),
        }
    }

    #[test]
    fn no_lane_passes_what_only_a_snapshot_tells_of() {
        let reading = lane("700:700:|740:748:|50|40|?|90");
        assert_eq!(far_end(&reading, 50), Some(90));
        assert_eq!(far_end(&reading, 51), None, "it is not there yet");
        let below_floor = lane("700:700:|740:748:|30|40|?|90");
        assert_eq!(far_end(&below_floor, 0), None);
        let without_top = lane("700:700:|740:748:|50|40|?|");
        assert_eq!(far_end(&without_top, 0), None);
        assert_eq!(far_end(&lane("740:748:||0|90|?|90"), 0), None);
    }

    #[test]
    fn to_look_through_little_counts_little() {
        let position = lane("700:700:|740:748:|50|40|?|90").position;
        assert_eq!(looked_through(&position, 16_050), 2);
        let position = lane("700:700:|740:748:|50|40|?|90000").position;
        assert_eq!(looked_through(&position, 16_050), 1_000);
        assert_eq!(window_of(250, 64), 4_000);
        assert_eq!(window_of(500, 64), 8_000);
        assert_eq!(window_of(250, 16), 16_000);
    }
}
