//! What becomes of messages that were read.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::Drain;
use super::doubt::{MANY_KEYS, Refused};
use crate::log::{Chunk, Failed, Parked, Unreadable, Verdict, lost};
use crate::worker::claim::Claim;
use crate::worker::run::{Calls, Run, by_key};
use crate::{PublishError, PublishErrorKind};

/// How often is looked for parked messages that somebody else has put back.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// How many times longer than usual is waited for parked messages at most, where nothing is taken: a publisher may have to
/// connect, or to find out that its connection is dead, and who breaks it off each time lets it begin each time.
const MOST_PATIENCE: u32 = 8;

/// Up to how many parked keys are asked for by name.
const FEW_KEYS: usize = 1_000;

impl Drain {
    /// Publishes the messages of a chunk; returns what goes into the side table.
    pub(super) async fn hand_over(&mut self, claim: &Claim, chunk: Chunk) -> Result<Vec<Failed>> {
        let mut failed = Vec::new();
        for row in chunk.unreadable {
            self.notice_unreadable(&row);
            failed.push(Failed {
                positions: vec![row.position],
                first: Some(Verdict::unreadable(&row)),
            });
            // What stands before it in its key leaves from there as well.
            self.parked.extend(row.key);
            self.parked_at = Instant::now();
        }
        let mut runs = by_key(chunk.rows);
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
            let refused = match self.publish(claim, &mut runs, false).await? == asked {
                true if asked >= MANY_KEYS => Some(self.doubt.refuse()),
                _ => None,
            };
            let again = match refused {
                Some(Refused::Again(failures)) => Some(failures),
                _ => None,
            };
            let is_open = self.doubt.is_open() && refused != Some(Refused::Blamed);
            // Of few that were not answered nobody can tell whether it is they or the broker: they wait aside, without an
            // attempt being used up, and what others have tells.
            let late = |run: &&mut Run| run.is_late && run.stopped.is_some();
            if runs.iter_mut().filter(late).count() < MANY_KEYS {
                runs.iter_mut()
                    .filter(late)
                    .for_each(|run| run.is_silent = true);
            }
            let mut waits = again.is_some();
            for run in &mut runs {
                match run.stopped.as_ref().map(PublishError::kind) {
                    None => {}
                    Some(PublishErrorKind::Unavailable) if !run.is_silent => waits = true,
                    Some(PublishErrorKind::Refused) if again.is_some() => {}
                    Some(kind) => {
                        run.is_silent |= kind == PublishErrorKind::Refused && is_open;
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
                let failures = again.unwrap_or(outages);
                // Whoever is back after hours is not waited for much longer.
                let wait = self.settings.policy.wait(failures.min(4), rand::random());
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
        failed.extend(runs.into_iter().flat_map(|run| run.failed));
        Ok(failed)
    }

    fn notice_unreadable(&self, row: &Unreadable) {
        tracing::warn!(
            target: "tenantry::outbox",
            worker = self.settings.name,
            position = row.position,
            error = %row.error,
            "a message cannot be read: it is given up, and its key stands still"
        );
    }

    /// Hands runs to the broker, for as long as the claim is held; returns how many of them were refused, and none if
    /// anything was taken.
    async fn publish(&mut self, claim: &Claim, runs: &mut [Run], is_aside: bool) -> Result<usize> {
        let done = |runs: &[Run]| runs.iter().map(|run| run.done).sum::<usize>();
        let before = done(runs);
        let calls = Calls {
            publisher: &*self.publisher,
            metrics: &self.metrics,
            settings: &self.settings,
            slice: &self.slice,
            patience: match is_aside {
                true => self.patience_aside,
                false => self.settings.patience,
            },
            others_are_taken: AtomicBool::new(is_aside),
        };
        tokio::select! {
            () = calls.publish(runs) => {}
            () = claim.is_lost() => return Err(lost("publish messages")),
        }
        if done(runs) > before {
            self.doubt.take();
            self.patience_aside = self.settings.patience;
            return Ok(0);
        }
        if is_aside && runs.iter().any(|run| run.is_silent) {
            let most = self.settings.patience.saturating_mul(MOST_PATIENCE);
            self.patience_aside = self.patience_aside.saturating_mul(2).min(most);
        }
        Ok(runs.iter().filter(|run| is_refused(run)).count())
    }

    /// Reads which keys stand still, where others may have set some free: by itself it keeps account of them.
    async fn look_at_parked_keys(&mut self, partitions: &[i16]) -> Result<()> {
        if Instant::now() < self.looked_at {
            return Ok(());
        }
        let begun = Instant::now();
        let longest = self.settings.policy.longest_wait();
        let parked = self.log.parked_keys(partitions, longest).await?;
        self.parked = parked.keys;
        self.knows_parked = parked.are_all;
        // A small part of the time, however many there are.
        self.looked_at = Instant::now() + BETWEEN_LOOKS.max(begun.elapsed() * 20);
        Ok(())
    }

    /// Publishes parked messages whose turn it is; returns whether any has left.
    pub(super) async fn parked_pass(&mut self, claim: &Claim) -> Result<bool> {
        if Instant::now() < self.parked_at || self.groups.is_empty() {
            return Ok(false);
        }
        claim.check()?;
        let partitions = self.partitions();
        self.look_at_parked_keys(&partitions).await?;
        let begun = Instant::now();
        let few = self.knows_parked && self.parked.len() <= FEW_KEYS;
        let keys = few.then_some(&self.parked);
        let due = self.log.parked_due(&partitions, keys).await?;
        let reading = begun.elapsed();
        let mut left = Vec::new();
        let mut failed = Vec::new();
        if !due.rows.is_empty() {
            let mut attempts = HashMap::new();
            let mut blocked = HashSet::new();
            let mut free = Vec::new();
            let mut rows = Vec::new();
            let last = due.rows.last().and_then(|parked| match &parked.row {
                Ok(row) => Some((row.message.tenant(), row.message.key().to_owned())),
                Err(row) => row.key.clone(),
            });
            // Of this one there may be more.
            let cut = last.filter(|_| due.is_cut);
            for parked in due.rows {
                let row = match parked.row {
                    Ok(row) => row,
                    Err(row) => {
                        // Somebody has replayed it.
                        if !parked.is_blocked {
                            self.notice_unreadable(&row);
                            failed.push((row.position, Verdict::unreadable(&row)));
                        }
                        blocked.extend(row.key);
                        continue;
                    }
                };
                let key = (row.message.tenant(), row.message.key().to_owned());
                // What stands behind one that is blocked, waits with it.
                if parked.is_blocked || blocked.contains(&key) {
                    blocked.insert(key);
                    continue;
                }
                attempts.insert(row.position, parked.attempts);
                rows.push(row);
            }
            let mut runs = by_key(rows);
            let refused = self.publish(claim, &mut runs, true).await?;
            let is_blamed = match refused == runs.len() && refused >= MANY_KEYS {
                true => self.doubt.refuse_parked(),
                false => !self.doubt.is_open(),
            };
            for run in &runs {
                left.extend_from_slice(&run.positions[..run.done]);
                let key = key_of(run);
                let is_all = cut.as_ref() != Some(&key) && !blocked.contains(&key);
                let Some(error) = &run.stopped else {
                    if run.is_done() && is_all {
                        free.push(key);
                    }
                    continue;
                };
                let position = run.positions[run.done];
                let before = attempts.get(&position).copied().unwrap_or_default();
                let event_type = run.messages[run.done].event_type();
                let policy = &self.settings.policy;
                let verdict = match error.kind() {
                    _ if run.is_silent || is_refused(run) && !is_blamed => {
                        policy.set_aside(error, run.is_moving)
                    }
                    PublishErrorKind::Unavailable => continue,
                    _ => policy.judge(event_type, before + 1, error),
                };
                if verdict.state != Parked::Dead {
                    self.parked.insert(key);
                } else if run.done + 1 == run.messages.len() && is_all {
                    free.push(key);
                }
                failed.push((position, verdict));
            }
            self.log.settle_parked(claim.token, &left, &failed).await?;
            for key in free {
                self.parked.remove(&key);
            }
        }
        let any = !left.is_empty() || !failed.is_empty();
        // Where much stands there, looking for what is due takes a part of the time only.
        self.parked_at = Instant::now()
            + match (self.parked.is_empty(), any) {
                (true, _) => BETWEEN_LOOKS,
                (false, true) => reading * 3,
                (false, false) => Duration::from_millis(100).max(reading * 10),
            };
        Ok(!left.is_empty())
    }
}

fn key_of(run: &Run) -> (TenantId, String) {
    let message = &run.messages[0];
    (message.tenant(), message.key().to_owned())
}

fn is_refused(run: &Run) -> bool {
    let kind = run.stopped.as_ref().map(PublishError::kind);
    kind == Some(PublishErrorKind::Refused)
}

fn stands_still(failed: &Failed) -> bool {
    failed
        .first
        .as_ref()
        .is_none_or(|verdict| verdict.state != Parked::Dead)
}
