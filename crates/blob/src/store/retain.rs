//! What is done to the retention of a blob, and why it is kept.

use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use super::put::receipt;
use super::{TenantBlobs, about};
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::retention::{
    HoldTag, LegalHold, LockMode, RetentionAct, RetentionAction, RetentionState, WhyRetained,
    later, stored,
};

/// How often a change begins anew because another was quicker.
pub(super) const TRIES: usize = 4;
/// How long a reason is.
const REASON: usize = 500;

impl TenantBlobs {
    /// Explains what keeps a blob, and from when on it may be deleted.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn why_retained(&self, name: &BlobName) -> Result<WhyRetained> {
        self.observe("why_retained", async {
            let record = self.record(name).await?;
            let now = self.backend().now();
            Ok(WhyRetained::new(record.name, &record.retention, now))
        })
        .await
    }

    /// Keeps a blob longer, until a moment that is cut to the microsecond.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is kept as long already, or until an event; or
    ///   the ceiling of its class is sooner, or the moment is outside the years 1 to 9999.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    /// - Any of the [audit](crate::RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn extend_retention(
        &self,
        name: &BlobName,
        until: DateTime<Utc>,
        reason: &str,
    ) -> Result<BlobRecord> {
        let extended = |state: &mut RetentionState, _: &str| {
            let until = end(until)?;
            if state.until.is_none_or(|before| until <= before) {
                return Err("it is kept as long already");
            }
            state.until = Some(until);
            Ok(())
        };
        self.change("extend", name, RetentionAction::Extended, reason, extended)
            .await
    }

    /// Keeps a blob less long than was said, until a moment that is cut to the microsecond: an act that
    /// stands in the audit with its actor and reason.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no reason is given, it does not end sooner, or the moment
    ///   is outside the years 1 to 9999.
    /// - [`Retained`](ErrorKind::Retained): its lock is locked, or the floor of its class is later.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    /// - Any of the [audit](crate::RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn shorten_retention(
        &self,
        name: &BlobName,
        until: DateTime<Utc>,
        reason: &str,
    ) -> Result<BlobRecord> {
        let shortened = |state: &mut RetentionState, reason: &str| {
            if reason.is_empty() {
                return Err("say why it is to end sooner");
            }
            let until = end(until)?;
            if state.until.is_some_and(|before| until >= before) {
                return Err("it does not end sooner by that");
            }
            state.until = Some(until);
            Ok(())
        };
        self.change(
            "shorten",
            name,
            RetentionAction::Shortened,
            reason,
            shortened,
        )
        .await
    }

    /// Makes an unlocked lock one that can only be extended from now on, by nobody shortened.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it has no lock.
    /// - [`RetentionNotEnforced`](ErrorKind::RetentionNotEnforced): the service took it and does not
    ///   keep it.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    /// - Any of the [audit](crate::RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn lock_retention(&self, name: &BlobName, reason: &str) -> Result<BlobRecord> {
        let locked = |state: &mut RetentionState, _: &str| {
            if state.lock.is_none() {
                return Err("it has no lock: put it with one");
            }
            state.lock = Some(LockMode::Locked);
            Ok(())
        };
        self.change("lock", name, RetentionAction::Locked, reason, locked)
            .await
    }

    /// Says when the event came until which a blob is kept; from then on the time of its class counts.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it waits for none, or would end outside the years 1 to
    ///   9999.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    /// - Any of the [audit](crate::RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn report_event(
        &self,
        name: &BlobName,
        at: DateTime<Utc>,
        reason: &str,
    ) -> Result<BlobRecord> {
        let reported = |state: &mut RetentionState, _: &str| {
            let (None, Some(then)) = (state.until, state.after_event) else {
                return Err("it waits for no event");
            };
            let until = later(at, then).map_err(|_| "it would end too late")?;
            state.until = Some(end(until)?);
            Ok(())
        };
        let action = RetentionAction::EventReported;
        self.change("report_event", name, action, reason, reported)
            .await
    }

    /// Places a legal hold on a blob: it is kept until that is cleared, whatever else is said of it.
    ///
    /// A hold of the same tag stays as it was placed.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no reason is given, or it has ten holds.
    /// - [`RetentionNotEnforced`](ErrorKind::RetentionNotEnforced): the service took it and does not
    ///   keep it.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    /// - Any of the [audit](crate::RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn place_hold(
        &self,
        name: &BlobName,
        tag: &HoldTag,
        reason: &str,
    ) -> Result<BlobRecord> {
        let hold = LegalHold {
            tag: tag.clone(),
            reason: reason.to_owned(),
            by: self.context.actor().clone(),
            at: self.backend().now(),
        };
        let placed = |state: &mut RetentionState, reason: &str| {
            if reason.is_empty() {
                return Err("say why it is to be held");
            }
            if state.holds.iter().any(|placed| placed.tag == hold.tag) {
                return Ok(());
            }
            // As many as Azure takes.
            if state.holds.len() >= 10 {
                return Err("it has ten legal holds already");
            }
            state.holds.push(hold.clone());
            Ok(())
        };
        self.change(
            "place_hold",
            name,
            RetentionAction::HoldPlaced,
            reason,
            placed,
        )
        .await
    }

    /// Clears a legal hold.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no reason is given, or there is no such hold.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    /// - Any of the [audit](crate::RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn clear_hold(
        &self,
        name: &BlobName,
        tag: &HoldTag,
        reason: &str,
    ) -> Result<BlobRecord> {
        let cleared = |state: &mut RetentionState, reason: &str| {
            if reason.is_empty() {
                return Err("say why it is no longer to be held");
            }
            let before = state.holds.len();
            state.holds.retain(|placed| placed.tag != *tag);
            match state.holds.len() == before {
                true => Err("it has no such legal hold"),
                false => Ok(()),
            }
        };
        self.change(
            "clear_hold",
            name,
            RetentionAction::HoldCleared,
            reason,
            cleared,
        )
        .await
    }

    /// Returns what is done to a blob, for the audit.
    pub(crate) fn act(
        &self,
        record: &BlobRecord,
        action: RetentionAction,
        reason: &str,
        until_after: Option<DateTime<Utc>>,
    ) -> Result<RetentionAct> {
        let is_bad = !is_reason(reason);
        let is_missing = reason.is_empty() && action == RetentionAction::DeletedEarly;
        if is_bad || is_missing {
            return Err(invalid(
                &record.name,
                "expected a reason of up to 500 characters in one line",
            ));
        }
        Ok(RetentionAct {
            name: record.name.clone(),
            action,
            actor: self.context.actor().clone(),
            reason: reason.to_owned(),
            at: self.backend().now(),
            trace: self.context.trace(),
            until_before: record.retention.until,
            until_after,
        })
    }

    async fn change(
        &self,
        operation: &'static str,
        name: &BlobName,
        action: RetentionAction,
        reason: &str,
        next: impl Fn(&mut RetentionState, &str) -> Result<(), &'static str> + Send + Sync,
    ) -> Result<BlobRecord> {
        self.observe(operation, async {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.change_once(name, action, reason, &next).await {
                    Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => {}
                    changed => return changed,
                }
            }
        })
        .await
    }

    async fn change_once(
        &self,
        name: &BlobName,
        action: RetentionAction,
        reason: &str,
        next: &(impl Fn(&mut RetentionState, &str) -> Result<(), &'static str> + Send + Sync),
    ) -> Result<BlobRecord> {
        let record = self.record(name).await?;
        let mut state = record.retention.clone();
        next(&mut state, reason).map_err(|detail| invalid(name, detail))?;
        if state == record.retention {
            return Ok(record);
        }
        let act = self.act(&record, action, reason, state.until)?;
        record
            .retention
            .check_change(&state, act.at, &act)
            .map_err(|error| about(error, name))?;
        self.store.audit.record(&act).await?;
        let changed = self
            .backend()
            .set_retention(name, &record.etag, &state, &act)
            .await?;
        self.check_kept(changed, &state).await
    }

    /// Reads back what the service is to keep from now on.
    async fn check_kept(&self, changed: BlobRecord, asked: &RetentionState) -> Result<BlobRecord> {
        if asked.lock.is_none() && !asked.is_held() {
            return Ok(changed);
        }
        let seen = self.backend().head(&changed.name).await?;
        if asked.lock.is_some() {
            receipt(&seen, asked, self.backend().now())?;
        }
        if asked.is_held() && !seen.retention.is_held() {
            return Err(about(
                Error::new(ErrorKind::RetentionNotEnforced, "read back blob"),
                &seen.name,
            )
            .with_detail("the service took its legal hold and does not keep it"));
        }
        Ok(seen)
    }
}

/// Returns an end as databases keep it: to the microsecond, for rows are compared with their blobs.
fn end(until: DateTime<Utc>) -> Result<DateTime<Utc>, &'static str> {
    stored(until).ok_or("expected an end in the years 1 to 9999")
}

fn invalid(name: &BlobName, detail: &'static str) -> Error {
    about(
        Error::new(ErrorKind::InvalidInput, "change retention"),
        name,
    )
    .with_detail(detail)
}

/// Returns whether a text may be a reason, which stands in a line of an audit.
pub(super) fn is_reason(text: &str) -> bool {
    text.chars().count() <= REASON && !text.chars().any(char::is_control)
}
