//! The policy of immutability of a container.

use azure_core::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tenantry_core::{ErrorKind, Result};

use super::act::{ManagementAction, ManagementOrder};
use super::container;
use super::name::ContainerName;
use super::refusal::Operation;
use super::{Answered, Call, StorageManagement};
use crate::record::ETag;
use crate::retention::LockMode;

/// The longest time of a policy: 400 years.
const LONGEST: u32 = 146_000;

/// For how long all blobs of a container are kept, from the creation of each.
///
/// In a container whose blobs are locked by themselves it is what they have where a put says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImmutabilityPolicy {
    /// Days from the creation of each blob.
    pub days: u32,
    /// How firmly: an unlocked policy is a trial, and can be taken off.
    pub mode: LockMode,
    /// Whether blobs may still grow.
    pub appends: ProtectedAppends,
    /// Its state, for the next change.
    pub etag: ETag,
}

/// Whether blobs that are kept may still grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectedAppends {
    /// They may not.
    #[default]
    Refused,
    /// Append blobs may.
    AppendBlobs,
    /// Append and block blobs may.
    AllBlobs,
}

/// A policy as the service writes it.
#[derive(Deserialize)]
pub(super) struct Policy {
    etag: Option<String>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    immutability_period_since_creation_in_days: Option<u32>,
    state: Option<String>,
    allow_protected_append_writes: Option<bool>,
    allow_protected_append_writes_all: Option<bool>,
}

impl Policy {
    /// Returns what there is: a time of no days is that of a policy that was taken off.
    pub(super) fn read(self, header: Option<String>) -> Option<ImmutabilityPolicy> {
        let properties = self.properties?;
        let days = properties.immutability_period_since_creation_in_days?;
        let all = properties.allow_protected_append_writes_all == Some(true);
        let some = properties.allow_protected_append_writes == Some(true);
        (days > 0).then(|| ImmutabilityPolicy {
            days,
            mode: match properties.state.as_deref() {
                Some("Locked") => LockMode::Locked,
                _ => LockMode::Unlocked,
            },
            appends: match (all, some) {
                (true, _) => ProtectedAppends::AllBlobs,
                (false, true) => ProtectedAppends::AppendBlobs,
                (false, false) => ProtectedAppends::Refused,
            },
            etag: ETag::new(header.or(self.etag).unwrap_or_default()),
        })
    }
}

fn path(container: &ContainerName) -> String {
    let container = container::path(container);
    format!("{container}/immutabilityPolicies/default")
}

fn body(days: u32, appends: Option<ProtectedAppends>) -> Value {
    let mut properties = json!({ "immutabilityPeriodSinceCreationInDays": days });
    match appends {
        Some(ProtectedAppends::AppendBlobs) => {
            properties["allowProtectedAppendWrites"] = json!(true)
        }
        Some(ProtectedAppends::AllBlobs) => {
            properties["allowProtectedAppendWritesAll"] = json!(true)
        }
        Some(ProtectedAppends::Refused) | None => {}
    }
    json!({ "properties": properties })
}

/// The policy of immutability of a container.
impl StorageManagement {
    /// Returns the policy of a container, if there is one.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), but `NotFound`: also a container that is not there has
    /// none.
    pub async fn immutability(
        &self,
        container: &ContainerName,
    ) -> Result<Option<ImmutabilityPolicy>> {
        let operation = self.reading("read immutability", container.as_str());
        let answer = self.get_optional(&operation, &path(container)).await?;
        let policy: Option<Policy> = answer
            .map(|answer| super::part(&operation, &answer))
            .transpose()?;
        Ok(policy.and_then(|policy| policy.read(None)))
    }

