//! Changing what keeps a blob: by the service where it knows of it, and in the metadata.

use std::sync::Arc;

use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientSetImmutabilityPolicyOptions, BlobClientSetMetadataOptions, ImmutabilityPolicyMode,
};
use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use super::document::{Document, Seen, quoted};
use super::retry::Lost;
use super::{Inner, apart, watched};
use crate::backend::shelf;
use crate::name::BlobName;
use crate::record::{BlobEncryption, BlobRecord, ETag};
use crate::retention::{LockMode, RetentionAct, RetentionAction, RetentionState};
use crate::store::about;

/// How often a longer end is set again that another process has made shorter.
const TRIES: usize = 3;

/// Returns the end of a lock as the service keeps it: in whole seconds, and never sooner.
pub(super) fn until(end: DateTime<Utc>) -> Option<OffsetDateTime> {
    let is_between = end.timestamp_subsec_nanos() > 0;
    OffsetDateTime::from_unix_timestamp(end.timestamp() + i64::from(is_between)).ok()
}

pub(super) const fn azure_mode(mode: LockMode) -> ImmutabilityPolicyMode {
    match mode {
        LockMode::Unlocked => ImmutabilityPolicyMode::Unlocked,
        LockMode::Locked => ImmutabilityPolicyMode::Locked,
    }
}

pub(super) async fn set_retention(
    inner: &Arc<Inner>,
    name: &BlobName,
    etag: &ETag,
    next: &RetentionState,
    act: &RetentionAct,
) -> Result<BlobRecord> {
    let (inner, name, etag) = (Arc::clone(inner), name.clone(), etag.clone());
    let (next, act) = (next.clone(), act.clone());
    // Several requests make one change, so nobody may break off between them.
    apart(shelf::RETENTION, &name.clone(), async move {
        let _turn = inner.turn(shelf::RETENTION, &name).await?;
        let seen = inner.look(shelf::RETENTION, &name).await?;
        shelf::with_retention(&seen.record, &etag, &next, &act, &inner.clock)?;
        let change = Change {
            inner: &inner,
            name: &name,
            seen: &seen,
            next: &next,
        };
        change.make().await?;
        let only_grows = act.action != RetentionAction::Shortened;
        change.seen_to(only_grows).await
    })
    .await
}

/// Sets again what was taken off a blob for something that failed, and returns what it failed with.
///
/// What others have set meanwhile stays; nothing is set again of what was `written` all the same.
pub(super) async fn set_again(
    inner: &Inner,
    operation: &'static str,
    (seen, written): (&Seen, Option<&Document>),
    failed: Error,
) -> Error {
    let name = &seen.record.name;
    let (has_policy, is_held) = match inner.look(operation, name).await {
        Ok(now) if written.is_some_and(|written| now.document == *written) => return failed,
        Ok(now) if now.document.upload == seen.document.upload => {
            (now.told.policy.is_some(), now.told.is_held)
        }
        Ok(_) => return failed,
        Err(error) if error.kind() == ErrorKind::NotFound => return failed,
        // Better one time too often.
        Err(_) => (false, false),
    };
    let policy = seen.told.policy.filter(|_| !has_policy);
    let policy = policy.filter(|policy| policy.until > inner.now());
    let set = async {
        if let Some(policy) = policy {
            set_policy(inner, name, (policy.mode, policy.until)).await?;
        }
        if seen.told.is_held && !is_held {
            inner.blob(name).set_legal_hold(true, None).await?;
        }
        Ok::<_, azure_core::Error>(())
    };
    match set.await {
        Ok(()) => failed,
        Err(error) => {
            let left = inner.refused(operation, name, &error);
            about(Error::new(failed.kind(), operation), name)
                .with_detail(
                    "its lock or its hold was taken off, and could not be set again: set it",
                )
                .with_source(left)
        }
    }
}

