//! Putting blobs: blocks of which several are on their way at a time, and a list of them at the end.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::Etag;
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobContainerClientCreateOptions, BlockBlobClientCommitBlockListOptions,
    BlockBlobClientCommitBlockListResultHeaders as _, BlockBlobClientStageBlockOptions,
    BlockBlobClientUploadOptions, BlockLookupList,
};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::checksum::{BodyChecksum, written};
use super::document::{Document, Told, azure_tier, bare};
use super::refusal::{NO_LOCKS, Refusal};
use super::retain::{azure_mode, until};
use super::retry::Lost;
use super::{BLOCKS, Inner, remove, watched};
use crate::backend::{BlobUpload, NewBlob, Seal};
use crate::integrity::{Block, Crc64};
use crate::name::BlobName;
use crate::record::{BlobRecord, Tags};
use crate::store::{about, taken};

const PUT: &str = "put blob";
/// How many bytes are on their way at a time: four blocks of the usual length.
const ON_THE_WAY: usize = 16 * 1024 * 1024;

/// A blob on its way to the account.
///
/// Blocks that were sent and are on no list are thrown away by the service after a week, or when a blob
/// of the name is put.
pub(super) struct Upload {
    inner: Arc<Inner>,
    blob: NewBlob,
    block: usize,
    /// Tells its blocks, and what became of it, from those of others under the same name.
    id: Uuid,
    /// The first block, for as long as it may be the only one: a blob of one block is one request.
    first: Option<Block>,
    on_the_way: JoinSet<Result<()>>,
    sent: u32,
    is_checked: bool,
}

impl Upload {
    pub(super) fn new(inner: Arc<Inner>, blob: NewBlob, block: usize) -> Self {
        Self {
            inner,
            blob,
            block,
            id: Uuid::new_v4(),
            first: None,
            on_the_way: JoinSet::new(),
            sent: 0,
            is_checked: false,
        }
    }

    /// Looks whether the name is taken, where many bytes would be sent in vain.
    pub(super) async fn check_early(&self) -> Result<()> {
        match self.is_long() {
            true => self.check().await,
            false => Ok(()),
        }
    }

    fn is_long(&self) -> bool {
        let block = u64::try_from(self.block).unwrap_or(u64::MAX);
        self.blob.length.is_some_and(|length| length > block)
    }

    async fn check(&self) -> Result<()> {
        match self.inner.look(PUT, &self.blob.name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
            Ok(_) | Err(_) => Err(taken(&self.blob.name)),
        }
    }

    async fn send(&mut self, block: Block) -> Result<()> {
        if u64::from(self.sent) == BLOCKS {
            return Err(Error::new(ErrorKind::InvalidInput, PUT)
                .with_detail("a blob of more than 195 GiB is put with its length said before"));
        }
        while self.on_the_way.len() >= (ON_THE_WAY / self.block).max(1) {
            self.arrived().await?;
        }
        let (inner, name) = (Arc::clone(&self.inner), self.blob.name.clone());
        let id = self.block_id(self.sent);
        self.sent += 1;
        self.on_the_way
            .spawn(async move { stage(&inner, &name, &id, block).await });
        Ok(())
    }

