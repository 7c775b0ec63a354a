//! Blobs in memory, for tests and for what may be lost.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};

use crate::backend::{
    BackendPage, BlobBackend, BlobRead, BlobUpload, Deletion, GuardedClock, ListedBlob, ListedDue,
    NewBlob, Seal, Shelf, SignedUrl, list_of_nobody, shelf,
};
use crate::integrity::Block;
use crate::name::{BlobName, BlobPrefix};
use crate::record::{BlobEncryption, BlobRecord, ETag, RehydratePriority, Tier};
use crate::retention::{RetentionAct, RetentionState};
use crate::store::{about, not_found, outside, rehydrating, taken};

/// Long enough that reckoning with a block costs little beside its bytes.
const BLOCK: usize = 256 * 1024;

/// Keeps blobs in the memory of the process, and refuses all that a backend refuses that keeps them for
/// years.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use tenantry_blob::{BlobKind, BlobStore, MemoryBlobs, PutOptions, Retention};
/// use tenantry_core::{ErrorKind, ManualClock, Result, Service, TenantId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
/// let store = BlobStore::new(Arc::new(MemoryBlobs::with_clock(Arc::new(clock.clone()))));
///
/// let blobs = store.tenant(TenantId::generate());
/// let name = blobs.name(&BlobKind::new("audit-archive")?)?;
/// let options = PutOptions::new(Service::AuditTrail, Retention::days(7).locked());
/// let stored = blobs.put_bytes(&name, options, "sealed").await?;
/// assert_eq!(stored.receipt.map(|it| it.until), Some("2026-01-08T00:00:00Z".parse().unwrap()));
///
/// assert_eq!(blobs.delete(&name).await.unwrap_err().kind(), ErrorKind::Retained);
/// clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
/// blobs.delete(&name).await?;
/// # Ok(())
/// # }
/// ```
pub struct MemoryBlobs {
    inner: Arc<Inner>,
}

struct Inner {
    clock: GuardedClock,
    rehydration: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    shelf: Shelf,
    bytes: BTreeMap<BlobName, Arc<[Block]>>,
    revision: u64,
}

impl Kept {
    fn next_etag(&mut self) -> ETag {
        self.revision += 1;
        ETag::new(self.revision.to_string())
    }

    fn replace(&mut self, record: BlobRecord) -> BlobRecord {
        let record = BlobRecord {
            etag: self.next_etag(),
            ..record
        };
        self.shelf.insert(record.clone());
        record
    }
}

impl MemoryBlobs {
    /// Returns a store without blobs.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Returns a store without blobs that judges retention by `clock`.
    #[must_use]
    pub fn with_clock(clock: SharedClock) -> Self {
        Self::with_rehydration(clock, Duration::ZERO)
    }

