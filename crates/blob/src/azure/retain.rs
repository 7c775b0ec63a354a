//! Changing what keeps a blob: by the service where it knows of it, and in the metadata.

use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientSetImmutabilityPolicyOptions, BlobClientSetMetadataOptions, ImmutabilityPolicyMode,
};
use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use super::Inner;
use super::document::{Document, Seen, quoted};
use crate::backend::shelf;
use crate::name::BlobName;
use crate::record::{BlobEncryption, BlobRecord, ETag};
use crate::retention::{LockMode, RetentionAct, RetentionState};
use crate::store::about;

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
    inner: &Inner,
    name: &BlobName,
    etag: &ETag,
    next: &RetentionState,
    act: &RetentionAct,
) -> Result<BlobRecord> {
    let seen = inner.look(shelf::RETENTION, name).await?;
    shelf::with_retention(&seen.record, etag, next, act, &inner.clock)?;
    let change = Change {
        inner,
        name,
        seen: &seen,
        next,
    };
    change.make().await?;
    Ok(inner.look(shelf::RETENTION, name).await?.record)
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
    let options = BlobClientSetMetadataOptions {
        if_match: Some(quoted(&seen.told).into()),
        ..BlobClientSetMetadataOptions::default()
    };
    let name = &seen.record.name;
    let written = inner
        .blob(name)
        .set_metadata(&metadata, Some(options))
        .await;
    written
        .map(drop)
        .map_err(|error| inner.refused(operation, name, &error))
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
    /// it breaks off, the blob is kept by what was written up to then.
    async fn make(&self) -> Result<()> {
        let (before, next) = (&self.seen.record.retention, self.next);
        let ends_lock = before.lock.is_some() && next.lock.is_none();
        let ends_hold = before.is_held() && !next.is_held();
        let begins_hold = !before.is_held() && next.is_held();
        let changes_lock =
            next.lock.is_some() && (before.lock, before.until) != (next.lock, next.until);
        let is_writable = (before.lock.is_none() || ends_lock) && (!before.is_held() || ends_hold);
        let document = self.seen.document.with_retention(next.clone());
        if !is_writable {
            self.check_unwritten(before)?;
        }
        if ends_lock {
            self.told(
                self.inner
                    .blob(self.name)
                    .delete_immutability_policy(None)
                    .await,
            )?;
        }
        if ends_hold {
            self.told(self.inner.blob(self.name).set_legal_hold(false, None).await)?;
        }
        if is_writable && document != self.seen.document {
            write(self.inner, shelf::RETENTION, self.seen, &document).await?;
        }
        if changes_lock {
            self.set_policy().await?;
        }
        if begins_hold {
            self.told(self.inner.blob(self.name).set_legal_hold(true, None).await)?;
        }
        Ok(())
    }

    /// Checks whether a change is one that the service itself takes, without a word in the metadata.
    fn check_unwritten(&self, before: &RetentionState) -> Result<()> {
        let next = self.next;
        let other_holds = before.is_held() && next.is_held() && before.holds != next.holds;
        let other_end = next.lock.is_none() && before.until != next.until;
        if !other_holds && !other_end && before.archive_at == next.archive_at {
            return Ok(());
        }
        Err(about(Error::new(ErrorKind::Retained, shelf::RETENTION), self.name).with_detail(
            "Azure keeps one legal hold of a blob, and under it nothing else can be written of it: \
             clear it first, and place it again",
        ))
    }

    async fn set_policy(&self) -> Result<()> {
        let (Some(mode), Some(end)) = (self.next.lock, self.next.until.and_then(until)) else {
            return Ok(());
        };
        let options = BlobClientSetImmutabilityPolicyOptions {
            immutability_policy_mode: Some(azure_mode(mode)),
            ..BlobClientSetImmutabilityPolicyOptions::default()
        };
        let blob = self.inner.blob(self.name);
        self.told(blob.set_immutability_policy(&end, Some(options)).await)
    }

    fn told<T>(&self, answer: azure_core::Result<T>) -> Result<()> {
        answer
            .map(drop)
            .map_err(|error| self.inner.refused(shelf::RETENTION, self.name, &error))
    }
}
