//! Putting blobs.

use std::error::Error as StdError;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result, Service};

use super::{TenantBlobs, about};
use crate::backend::{BlobUpload, Deletion, NewBlob, Seal};
use crate::integrity::{Blocks, Body, Hashing, Sha256};
use crate::name::BlobName;
use crate::record::{BlobRecord, ContentType, Metadata, Tags, Tier};
use crate::retention::{Retention, RetentionAction, RetentionReceipt, RetentionState};

const PUT: &str = "put blob";

/// What is said of a blob when it is put: whose it is and how long it is kept, and what else is known.
#[derive(Debug, Clone)]
pub struct PutOptions {
    owner: Service,
    retention: Retention,
    content_type: ContentType,
    metadata: Metadata,
    tags: Tags,
    tier: Tier,
    length: Option<u64>,
    sha256: Option<Sha256>,
}

impl PutOptions {
    /// Returns the options of a blob that belongs to a service and is kept so long.
    #[must_use]
    pub fn new(owner: Service, retention: Retention) -> Self {
        Self {
            owner,
            retention,
            content_type: ContentType::default(),
            metadata: Metadata::new(),
            tags: Tags::new(),
            tier: Tier::Hot,
            length: None,
            sha256: None,
        }
    }

    /// Says what the bytes are.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is no content type.
    pub fn with_content_type(mut self, content_type: &str) -> Result<Self> {
        self.content_type = ContentType::new(content_type)?;
        Ok(self)
    }

    /// Says more of it, by name.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Says what it is found by on the side of the storage service.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Puts it into a tier; hot if nothing is said.
    #[must_use]
    pub const fn with_tier(mut self, tier: Tier) -> Self {
        self.tier = tier;
        self
    }

    /// Says how many bytes will come: more or less are refused.
    #[must_use]
    pub const fn with_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Says which digest the bytes have: others are refused.
    #[must_use]
    pub const fn with_sha256(mut self, sha256: Sha256) -> Self {
        self.sha256 = Some(sha256);
        self
    }
}

#[cfg(any(feature = "artifacts", feature = "object-store"))]
impl PutOptions {
    pub(crate) const fn retention(&self) -> &Retention {
        &self.retention
    }
}

#[cfg(feature = "object-store")]
impl PutOptions {
    pub(crate) const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(crate) const fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Leaves out what is true of some bytes alone.
    pub(crate) const fn of_any_bytes(mut self) -> Self {
        self.length = None;
        self.sha256 = None;
        self
    }
}

/// A blob that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredBlob {
    /// What is known of it.
    pub record: BlobRecord,
    /// The proof that the storage service keeps it, where it was put with a lock.
    pub receipt: Option<RetentionReceipt>,
}

