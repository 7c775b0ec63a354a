//! What was done to the retention of a blob, by whom and why.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry_core::{Actor, Result, TraceParent};

use crate::name::BlobName;

/// What is done to the retention of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetentionAction {
    /// It ends later, or is kept more firmly.
    Extended,
    /// It ends sooner, or an unlocked lock was taken off.
    Shortened,
    /// Its lock became one that only grows.
    Locked,
    /// Its event came.
    EventReported,
    /// A legal hold was placed.
    HoldPlaced,
    /// A legal hold was cleared.
    HoldCleared,
    /// It ended at once, and the blob was deleted.
    DeletedEarly,
    /// It ended at once, with all that its tenant had.
    Erased,
}

impl RetentionAction {
    /// Returns the stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Extended => "extended",
            Self::Shortened => "shortened",
            Self::Locked => "locked",
            Self::EventReported => "event_reported",
            Self::HoldPlaced => "hold_placed",
            Self::HoldCleared => "hold_cleared",
            Self::DeletedEarly => "deleted_early",
            Self::Erased => "erased",
        }
    }

    /// Returns whether a blob may be deleted before its time by it.
    pub(super) const fn ends_early(self) -> bool {
        matches!(self, Self::DeletedEarly | Self::Erased)
    }

    /// Returns whether a blob that was kept without an end may get one by it.
    pub(super) const fn ends_what_had_no_end(self) -> bool {
        matches!(self, Self::EventReported | Self::Shortened)
    }
}

/// What is done to the retention of a blob, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionAct {
    /// The blob.
    pub name: BlobName,
    /// What is done.
    pub action: RetentionAction,
    /// Who does it.
    #[serde(with = "crate::as_text")]
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Within which trace.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::as_text::optional"
    )]
    pub trace: Option<TraceParent>,
    /// Until when the blob was kept before, if that was known.
    pub until_before: Option<DateTime<Utc>>,
    /// Until when it is kept from then on, if that is known.
    pub until_after: Option<DateTime<Utc>>,
}

/// Hears of every act on the retention of a blob before it is done.
///
/// # Contract
///
/// An implementer has stored the act when it returns. What it fails with, the act fails with, and
/// nothing is done. An act that was stored may still fail afterwards: it is the record of what was
/// ordered.
#[async_trait]
pub trait RetentionAudit: Send + Sync + Debug {
    /// Stores an act.
    ///
    /// # Errors
    ///
    /// Any: the act is not done.
    async fn record(&self, act: &RetentionAct) -> Result<()>;
}

/// Tells of acts as events of `tracing`, at `INFO`.
#[derive(Debug)]
pub(crate) struct TracedAudit;

#[async_trait]
impl RetentionAudit for TracedAudit {
    async fn record(&self, act: &RetentionAct) -> Result<()> {
        tracing::info!(
            target: "tenantry::blob::audit",
            blob = act.name.as_str(),
            tenant.id = %act.name.tenant(),
            action = act.action.as_str(),
            actor = act.actor.as_str(),
            reason = act.reason,
            until_before = act.until_before.map(tracing::field::display),
            until_after = act.until_after.map(tracing::field::display),
            "retention of a blob changed"
        );
        Ok(())
    }
}
