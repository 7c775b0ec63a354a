//! A worker to which nothing comes.

use std::time::{Duration, Instant};

use tenantry_core::Result;

use super::Drain;
use crate::log::Group;
use crate::partition::PARTITIONS;

/// For how long an idle worker leaves generations to themselves.
const LONGEST_IDLE: Duration = Duration::from_secs(3_600);

/// How often an idle worker looks how the outbox is doing.
const BETWEEN_FIGURES: Duration = Duration::from_secs(300);

impl Drain {
    /// Returns whether there was nothing to do for long, and is not now.
    pub(super) async fn is_idle(&mut self) -> Result<bool> {
        let [group] = &self.groups[..] else {
            return Ok(false);
        };
        if self.awaited_at.elapsed() < self.settings.idle_after {
            return Ok(false);
        }
        let is_awaited = self.log.is_awaited(group).await?;
        if is_awaited {
            self.awaited_at = Instant::now();
        }
        Ok(!is_awaited)
    }

    /// Holds nothing until there is something to do, or generations are to be looked after.
    pub(super) async fn doze(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut told_at = Instant::now();
        self.tell().await;
        // It had one when it became idle. Of all parts: who had the others may be gone.
        let Some(group) = self.groups.first().map(|group| Group {
            partitions: (0..PARTITIONS.cast_signed()).collect(),
            progress: group.progress.clone(),
            is_main: group.is_main,
            turn: 0,
        }) else {
            return Ok(());
        };
        while begun.elapsed() < LONGEST_IDLE && !self.is_stopped() {
            tokio::select! {
                () = self.committed() => {
                    self.awaited_at = Instant::now();
                    break;
                }
                () = self.rest(self.settings.idle_poll) => {}
            }
            if told_at.elapsed() > BETWEEN_FIGURES {
                told_at = Instant::now();
                self.tell().await;
            }
            if !self.is_stopped() && self.log.is_awaited(&group).await? {
                self.awaited_at = Instant::now();
                break;
            }
        }
        Ok(())
    }
}