async fn set_policy(
    inner: &Inner,
    name: &BlobName,
    (mode, end): (LockMode, DateTime<Utc>),
) -> azure_core::Result<()> {
    let Some(end) = until(end) else {
        return Ok(());
    };
    let options = BlobClientSetImmutabilityPolicyOptions {
        immutability_policy_mode: Some(azure_mode(mode)),
        ..BlobClientSetImmutabilityPolicyOptions::default()
    };
    let blob = inner.blob(name);
    let set = blob.set_immutability_policy(&end, Some(options)).await;
    set.map(drop)
}

pub(super) async fn set_encryption(
    inner: &Inner,
    name: &BlobName,
    etag: &ETag,
    next: &BlobEncryption,
) -> Result<BlobRecord> {
    let seen = inner.look(shelf::ENCRYPTION, name).await?;
    shelf::with_encryption(&seen.record, etag, next, &inner.clock)?;
    let document = seen.document.with_encryption(next.clone());
    write(inner, shelf::ENCRYPTION, &seen, &document).await?;
    Ok(inner.look(shelf::ENCRYPTION, name).await?.record)
}

/// Writes what metadata say of a blob, unless others have written since it was seen.
async fn write(
    inner: &Inner,
    operation: &'static str,
    seen: &Seen,
    document: &Document,
) -> Result<()> {
    let metadata = document.write(&seen.record.metadata)?;
    let lost = Lost::default();
    let options = BlobClientSetMetadataOptions {
        if_match: Some(quoted(&seen.told).into()),
        method_options: watched(&lost),
        ..BlobClientSetMetadataOptions::default()
    };
    let name = &seen.record.name;
    let written = inner
        .blob(name)
        .set_metadata(&metadata, Some(options))
        .await;
    match written.map_err(|error| inner.refused(operation, name, &error)) {
        Ok(_) => Ok(()),
        Err(error) if lost.is_set() => match inner.look(operation, name).await {
            // An earlier try of this request has written it.
            Ok(now) if now.document == *document => Ok(()),
            Ok(_) => Err(error),
            Err(now) if now.kind() == ErrorKind::NotFound => Err(now),
            Err(_) => Err(about(Error::new(ErrorKind::CommitUnknown, operation), name)
                .with_detail("the answer was lost: it is done or it is not, so look")
                .with_source(error)),
        },
        Err(error) => Err(error),
    }
}

/// One change of what keeps a blob.
struct Change<'c> {
    inner: &'c Inner,
    name: &'c BlobName,
    seen: &'c Seen,
    next: &'c RetentionState,
}

