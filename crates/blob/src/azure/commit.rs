//! The end of a put: all that was sent becomes a blob, if its name is free.

use std::collections::HashMap;
use std::num::NonZero;

use azure_core::http::Etag;
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlockBlobClientCommitBlockListOptions, BlockBlobClientCommitBlockListResultHeaders as _,
    BlockBlobClientUploadOptions, BlockLookupList,
};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tenantry_core::{Error, ErrorKind, Result};
use uuid::Uuid;

use super::checksum::BodyChecksum;
use super::document::{Document, Told, azure_tier, bare};
use super::refusal::{NO_LOCKS, Refusal};
use super::retain::{azure_mode, until};
use super::retry::Lost;
use super::upload::PUT;
use super::{Inner, remove, watched};
use crate::backend::{NewBlob, Seal};
use crate::integrity::Crc64;
use crate::record::{BlobRecord, CLASS_TAG, KIND_TAG};
use crate::store::{about, taken};

/// All that a blob is put with beside its bytes.
pub(super) struct Commit<'c> {
    inner: &'c Inner,
    blob: &'c NewBlob,
    /// Tells it from what another puts under the same name.
    id: Uuid,
    metadata: HashMap<String, String>,
    until: Option<OffsetDateTime>,
    lost: Lost,
}

impl<'c> Commit<'c> {
    pub(super) fn new(inner: &'c Inner, blob: &'c NewBlob, seal: Seal, id: Uuid) -> Result<Self> {
        let end = blob
            .retention
            .until
            .filter(|_| blob.retention.lock.is_some());
        Ok(Self {
            inner,
            blob,
            id,
            metadata: Document::new(blob, seal, id).write(&blob.metadata)?,
            until: end.and_then(until),
            lost: Lost::default(),
        })
    }

    /// Puts a blob by one request.
    pub(super) async fn whole(&self, bytes: Bytes, crc64: Crc64) -> Result<BlobRecord> {
        let answer = match self.send_whole(bytes.clone(), crc64).await {
            Err(error) if self.inner.makes_container(&self.blob.name, &error).await? => {
                self.send_whole(bytes, crc64).await
            }
            answer => answer,
        };
        self.ended(answer).await
    }

    /// Puts a blob of blocks that were sent before.
    pub(super) async fn list(&self, blocks: Vec<Vec<u8>>) -> Result<BlobRecord> {
        let answer = self.send_list(blocks).await;
        self.ended(answer).await
    }

    /// Returns the tags of the blob, and those by which rules find it where they are wanted.
    fn tags(&self) -> Option<String> {
        let blob = &self.blob;
        let (class, kind) = (blob.retention.class.as_str(), blob.name.kind());
        let own = [(CLASS_TAG, class), (KIND_TAG, kind.as_str())];
        let own = own.into_iter().filter(|_| self.inner.settings.tags_classes);
        header(blob.tags.iter().chain(own))
    }

    async fn send_whole(&self, bytes: Bytes, crc64: Crc64) -> azure_core::Result<Option<Etag>> {
        let mut method_options = watched(&self.lost);
        method_options.context.insert(BodyChecksum(crc64));
        let options = BlockBlobClientUploadOptions {
            blob_content_type: Some(self.blob.content_type.as_str().to_owned()),
            blob_tags_string: self.tags(),
            encryption_scope: self.inner.scope(&self.blob.name),
            if_none_match: Some("*".into()),
            immutability_policy_expiry: self.until,
            immutability_policy_mode: self.blob.retention.lock.map(azure_mode),
            legal_hold: self.blob.retention.is_held().then_some(true),
            metadata: Some(self.metadata.clone()),
            method_options,
            partition_size: NonZero::new(u64::MAX),
            tier: Some(azure_tier(self.blob.tier)),
            ..BlockBlobClientUploadOptions::default()
        };
        let client = self.inner.blob(&self.blob.name);
        let answer = client.upload(bytes.into(), Some(options)).await?;
        Ok(answer.etag)
    }

