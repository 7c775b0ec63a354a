//! What is done to an account that no one undoes easily, by whom and why.

use std::fmt::Debug;

use async_trait::async_trait;
use tenantry_core::{Actor, Error, ErrorKind, Result};

use super::name::StorageAccount;

/// How long a reason is.
const REASON: usize = 500;

/// Who orders something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementOrder {
    pub(super) actor: Actor,
    pub(super) reason: String,
}

impl ManagementOrder {
    /// Returns the order of an actor, for a reason of 1 to 500 characters.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): there is no reason, or a longer one.
    pub fn new(actor: Actor, reason: impl Into<String>) -> Result<Self> {
        let reason = reason.into();
        if reason.trim().is_empty() || reason.chars().count() > REASON {
            return Err(Error::new(ErrorKind::InvalidInput, "order management act")
                .with_detail("expected a reason of 1 to 500 characters"));
        }
        Ok(Self { actor, reason })
    }
}

/// What is done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManagementAction {
    /// A policy of immutability became one that is only extended, for good.
    ImmutabilityLocked,
    /// A locked policy of immutability got a longer time.
    ImmutabilityExtended,
    /// An unlocked policy of immutability was taken off.
    ImmutabilityDeleted,
    /// Legal holds were placed on a container.
    HoldPlaced,
    /// Legal holds were cleared from a container.
    HoldCleared,
    /// A scope of encryption was switched off: all that is under it cannot be read.
    ScopeShredded,
    /// A scope of encryption was switched on again.
    ScopeEnabled,
    /// The rules of the life cycle became others.
    LifecyclePut,
    /// The rules of the life cycle were taken off.
    LifecycleDeleted,
}

impl ManagementAction {
    /// Returns the stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImmutabilityLocked => "immutability_locked",
            Self::ImmutabilityExtended => "immutability_extended",
            Self::ImmutabilityDeleted => "immutability_deleted",
            Self::HoldPlaced => "container_hold_placed",
            Self::HoldCleared => "container_hold_cleared",
            Self::ScopeShredded => "scope_shredded",
            Self::ScopeEnabled => "scope_enabled",
            Self::LifecyclePut => "lifecycle_put",
            Self::LifecycleDeleted => "lifecycle_deleted",
        }
    }
}

/// What is ordered of an account, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagementAct {
    /// The account.
    pub account: StorageAccount,
    /// The container or the scope; empty for the account itself.
    pub subject: String,
    /// What is done.
    pub action: ManagementAction,
    /// Who does it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

/// Hears of every act on an account before it is done.
///
/// # Contract
///
/// An implementer has stored the act when it returns. What it fails with, the act fails with, and nothing
/// is done. An act that was stored may still fail afterwards: it is the record of what was ordered.
#[async_trait]
pub trait ManagementAudit: Send + Sync + Debug {
    /// Stores an act.
    ///
    /// # Errors
    ///
    /// Any: the act is not done.
    async fn record(&self, act: &ManagementAct) -> Result<()>;
}

/// Tells of acts as events of `tracing`, at `INFO`.
#[derive(Debug)]
pub(super) struct TracedAudit;

#[async_trait]
impl ManagementAudit for TracedAudit {
    async fn record(&self, act: &ManagementAct) -> Result<()> {
        tracing::info!(
            target: "tenantry::blob::audit",
            account = act.account.name(),
            subject = act.subject,
            action = act.action.as_str(),
            actor = act.actor.as_str(),
            reason = act.reason,
            "management of a storage account"
        );
        Ok(())
    }
}