impl Change<'_> {
    /// What ends goes first and what begins comes last: between them the metadata can be written. Where
    /// that fails, what has ended is set again; where it breaks off, the blob is kept by what was written
    /// up to then.
    async fn make(&self) -> Result<()> {
        if !self.is_writable() {
            self.check_unwritten(&self.seen.record.retention)?;
        }
        let document = self.document();
        if let Err(error) = self.end_and_write(&document).await {
            let written = (document != self.seen.document).then_some(&document);
            let seen = (self.seen, written);
            return Err(match self.ends_lock() || self.ends_hold() {
                true => set_again(self.inner, shelf::RETENTION, seen, error).await,
                false => error,
            });
        }
        if self.changes_lock() {
            self.set_policy().await?;
        }
        if self.begins_hold() {
            self.told(self.inner.blob(self.name).set_legal_hold(true, None).await)?;
        }
        Ok(())
    }

    /// Returns what is to be written. A hold that stands in the metadata already, and is not set yet, is one
    /// that another process sets next: what is written in between keeps its tag and its reason.
    fn document(&self) -> Document {
        let mut retention = self.next.clone();
        if !self.seen.told.is_held && !self.begins_hold() {
            let begun = &self.seen.document.retention.holds;
            retention.holds.clone_from(begun);
        }
        self.seen.document.with_retention(retention)
    }

    async fn end_and_write(&self, document: &Document) -> Result<()> {
        let blob = self.inner.blob(self.name);
        if self.ends_lock() {
            self.told(blob.delete_immutability_policy(None).await)?;
        }
        if self.ends_hold() {
            self.told(blob.set_legal_hold(false, None).await)?;
        }
        // The hold may have been another's by then: a write tells, for it has a condition.
        if self.is_writable() && (self.ends_hold() || *document != self.seen.document) {
            write(self.inner, shelf::RETENTION, self.seen, document).await?;
        }
        Ok(())
    }

    /// Looks at what is kept now. Another process may have set a shorter end from what it had seen before:
    /// the longer one counts, unless it was to become shorter.
    async fn seen_to(&self, only_grows: bool) -> Result<BlobRecord> {
        let mut seen = self.inner.look(shelf::RETENTION, self.name).await?;
        for _ in 0..TRIES {
            let kept = seen.told.policy.map(|policy| policy.until);
            if !(only_grows && self.changes_lock() && kept < self.next.until) {
                break;
            }
            self.set_policy().await?;
            seen = self.inner.look(shelf::RETENTION, self.name).await?;
        }
        self.check_hold(&seen.record.retention)?;
        Ok(seen.record)
    }

    /// Checks whether a hold is this one: of two processes that place one, the later has written its own.
    fn check_hold(&self, kept: &RetentionState) -> Result<()> {
        let is_own = self.next.holds.iter().all(|hold| kept.holds.contains(hold));
        if is_own || !(self.begins_hold() && self.is_writable() && kept.is_held()) {
            return Ok(());
        }
        Err(
            about(Error::new(ErrorKind::Retained, shelf::RETENTION), self.name).with_detail(
                "Azure keeps one legal hold of a blob, and another was placed meanwhile",
            ),
        )
    }

    fn begins_hold(&self) -> bool {
        !self.seen.record.retention.is_held() && self.next.is_held()
    }

    const fn ends_lock(&self) -> bool {
        self.seen.record.retention.lock.is_some() && self.next.lock.is_none()
    }

    fn ends_hold(&self) -> bool {
        self.seen.told.is_held && !self.next.is_held()
    }

    fn changes_lock(&self) -> bool {
        let (before, next) = (&self.seen.record.retention, self.next);
        next.lock.is_some() && (before.lock, before.until) != (next.lock, next.until)
    }

    /// Returns whether the metadata can be written, after what ends has ended.
    fn is_writable(&self) -> bool {
        let told = &self.seen.told;
        (told.policy.is_none() || self.ends_lock()) && (!told.is_held || self.ends_hold())
    }

    /// Checks whether a change is one that the service itself takes, without a word in the metadata.
    fn check_unwritten(&self, before: &RetentionState) -> Result<()> {
        let (next, document) = (self.next, &self.seen.document);
        let other_holds = before.is_held() && next.is_held() && before.holds != next.holds;
        // An end that stands in the metadata counts beside the policy of others.
        let is_of_policy = next.lock.is_some()
            && (document.has_lock() || next.until.is_some_and(|end| document.ends_by(end)));
        let other_end = before.until != next.until && !is_of_policy;
        if !other_holds && !other_end && before.archive_at == next.archive_at {
            return Ok(());
        }
        let detail = match self.seen.told.is_held {
            true => {
                "Azure keeps one legal hold of a blob, and under it nothing else can be written of it: \
                 clear it first, and place it again"
            }
            false => {
                "a policy of immutability of others is on it, under which nothing can be written of it: \
                 have it taken off"
            }
        };
        Err(about(Error::new(ErrorKind::Retained, shelf::RETENTION), self.name).with_detail(detail))
    }

    async fn set_policy(&self) -> Result<()> {
        let (Some(mode), Some(end)) = (self.next.lock, self.next.until) else {
            return Ok(());
        };
        self.told(set_policy(self.inner, self.name, (mode, end)).await)
    }

    fn told<T>(&self, answer: azure_core::Result<T>) -> Result<()> {
        answer
            .map(drop)
            .map_err(|error| self.inner.refused(shelf::RETENTION, self.name, &error))
    }
}