    /// Returns a store without blobs in which it takes so long to bring an archived blob back.
    #[must_use]
    pub fn with_rehydration(clock: SharedClock, takes: Duration) -> Self {
        let inner = Inner {
            clock: GuardedClock::new(clock),
            rehydration: takes,
            kept: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Default for MemoryBlobs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBlobs")
            .field("blobs", &self.inner.kept.lock().shelf.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobBackend for MemoryBlobs {
    fn system(&self) -> &'static str {
        "memory"
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now()
    }

    fn check_clock(&self, operation: &'static str) -> Result<()> {
        self.inner.clock.check_right(operation)
    }

    fn block_length(&self, _: Option<u64>) -> usize {
        BLOCK
    }

    fn takes_whole_blocks(&self) -> bool {
        false
    }

    async fn keeps_deleted_for(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    async fn create(&self, blob: NewBlob) -> Result<Box<dyn BlobUpload>> {
        if self.inner.kept.lock().shelf.get(&blob.name).is_some() {
            return Err(taken(&blob.name));
        }
        Ok(Box::new(Upload {
            inner: Arc::clone(&self.inner),
            blob,
            blocks: Vec::new(),
        }))
    }

    async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        let now = self.now();
        let kept = self.inner.kept.lock();
        let record = kept.shelf.find("look up blob", name)?;
        Ok(record.clone().settled_at(now))
    }

    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead> {
        let record = self.head(name).await?;
        if !record.is_readable() {
            return Err(rehydrating(&record));
        }
        let range = range.unwrap_or(0..record.length);
        if range.start > range.end || range.end > record.length {
            return Err(outside(name));
        }
        let blocks = self.inner.kept.lock().bytes.get(name).map(Arc::clone);
        let blocks = blocks.ok_or_else(|| not_found("read blob", name))?;
        let name = name.clone();
        let pieces = pieces_of(&blocks, range)
            .into_iter()
            .map(move |(at, piece)| {
                let block = &blocks[at];
                if block.is_intact() {
                    let bytes = block.clone().into_bytes();
                    Ok(bytes.slice(piece))
                } else {
                    Err(about(Error::new(ErrorKind::Corrupt, "read blob"), &name)
                        .with_detail("a block has another checksum than it came with"))
                }
            });
        Ok(BlobRead {
            record,
            bytes: stream::iter(pieces).boxed(),
        })
    }

    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>> {
        let now = self.now();
        self.inner.kept.lock().shelf.list(prefix, after, limit, now)
    }

    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>> {
        self.list(prefix, after, limit).await.map(Into::into)
    }

    async fn check(&self) -> Result<()> {
        list_of_nobody(self).await
    }

    async fn forget_deleted(&self, _: TenantId) -> Result<()> {
        Ok(())
    }

    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        self.inner.kept.lock().shelf.due(at, after, limit)
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut kept = self.inner.kept.lock();
        let delete = |deletion: &Deletion| {
            let record = kept.shelf.find(shelf::DELETE, &deletion.name)?;
            shelf::check_deletion(record, deletion, &self.inner.clock)?;
            kept.shelf.remove(&deletion.name);
            kept.bytes.remove(&deletion.name);
            Ok(())
        };
        deletions.iter().map(delete).collect()
    }

    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord> {
        let mut kept = self.inner.kept.lock();
        let record = kept.shelf.find(shelf::RETENTION, name)?;
        let record = shelf::with_retention(record, etag, next, act, &self.inner.clock)?;
        Ok(kept.replace(record))
    }

    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        let time = (self.now(), self.inner.rehydration);
        let mut kept = self.inner.kept.lock();
        let record = kept.shelf.find(shelf::TIER, name)?;
        let record = shelf::with_tier(record, etag, (tier, priority), time)?;
        Ok(kept.replace(record))
    }

    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord> {
        let mut kept = self.inner.kept.lock();
        let record = kept.shelf.find(shelf::ENCRYPTION, name)?;
        let record = shelf::with_encryption(record, etag, next, &self.inner.clock)?;
        Ok(kept.replace(record))
    }

    async fn signed_url(&self, name: &BlobName, _: Duration) -> Result<SignedUrl> {
        Err(
            about(Error::new(ErrorKind::Unsupported, "sign URL of blob"), name)
                .with_detail("what is in the memory of this process has no URL"),
        )
    }
}

struct Upload {
    inner: Arc<Inner>,
    blob: NewBlob,
    blocks: Vec<Block>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("blob", &self.blob)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobUpload for Upload {
    async fn write(&mut self, block: Block) -> Result<()> {
        if !block.is_intact() {
            return Err(
                about(Error::new(ErrorKind::Corrupt, "put blob"), &self.blob.name)
                    .with_detail("a block has another checksum than it came with"),
            );
        }
        self.blocks.push(block);
        Ok(())
    }

    async fn commit(self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        let mut kept = self.inner.kept.lock();
        if kept.shelf.get(&self.blob.name).is_some() {
            return Err(taken(&self.blob.name));
        }
        let name = self.blob.name.clone();
        kept.bytes.insert(name, self.blocks.into());
        let etag = ETag::new("");
        Ok(kept.replace(self.blob.into_record(seal, etag)))
    }

    async fn abort(self: Box<Self>) {}
}

/// Returns which parts of which blocks a range has.
fn pieces_of(blocks: &[Block], range: Range<u64>) -> Vec<(usize, Range<usize>)> {
    let mut pieces = Vec::new();
    let mut start = 0_u64;
    for (at, block) in blocks.iter().enumerate() {
        let length = block.length();
        let end = start + u64::try_from(length).unwrap_or(u64::MAX);
        let within =
            |position: u64| usize::try_from(position.clamp(start, end) - start).unwrap_or(length);
        let piece = within(range.start)..within(range.end);
        if !piece.is_empty() {
            pieces.push((at, piece));
        }
        start = end;
    }
    pieces
}