    /// Gives a container a policy that is not locked, or changes it while it is not.
    ///
    /// With an `etag` it is done only if nobody has changed it since.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and [`InvalidInput`](ErrorKind::InvalidInput) where the
    /// days are not 1 to 146,000.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn immutability_put(
        &self,
        container: &ContainerName,
        days: u32,
        appends: ProtectedAppends,
        etag: Option<&ETag>,
    ) -> Result<ImmutabilityPolicy> {
        let operation = self.writing("put immutability", container.as_str());
        check_days(&operation, days)?;
        let path = path(container);
        let mut call = Call::new(Method::Put, &path).with_body(body(days, Some(appends)));
        if let Some(etag) = etag {
            call = call.if_match(etag);
        }
        let answer = self.call(&operation, call).await?;
        shown(&operation, &answer, |policy| policy.days == days)
    }

    /// Locks the policy of a container: **from then on nobody takes it off**, and it can be extended five
    /// times.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), that of the audit, and
    /// [`RetentionNotEnforced`](ErrorKind::RetentionNotEnforced) where the answer shows no lock.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn immutability_lock(
        &self,
        container: &ContainerName,
        etag: &ETag,
        order: &ManagementOrder,
    ) -> Result<ImmutabilityPolicy> {
        let operation = self.writing("lock immutability", container.as_str());
        let action = ManagementAction::ImmutabilityLocked;
        self.order(action, container.as_str(), order).await?;
        let path = format!("{}/lock", path(container));
        let call = Call::new(Method::Post, &path).if_match(etag);
        let answer = self.call(&operation, call).await?;
        shown(&operation, &answer, |policy| {
            policy.mode == LockMode::Locked
        })
    }

    /// Gives a locked policy a longer time, for old and new blobs.
    ///
    /// # Errors
    ///
    /// As [`immutability_lock`](Self::immutability_lock), and [`InvalidInput`](ErrorKind::InvalidInput)
    /// where the days are not 1 to 146,000.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn immutability_extend(
        &self,
        container: &ContainerName,
        days: u32,
        etag: &ETag,
        order: &ManagementOrder,
    ) -> Result<ImmutabilityPolicy> {
        let operation = self.writing("extend immutability", container.as_str());
        check_days(&operation, days)?;
        let action = ManagementAction::ImmutabilityExtended;
        self.order(action, container.as_str(), order).await?;
        let path = format!("{}/extend", path(container));
        let call = Call::new(Method::Post, &path)
            .with_body(body(days, None))
            .if_match(etag);
        let answer = self.call(&operation, call).await?;
        shown(&operation, &answer, |policy| {
            policy.days == days && policy.mode == LockMode::Locked
        })
    }

    /// Takes a policy off that is not locked.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and that of the audit.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not.
    pub async fn immutability_delete(
        &self,
        container: &ContainerName,
        etag: &ETag,
        order: &ManagementOrder,
    ) -> Result<()> {
        let operation = self.writing("delete immutability", container.as_str());
        let action = ManagementAction::ImmutabilityDeleted;
        self.order(action, container.as_str(), order).await?;
        let path = path(container);
        let call = Call::new(Method::Delete, &path).if_match(etag);
        self.call(&operation, call).await.map(drop)
    }
}

fn check_days(operation: &Operation, days: u32) -> Result<()> {
    match (1..=LONGEST).contains(&days) {
        true => Ok(()),
        false => Err(operation.failed(ErrorKind::InvalidInput, "expected 1 to 146,000 days")),
    }
}

/// Returns the policy that was answered, if it is what was asked for.
fn shown(
    operation: &Operation,
    answer: &Answered,
    is_it: impl FnOnce(&ImmutabilityPolicy) -> bool,
) -> Result<ImmutabilityPolicy> {
    let policy: Policy = answer.model(operation)?;
    let header = answer.0.headers();
    let header = header.get_optional_string(&azure_core::http::headers::ETAG);
    policy.read(header).filter(is_it).ok_or_else(|| {
        operation.failed(
            ErrorKind::RetentionNotEnforced,
            "the service took the policy and does not show it",
        )
    })
}