    /// Waits for a block that is on its way, if one is.
    async fn arrived(&mut self) -> Result<()> {
        match self.on_the_way.join_next().await {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(cause)) => Err(Error::new(ErrorKind::Unavailable, PUT)
                .with_detail("the runtime shuts down")
                .with_source(cause)),
        }
    }

    /// All ids of the blocks of a blob have one length.
    fn block_id(&self, number: u32) -> Vec<u8> {
        [&self.id.as_bytes()[..], &number.to_be_bytes()].concat()
    }

    async fn put_whole(
        &self,
        bytes: Bytes,
        made: &Made,
        lost: &Lost,
    ) -> azure_core::Result<Option<Etag>> {
        let mut method_options = watched(lost);
        method_options.context.insert(BodyChecksum(made.crc64));
        let options = BlockBlobClientUploadOptions {
            blob_content_type: Some(self.blob.content_type.as_str().to_owned()),
            blob_tags_string: tags(&self.blob.tags),
            encryption_scope: self.inner.scope(&self.blob.name),
            if_none_match: Some("*".into()),
            immutability_policy_expiry: made.until,
            immutability_policy_mode: self.blob.retention.lock.map(azure_mode),
            legal_hold: self.blob.retention.is_held().then_some(true),
            metadata: Some(made.metadata.clone()),
            method_options,
            partition_size: NonZero::new(u64::MAX),
            tier: Some(azure_tier(self.blob.tier)),
            ..BlockBlobClientUploadOptions::default()
        };
        let blob = self.inner.blob(&self.blob.name);
        let answer = blob.upload(bytes.into(), Some(options)).await?;
        Ok(answer.etag)
    }

    async fn put_list(&self, made: &Made, lost: &Lost) -> azure_core::Result<Option<Etag>> {
        let list = BlockLookupList {
            latest: Some((0..self.sent).map(|number| self.block_id(number)).collect()),
            ..BlockLookupList::default()
        };
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_type: Some(self.blob.content_type.as_str().to_owned()),
            blob_tags_string: tags(&self.blob.tags),
            encryption_scope: self.inner.scope(&self.blob.name),
            if_none_match: Some("*".into()),
            immutability_policy_expiry: made.until,
            immutability_policy_mode: self.blob.retention.lock.map(azure_mode),
            legal_hold: self.blob.retention.is_held().then_some(true),
            metadata: Some(made.metadata.clone()),
            method_options: watched(lost),
            tier: Some(azure_tier(self.blob.tier)),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        let blob = self.inner.blob(&self.blob.name).block_blob_client();
        let answer = blob
            .commit_block_list(list.try_into()?, Some(options))
            .await?;
        answer.etag()
    }

    /// Finds out what became of a commit that did not end well.
    async fn look_after(&self, error: &azure_core::Error, lost: &Lost) -> Result<BlobRecord> {
        let name = &self.blob.name;
        let refusal = Refusal::of(error);
        let is_conflict = matches!(refusal.status(), Some(409 | 412));
        let is_gone = refusal.code() == "InvalidBlockList";
        let told = self.inner.refused(PUT, name, error);
        if !(is_conflict || is_gone || refusal.may_be_done() || lost.is_set()) {
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

    /// Reads back what is kept of a blob that was put with a lock, and deletes it where nothing is.
    async fn proven(&self) -> Result<BlobRecord> {
        let name = &self.blob.name;
        let seen = self.inner.look(PUT, name).await.map_err(|cause| {
            about(Error::new(ErrorKind::CommitUnknown, PUT), name)
                .with_detail("it is there; whether its lock is kept could not be seen, so look")
                .with_source(cause)
        })?;
        let (asked, kept) = (&self.blob.retention, &seen.record.retention);
        if asked.lock == kept.lock && asked.until <= kept.until {
            return Ok(seen.record);
        }
        let removed = remove::remove(&self.inner, name, &seen.told).await;
        let error = about(Error::new(ErrorKind::RetentionNotEnforced, PUT), name);
        Err(match removed {
            Ok(()) => error.with_detail(
                "the service took its lock and does not keep it, so it was deleted again: switch on \
                 immutable storage with versioning",
            ),
            Err(cause) => error
                .with_detail("the service does not keep its lock; the blob is still there")
                .with_source(cause),
        })
    }
}

/// What a commit is made of.
struct Made {
    metadata: HashMap<String, String>,
    until: Option<OffsetDateTime>,
    crc64: Crc64,
}

#[async_trait]
impl BlobUpload for Upload {
    async fn write(&mut self, block: Block) -> Result<()> {
        if self.sent == 0 && self.first.is_none() && !self.is_long() {
            self.first = Some(block);
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            if !self.is_checked {
                self.is_checked = true;
                self.check().await?;
            }
            self.send(first).await?;
        }
        self.send(block).await
    }

    async fn commit(mut self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        while !self.on_the_way.is_empty() {
            self.arrived()
                .await
                .map_err(|error| about(error, &self.blob.name))?;
        }
        let document = Document::new(&self.blob, seal, self.id);
        let first = self.first.take();
        let made = Made {
            metadata: document.write(&self.blob.metadata)?,
            until: match self.blob.retention.lock {
                Some(_) => self.blob.retention.until.and_then(until),
                None => None,
            },
            crc64: first.as_ref().map_or(Crc64::of(b""), Block::crc64),
        };
        let lost = Lost::default();
        let answer = match self.sent {
            0 => {
                let bytes = first.map(Block::into_bytes).unwrap_or_default();
                match self.put_whole(bytes.clone(), &made, &lost).await {
                    Err(error) if self.inner.makes_container(&self.blob.name, &error).await? => {
                        self.put_whole(bytes, &made, &lost).await
                    }
                    answer => answer,
                }
            }
            _ => self.put_list(&made, &lost).await,
        };
        let etag = match answer {
            Ok(etag) => etag,
            Err(error) => {
                let record = self.look_after(&error, &lost).await?;
                return match self.blob.retention.lock {
                    Some(_) => self.proven().await,
                    None => Ok(record),
                };
            }
        };
        if self.blob.retention.lock.is_some() || self.blob.retention.is_held() {
            return self.proven().await;
        }
        let told = Told {
            etag: etag.map(|etag| bare(etag.as_ref())).unwrap_or_default(),
            content_type: Some(self.blob.content_type.as_str().to_owned()),
            metadata: made.metadata,
            tier: Some(azure_tier(self.blob.tier)),
            ..Told::default()
        };
        Ok(told.read(&self.blob.name)?.record)
    }

    async fn abort(mut self: Box<Self>) {
        self.on_the_way.shutdown().await;
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("blob", &self.blob)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// Sends one block, which the service checks before it takes it.
async fn stage(inner: &Inner, name: &BlobName, id: &[u8], block: Block) -> Result<()> {
    let length = u64::try_from(block.length()).unwrap_or(u64::MAX);
    let crc64 = written(block.crc64());
    let bytes = block.into_bytes();
    let client = inner.blob(name).block_blob_client();
    let once = || async {
        let options = BlockBlobClientStageBlockOptions {
            encryption_scope: inner.scope(name),
            transactional_content_crc64: Some(crc64.clone()),
            ..BlockBlobClientStageBlockOptions::default()
        };
        let body = bytes.clone().into();
        client.stage_block(id, length, body, Some(options)).await
    };
    let answer = match once().await {
        Err(error) if inner.makes_container(name, &error).await? => once().await,
        answer => answer,
    };
    answer
        .map(drop)
        .map_err(|error| inner.refused(PUT, name, &error))
}

impl Inner {
    fn scope(&self, name: &BlobName) -> Option<String> {
        self.settings
            .scope
            .as_ref()
            .map(|scope| scope.of(name.tenant()))
    }

    /// Makes the container of a name if that is what was missing, and returns whether it was.
    async fn makes_container(&self, name: &BlobName, error: &azure_core::Error) -> Result<bool> {
        if Refusal::of(error).code() != "ContainerNotFound" {
            return Ok(false);
        }
        let (container, _) = self.settings.layout.place(name);
        if !self.settings.creates_containers {
            return Err(about(Error::new(ErrorKind::Unsupported, PUT), name)
                .with_detail("its container is not there: make it when the tenant is set up"));
        }
        let scope = match self.settings.layout.is_of_tenant() {
            true => self.scope(name),
            false => None,
        };
        let options = BlobContainerClientCreateOptions {
            prevent_encryption_scope_override: scope.is_some().then_some(true),
            default_encryption_scope: scope,
            ..BlobContainerClientCreateOptions::default()
        };
        match self.container(&container).create(Some(options)).await {
            Ok(_) => Ok(true),
            Err(error) if Refusal::of(&error).code() == "ContainerAlreadyExists" => Ok(true),
            Err(error) => Err(self.refused(PUT, name, &error)),
        }
    }
}

/// Returns tags as a header has them.
fn tags(tags: &Tags) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = tags
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}
