//! Messages that may end their process: each is handled alone, and that is written down before.
//!
//! The broker counts how often a message was given out, and so also when it only waited, behind another that ended the
//! process or was stopped with it. So its count says which ones to look at, and nothing more: such a message is begun when
//! nothing else is under way, and a mark in the inbox of its tenant stays if the process ends then.

use std::time::Duration;

use tenantry_core::{Error, ErrorKind};

use super::attempt::{Trouble, of_inbox, of_store};
use super::delivery::Delivery;
use super::hands::Hand;
use super::lanes::Shared;
use crate::Message;

/// How often a message is begun alone at most.
const MOST: u32 = 10;

/// For how long a message lets others go first, for each time that it was begun alone.
const COURTESY: Duration = Duration::from_secs(1);

impl Shared {
    /// Returns whether a message was given out so often that it may be what ends the process.
    pub(super) fn may_end_process(&self, delivery: &Delivery) -> bool {
        // One that does so never comes to an attempt that is counted.
        delivery.deliveries > 2 * u64::from(self.settings.attempts)
    }

    /// Waits until nothing else is handled, and marks that a message begins; nothing once it is stopped.
    pub(super) async fn hand_alone(&self, message: &Message) -> Result<Option<Hand>, Trouble> {
        let begun = self.begun(message, false).await?;
        if begun >= self.most_begun() {
            let detail =
                format!("{begun} times it was begun alone, and came to no end in its process");
            let error = Error::new(ErrorKind::Unexpected, "handle message").with_detail(detail);
            return Err(Trouble::Poison("delivered_too_often", error));
        }
        // What has ended no process yet is handled before it may do so again.
        self.rest(COURTESY * begun).await;
        let all = self.hands.all(message.tenant());
        let Some(hands) = self.unless_stopped(all).await else {
            return Ok(None);
        };
        self.begun(message, true).await?;
        Ok(Some(hands))
    }

    /// Returns how often a message was begun alone, and perhaps marks that it is once more.
    async fn begun(&self, message: &Message, is_again: bool) -> Result<u32, Trouble> {
        let work = self.scope_of(message).begin().await.map_err(of_store)?;
        let mut begun = 0;
        while begun < self.most_begun() {
            // No consumer has a name with spaces.
            let mark = format!("{} alone {}", self.settings.name, begun + 1);
            let marking = self.inbox.once(&work, message.id(), &mark);
            if marking.await.map_err(of_inbox)? {
                break;
            }
            begun += 1;
        }
        match is_again {
            true => work.commit().await.map_err(of_store)?,
            // It is over as well if the connection is.
            false => drop(work.rollback().await),
        }
        Ok(begun)
    }

    fn most_begun(&self) -> u32 {
        self.settings.attempts.min(MOST)
    }
}
