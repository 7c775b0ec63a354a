//! What retention lets through: one set of rules for all backends that keep it themselves.

use chrono::{DateTime, SecondsFormat, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use super::act::{RetentionAct, RetentionAction};
use super::explain::{RetainedBy, reasons};
use super::state::{LockMode, RetentionState};

const DELETE: &str = "delete blob";
const CHANGE: &str = "change retention";

impl RetentionState {
    /// Returns whether a legal hold keeps the blob.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Returns whether the storage service keeps the blob at a time, apart from holds.
    #[must_use]
    pub fn is_locked_at(&self, now: DateTime<Utc>) -> bool {
        let is_locked = self.lock.is_some() && self.until.is_none_or(|until| until > now);
        is_locked || self.is_locked_by_others_at(now)
    }

    fn is_locked_by_others_at(&self, now: DateTime<Utc>) -> bool {
        self.locked_by_others.is_some_and(|until| until > now)
    }

    /// Returns whether nothing keeps the blob at a time: from its end on, not before.
    #[must_use]
    pub fn is_over_at(&self, now: DateTime<Utc>) -> bool {
        !self.is_held()
            && !self.is_locked_by_others_at(now)
            && self.until.is_some_and(|until| until <= now)
    }

    /// Checks whether the blob may be deleted: at its end, or before it by an act that shortens its
    /// retention to now.
    ///
    /// # Errors
    ///
    /// - [`Retained`](ErrorKind::Retained): a hold or a lock keeps it, be it of others; or its time has not
    ///   come, and there is no act, or its floor forbids one.
    pub fn check_deletion(&self, now: DateTime<Utc>, act: Option<&RetentionAct>) -> Result<()> {
        if self.is_over_at(now) {
            return Ok(());
        }
        let may_end_now = !self.is_held()
            && self.lock != Some(LockMode::Locked)
            && !self.is_locked_by_others_at(now)
            && self.floor.is_none_or(|floor| floor <= now);
        if act.is_some_and(|act| act.action.ends_early()) && may_end_now {
            return Ok(());
        }
        Err(self.retained(DELETE, now))
    }

    /// Checks whether an act may make another state of this one.
    ///
    /// # Errors
    ///
    /// - [`Retained`](ErrorKind::Retained): it would end a locked lock sooner or take it off, or end
    ///   before the floor, or the act is none that does this.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it would end after the ceiling, change class, floor
    ///   or ceiling, or leave a lock without an end.
    pub fn check_change(&self, next: &Self, now: DateTime<Utc>, act: &RetentionAct) -> Result<()> {
        let invalid = |detail| Err(Error::new(ErrorKind::InvalidInput, CHANGE).with_detail(detail));
        let bounds = |state: &Self| (state.class.clone(), state.floor, state.ceiling);
        if bounds(self) != bounds(next) {
            return invalid("the class, its floor and its ceiling are what the blob was put with");
        }
        if next.lock.is_some() && next.until.is_none() {
            return invalid("a lock without an end: say until when");
        }
        // An event ends what had no end: that is what it is for.
        let (is_sooner, may_be_sooner) = match (self.until, next.until) {
            (Some(before), Some(after)) => {
                (after < before, act.action == RetentionAction::Shortened)
            }
            (None, Some(_)) => (true, act.action.ends_what_had_no_end()),
            (_, None) => (false, false),
        };
        let takes_off = match (self.lock, next.lock) {
            (Some(LockMode::Locked), after) => after != Some(LockMode::Locked),
            (Some(LockMode::Unlocked), None) => {
                self.is_locked_at(now) && act.action != RetentionAction::Shortened
            }
            _ => false,
        };
        let is_locked = self.lock == Some(LockMode::Locked);
        if takes_off || is_sooner && (is_locked || !may_be_sooner) {
            return Err(self.retained(CHANGE, now));
        }
        if self.until != next.until
            && next
                .until
                .is_some_and(|end| next.floor.is_some_and(|floor| end < floor))
        {
            return Err(self.retained(CHANGE, now));
        }
        if self.until != next.until
            && next
                .until
                .is_some_and(|end| next.ceiling.is_some_and(|ceiling| end > ceiling))
        {
            return invalid("it would end after the ceiling of its class: place a legal hold");
        }
        let clears = self.holds.iter().any(|hold| !next.holds.contains(hold));
        if clears && act.action != RetentionAction::HoldCleared {
            return Err(self.retained(CHANGE, now));
        }
        Ok(())
    }

    fn retained(&self, operation: &'static str, now: DateTime<Utc>) -> Error {
        let kept_by: Vec<_> = reasons(self, now)
            .iter()
            .map(RetainedBy::in_short)
            .collect();
        let detail = match kept_by.is_empty() {
            false => kept_by.join("; "),
            true => "a locked retention only becomes longer".to_owned(),
        };
        Error::new(ErrorKind::Retained, operation).with_detail(detail)
    }
}

pub(super) fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