    async fn send_list(&self, blocks: Vec<Vec<u8>>) -> azure_core::Result<Option<Etag>> {
        let list = BlockLookupList {
            latest: Some(blocks),
            ..BlockLookupList::default()
        };
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_type: Some(self.blob.content_type.as_str().to_owned()),
            blob_tags_string: self.tags(),
            encryption_scope: self.inner.scope(&self.blob.name),
            if_none_match: Some("*".into()),
            immutability_policy_expiry: self.until,
            immutability_policy_mode: self.blob.retention.lock.map(azure_mode),
            legal_hold: self.blob.retention.is_held().then_some(true),
            metadata: Some(self.metadata.clone()),
            method_options: watched(&self.lost),
            tier: Some(azure_tier(self.blob.tier)),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        let client = self.inner.blob(&self.blob.name).block_blob_client();
        let answer = client
            .commit_block_list(list.try_into()?, Some(options))
            .await?;
        answer.etag()
    }

    async fn ended(&self, answer: azure_core::Result<Option<Etag>>) -> Result<BlobRecord> {
        let record = match answer {
            Ok(etag) => {
                Told {
                    etag: etag.map(|etag| bare(etag.as_ref())).unwrap_or_default(),
                    content_type: Some(self.blob.content_type.as_str().to_owned()),
                    metadata: self.metadata.clone(),
                    tier: Some(azure_tier(self.blob.tier)),
                    ..Told::default()
                }
                .read(&self.blob.name)?
                .record
            }
            Err(error) => self.look_after(&error).await?,
        };
        let asked = &self.blob.retention;
        match asked.lock.is_some() || asked.is_held() {
            true => self.proven().await,
            false => Ok(record),
        }
    }

    /// Finds out what became of a commit that did not end well.
    async fn look_after(&self, error: &azure_core::Error) -> Result<BlobRecord> {
        let name = &self.blob.name;
        let refusal = Refusal::of(error);
        let is_conflict = matches!(refusal.status(), Some(409 | 412));
        let is_gone = refusal.code() == "InvalidBlockList";
        let told = self.inner.refused(PUT, name, error);
        if !(is_conflict || is_gone || refusal.may_be_done() || self.lost.is_set()) {
            let asks_lock = self.blob.retention.lock.is_some();
            return Err(match told.kind() {
                ErrorKind::Unexpected if asks_lock && refusal.status() == Some(400) => {
                    about(Error::new(ErrorKind::Unsupported, PUT), name)
                        .with_detail(NO_LOCKS)
                        .with_source(told)
                }
                _ => told,
            });
        }
        match self.inner.look(PUT, name).await {
            Ok(seen) if seen.document.upload == self.id => Ok(seen.record),
            Ok(_) => Err(taken(name)),
            Err(seen) if seen.kind() == ErrorKind::Corrupt => Err(taken(name)),
            Err(seen) if seen.kind() == ErrorKind::NotFound && is_gone => {
                Err(about(Error::new(ErrorKind::Unavailable, PUT), name)
                    .with_detail("another put under this name threw its blocks away: put it again")
                    .with_source(told))
            }
            Err(seen) if seen.kind() == ErrorKind::NotFound && is_conflict => Err(told),
            Err(_) => Err(about(Error::new(ErrorKind::CommitUnknown, PUT), name)
                .with_detail("the answer was lost: it is there as a whole or not at all, so look")
                .with_source(told)),
        }
    }

    /// Reads back what the service keeps of a blob that was put with a lock or a hold, and deletes it
    /// where it keeps less than it took.
    async fn proven(&self) -> Result<BlobRecord> {
        let name = &self.blob.name;
        let seen = self.inner.look(PUT, name).await.map_err(|cause| {
            about(Error::new(ErrorKind::CommitUnknown, PUT), name)
                .with_detail("it is there; whether its lock is kept could not be seen, so look")
                .with_source(cause)
        })?;
        let (asked, kept) = (&self.blob.retention, &seen.record.retention);
        let is_locked =
            asked.lock.is_none() || asked.lock == kept.lock && asked.until <= kept.until;
        if is_locked && asked.is_held() <= kept.is_held() {
            return Ok(seen.record);
        }
        let error = about(Error::new(ErrorKind::RetentionNotEnforced, PUT), name);
        Err(match remove::remove(self.inner, name, &seen.told).await {
            Ok(()) => error.with_detail(
                "the service took its lock and does not keep it, so it was deleted again: switch \
                     on immutable storage with versioning",
            ),
            Err(cause) => error
                .with_detail("the service does not keep its lock; the blob is still there")
                .with_source(cause),
        })
    }
}

/// Returns tags as a header has them.
fn header<'t>(tags: impl Iterator<Item = (&'t str, &'t str)>) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = tags
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}