impl TenantBlobs {
    /// Puts a new blob under a name that [`name`](Self::name) gave.
    ///
    /// The bytes are cut into blocks, each with its CRC64, and hashed while they go; memory holds a few
    /// blocks, however long the blob is. Where it is put with a lock, it is read back afterwards: what
    /// comes back without the lock is deleted, as far as it can be, and the put fails.
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](ErrorKind::AlreadyExists): the name is taken; nothing was changed.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): more or fewer bytes came than was said; the name is
    ///   another tenant's; the retention contradicts itself.
    /// - [`Corrupt`](ErrorKind::Corrupt): other bytes came than the digest that was given says, or they
    ///   changed on their way.
    /// - [`RetentionNotEnforced`](ErrorKind::RetentionNotEnforced): the service took the lock and does
    ///   not keep it.
    /// - [`StorageFull`](ErrorKind::StorageFull), [`Unavailable`](ErrorKind::Unavailable): also where
    ///   the body itself fails, whose error is the source.
    /// - [`CommitUnknown`](ErrorKind::CommitUnknown): it is there as a whole or not at all; `head`
    ///   tells. So it is where it was put with a lock and could not be read back.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is there as a whole, with its retention, or not at all.
    pub async fn put<S, E>(
        &self,
        name: &BlobName,
        options: PutOptions,
        body: S,
    ) -> Result<StoredBlob>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let of_body = name.clone();
        let body = body.map_err(move |cause| {
            about(Error::new(ErrorKind::Unavailable, PUT), &of_body)
                .with_detail("its body failed before it ended")
                .with_source(cause)
        });
        self.observe("put", self.put_body(name, options, body.boxed()))
            .await
    }

    /// Puts a new blob that is in memory.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put).
    pub async fn put_bytes(
        &self,
        name: &BlobName,
        options: PutOptions,
        bytes: impl Into<Bytes>,
    ) -> Result<StoredBlob> {
        let bytes = bytes.into();
        let options = match options.length {
            None => options.with_length(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Some(_) => options,
        };
        let body = stream::iter([Ok(bytes)]).boxed();
        self.observe("put", self.put_body(name, options, body))
            .await
    }

    /// Puts a new blob with the bytes, content type, metadata, tags and owner of another of the same
    /// tenant, and a retention of its own.
    ///
    /// The bytes pass through this process, and are checked on both ways.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`NotFound`](ErrorKind::NotFound),
    /// [`Rehydrating`](ErrorKind::Rehydrating) of the one that is copied.
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put).
    pub async fn copy(
        &self,
        from: &BlobName,
        to: &BlobName,
        retention: Retention,
    ) -> Result<StoredBlob> {
        self.observe("copy", async {
            self.check_target(to)?;
            let reader = self.reader(from).await?;
            let record = reader.record().clone();
            let options = PutOptions {
                owner: record.owner,
                retention,
                content_type: record.content_type,
                metadata: record.metadata,
                tags: record.tags,
                tier: record.tier,
                length: Some(record.length),
                sha256: Some(record.sha256),
            };
            self.put_body(to, options, reader.boxed()).await
        })
        .await
    }

    async fn put_body(
        &self,
        name: &BlobName,
        options: PutOptions,
        body: Body,
    ) -> Result<StoredBlob> {
        self.check_target(name)?;
        let now = self.backend().now();
        let retention = options
            .retention
            .resolve(now)
            .map_err(|error| about(error, name))?;
        let asked = retention.clone();
        let blob = NewBlob {
            name: name.clone(),
            length: options.length,
            content_type: options.content_type,
            metadata: options.metadata,
            tags: options.tags,
            owner: options.owner,
            trace: self.context.trace(),
            created_at: now,
            tier: options.tier,
            retention,
            encryption: None,
        };
        let blocks = Blocks::new(body, self.backend().block_length(options.length));
        let blocks = match self.backend().takes_whole_blocks() {
            true => blocks.in_one_piece(),
            false => blocks,
        };
        let mut upload = self.backend().create(blob).await?;
        let expected = (options.length, options.sha256);
        let record = match pour(&mut *upload, blocks, expected).await {
            Ok(seal) => upload.commit(seal).await?,
            Err(error) => {
                upload.abort().await;
                return Err(about(error, name));
            }
        };
        if asked.lock.is_none() {
            return Ok(StoredBlob {
                record,
                receipt: None,
            });
        }
        self.prove(record, &asked).await
    }

    /// Reads back what was put with a lock.
    async fn prove(&self, record: BlobRecord, asked: &RetentionState) -> Result<StoredBlob> {
        let seen = self.backend().head(&record.name).await.map_err(|cause| {
            about(Error::new(ErrorKind::CommitUnknown, PUT), &record.name)
                .with_detail("it was put, and whether its lock is kept could not be read back")
                .with_source(cause)
        })?;
        match receipt(&seen, asked, self.backend().now()) {
            Ok(receipt) => Ok(StoredBlob {
                record: seen,
                receipt: Some(receipt),
            }),
            Err(error) => {
                let now = self.backend().now();
                let reason = "its lock is not enforced";
                let act = self.act(&seen, RetentionAction::DeletedEarly, reason, Some(now))?;
                let stays = "the service does not keep its lock; the blob is still there";
                if let Err(cause) = self.store.audit.record(&act).await {
                    return Err(error.with_detail(stays).with_source(cause));
                }
                let deletion = Deletion {
                    name: seen.name,
                    etag: seen.etag,
                    act: Some(act),
                };
                let is_gone = self
                    .backend()
                    .delete(&[deletion])
                    .await
                    .iter()
                    .all(Result::is_ok);
                Err(if is_gone {
                    error
                } else {
                    error.with_detail(stays)
                })
            }
        }
    }

    fn check_target(&self, name: &BlobName) -> Result<()> {
        if name.tenant() == self.tenant {
            return Ok(());
        }
        Err(about(Error::new(ErrorKind::InvalidInput, PUT), name)
            .with_detail("the name is another tenant's: take one of this handle"))
    }
}

/// Returns the proof that a blob is kept as it was asked for, if it is.
pub(super) fn receipt(
    seen: &BlobRecord,
    asked: &RetentionState,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<RetentionReceipt> {
    let is_kept = |mode, until| asked.lock == Some(mode) && asked.until <= Some(until);
    match (seen.retention.lock, seen.retention.until) {
        (Some(mode), Some(until)) if is_kept(mode, until) => Ok(RetentionReceipt {
            name: seen.name.clone(),
            mode,
            until,
            etag: seen.etag.clone(),
            verified_at: now,
        }),
        _ => Err(about(
            Error::new(ErrorKind::RetentionNotEnforced, "read back blob"),
            &seen.name,
        )
        .with_detail("the service took its lock and does not keep it")),
    }
}

/// Sends all that comes, and checks that it is what was said.
async fn pour(
    upload: &mut dyn BlobUpload,
    mut blocks: Blocks,
    (length, sha256): (Option<u64>, Option<Sha256>),
) -> Result<Seal> {
    fn wrong_length<T>(detail: &'static str) -> Result<T> {
        Err(Error::new(ErrorKind::InvalidInput, PUT).with_detail(detail))
    }
    let mut hashing = Hashing::new();
    let mut next = blocks.next().await?;
    while let Some(block) = next {
        let sent = async {
            hashing.add(block.chunks()).await?;
            if length.is_some_and(|length| hashing.length() > length) {
                return wrong_length("more bytes came than was said");
            }
            upload.write(block).await
        };
        // While it is hashed and written, more comes; where it fails, nobody waits for more.
        next = match select(pin!(sent), pin!(blocks.next())).await {
            Either::Left((sent, coming)) => {
                sent?;
                coming.await?
            }
            Either::Right((came, sending)) => {
                sending.await?;
                came?
            }
        };
    }
    if length.is_some_and(|length| hashing.length() < length) {
        return wrong_length("fewer bytes came than was said");
    }
    let seal = Seal {
        length: hashing.length(),
        sha256: hashing.finish().await?,
    };
    if sha256.is_some_and(|sha256| sha256 != seal.sha256) {
        return Err(Error::new(ErrorKind::Corrupt, PUT)
            .with_detail("other bytes came than those of the digest that was given"));
    }
    Ok(seal)
}
