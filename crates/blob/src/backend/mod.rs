//! What a backend does, whichever it is.

mod guarded_clock;
pub(crate) mod shelf;

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use tenantry_core::{Result, Secret, Service, TenantId, TraceParent};

pub(crate) use self::guarded_clock::GuardedClock;
pub(crate) use self::shelf::Shelf;
use crate::integrity::{Block, Sha256};
use crate::name::{BlobName, BlobPrefix};
use crate::record::{
    BlobEncryption, BlobRecord, ContentType, ETag, Metadata, RehydratePriority, Tags, Tier,
};
use crate::retention::{RetentionAct, RetentionState};

/// Keeps blobs.
///
/// Services do not call it: they have [`TenantBlobs`](crate::TenantBlobs), which checks the tenant of
/// every name, reckons the checksums, and reads back what was locked.
///
/// # Contract
///
/// An implementer
///
/// - shows a blob as a whole, with its retention, or not at all: never bytes without their retention,
///   never a part, whatever fails and whenever a future is dropped;
/// - never replaces a blob;
/// - keeps what [`RetentionState::check_deletion`] and [`check_change`](RetentionState::check_change)
///   say, by itself or by the service behind it; at least of what is locked or held;
/// - tells in a record the lock and the hold that it *keeps*, never those that were asked for;
/// - gives out no byte that has another checksum than it came with, and says
///   [`Corrupt`](tenantry_core::ErrorKind::Corrupt) instead;
/// - changes the [`ETag`] with every change of a record, and does nothing where a condition names
///   another: [`Conflict`](tenantry_core::ErrorKind::Conflict);
/// - loses nothing that it has answered for when the process or the machine stops;
/// - needs no more memory for a large blob than for a small one.
///
/// Its errors name the blob as their subject.
#[async_trait]
pub trait BlobBackend: Send + Sync + Debug {
    /// Returns the name of the technology, such as `fs`, for metrics.
    fn system(&self) -> &'static str;

    /// Returns the time by which it judges retention.
    fn now(&self) -> DateTime<Utc>;

    /// Checks whether something may end by that time, for those who end more than blobs by it.
    ///
    /// # Errors
    ///
    /// - [`Retained`](tenantry_core::ErrorKind::Retained): its clock was set back, and whether the time
    ///   before was right is not known.
    fn check_clock(&self, operation: &'static str) -> Result<()>;

    /// Returns how long the blocks are to be in which it takes bytes.
    ///
    /// `length` is that of the whole, if it is known: a backend with a greatest number of blocks takes
    /// longer ones for a long blob.
    fn block_length(&self, length: Option<u64>) -> usize;

    /// Returns whether each block is to come in one piece, as a request carries it.
    ///
    /// What comes in several is then copied together as it comes, into memory that is used again: the pieces
    /// of a block are not in memory beside the block.
    fn takes_whole_blocks(&self) -> bool;

    /// Returns for how long the service behind it still keeps what was deleted, so that an operator could
    /// bring it back; `None` where what is deleted is gone at once. An erasure says by it when it is over.
    ///
    /// # Errors
    ///
    /// Those of the service, where it has to be asked.
    async fn keeps_deleted_for(&self) -> Result<Option<Duration>>;

    /// Begins to put a blob.
    ///
    /// It may tell early that the name is taken, so that nothing is sent in vain. What tells in the end
    /// is [`commit`](BlobUpload::commit).
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](tenantry_core::ErrorKind::AlreadyExists): the name is taken.
    /// - [`Unsupported`](tenantry_core::ErrorKind::Unsupported): the backend cannot keep this retention.
    async fn create(&self, blob: NewBlob) -> Result<Box<dyn BlobUpload>>;

    /// Returns what is known of a blob.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    async fn head(&self, name: &BlobName) -> Result<BlobRecord>;

    /// Reads the bytes of a blob, all of them or those of a range that lies within it.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    /// - [`Rehydrating`](tenantry_core::ErrorKind::Rehydrating): it rests in the archive tier.
    /// - [`InvalidInput`](tenantry_core::ErrorKind::InvalidInput): the range does not lie within it.
    ///
    /// In the stream, [`Corrupt`](tenantry_core::ErrorKind::Corrupt): the bytes are not those that came.
    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead>;

    /// Returns the records of blobs in the order of their names, after one name, up to a number.
    ///
    /// A page may be shorter than asked for, also empty, and still not be the last.
    ///
    /// # Errors
    ///
    /// - [`InvalidCursor`](tenantry_core::ErrorKind::InvalidCursor): no page ended there.
    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>>;

    /// Returns the same blobs as [`list`](Self::list), and tells of each whose record cannot be read by
    /// itself: what was altered of one blob does not hide the others.
    ///
    /// A backend whose records nobody else alters has its page of [`list`](Self::list), by `Into`.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list), but for [`Corrupt`](tenantry_core::ErrorKind::Corrupt) of one blob.
    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>>;

    /// Looks whether blobs can be reached: for a probe, which asks again every few seconds.
    ///
    /// It may list the blobs of a tenant that nobody is.
    ///
    /// # Errors
    ///
    /// Those of the service behind it.
    async fn check(&self) -> Result<()>;

    /// Removes what is still stored of blobs of a tenant that were deleted, as records of what was and folders that
    /// tell of it: an erasure is ended by it. What the service behind [keeps for a while](Self::keeps_deleted_for) stays.
    ///
    /// A backend that stores nothing of what was deleted has nothing to do.
    ///
    /// # Errors
    ///
    /// Those of the service.
    async fn forget_deleted(&self, tenant: TenantId) -> Result<()>;

    /// Returns blobs of all tenants for which something is to be done at a time: those whose retention
    /// is over, and those that are to be archived; by and large the longest due first.
    ///
    /// What is held is not among them, nor what is archived already and not over. One whose record cannot
    /// be read is told of by itself: it may be due, and it hides no other.
    ///
    /// # Errors
    ///
    /// - [`InvalidCursor`](tenantry_core::ErrorKind::InvalidCursor): no page ended there.
    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>>;

    /// Deletes blobs, each for itself, and answers for each in the order in which they were given.
    ///
    /// Together they cost less than one by one.
    ///
    /// # Errors
    ///
    /// For each
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    /// - [`Conflict`](tenantry_core::ErrorKind::Conflict): it has another [`ETag`].
    /// - [`Retained`](tenantry_core::ErrorKind::Retained): something keeps it.
    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>>;

    /// Gives a blob another retention.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    /// - [`Conflict`](tenantry_core::ErrorKind::Conflict): it has another [`ETag`].
    /// - [`Retained`](tenantry_core::ErrorKind::Retained): what keeps it forbids the change.
    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord>;

    /// Moves a blob to a tier. Out of the archive it comes back in time, with this priority.
    ///
    /// A lock does not keep a blob from being moved.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    /// - [`Conflict`](tenantry_core::ErrorKind::Conflict): it has another [`ETag`], or is on its way back
    ///   to another tier.
    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord>;

    /// Says otherwise how a blob is encrypted: its key under another one, and the same bytes.
    ///
    /// A lock or a hold forbids it, for immutable storage lets nobody change what is kept beside the
    /// bytes.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    /// - [`Conflict`](tenantry_core::ErrorKind::Conflict): it has another [`ETag`].
    /// - [`Retained`](tenantry_core::ErrorKind::Retained): a lock or a hold keeps it as it is.
    /// - [`Unsupported`](tenantry_core::ErrorKind::Unsupported): the backend cannot.
    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord>;

    /// Returns a URL by which whoever has it reads this one blob, for a time.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](tenantry_core::ErrorKind::NotFound).
    /// - [`Unsupported`](tenantry_core::ErrorKind::Unsupported): the backend gives no URLs.
    async fn signed_url(&self, name: &BlobName, valid_for: Duration) -> Result<SignedUrl>;
}

/// A blob on its way in.
///
/// Dropped, nothing of it is visible; what it has taken is given back, or found and removed later.
#[async_trait]
pub trait BlobUpload: Send + Debug {
    /// Takes the next block.
    ///
    /// It may still be on its way when this returns: what fails then, a later call answers.
    ///
    /// # Errors
    ///
    /// - [`Corrupt`](tenantry_core::ErrorKind::Corrupt): it came with another checksum than its own.
    /// - [`StorageFull`](tenantry_core::ErrorKind::StorageFull).
    async fn write(&mut self, block: Block) -> Result<()>;

    /// Makes the blob visible, as a whole, if its name is not taken.
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](tenantry_core::ErrorKind::AlreadyExists).
    /// - [`StorageFull`](tenantry_core::ErrorKind::StorageFull).
    /// - [`CommitUnknown`](tenantry_core::ErrorKind::CommitUnknown): it is visible, or is not.
    async fn commit(self: Box<Self>, seal: Seal) -> Result<BlobRecord>;

    /// Gives it up, and gives back what it has taken.
    async fn abort(self: Box<Self>);
}

/// What is said of a blob before its bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlob {
    /// Its name.
    pub name: BlobName,
    /// How many bytes will come, if that is known.
    pub length: Option<u64>,
    /// What they are.
    pub content_type: ContentType,
    /// What the service says of it.
    pub metadata: Metadata,
    /// What it is found by on the side of the storage service.
    pub tags: Tags,
    /// The service that it belongs to.
    pub owner: Service,
    /// The trace in which it is put.
    pub trace: Option<TraceParent>,
    /// When it is put.
    pub created_at: DateTime<Utc>,
    /// How quickly it can be read.
    pub tier: Tier,
    /// What keeps it.
    pub retention: RetentionState,
    /// How its bytes are encrypted, where they are: kept with it, and told in its record.
    pub encryption: Option<BlobEncryption>,
}

impl NewBlob {
    /// Returns the record of it when all bytes have come.
    #[must_use]
    pub fn into_record(self, seal: Seal, etag: ETag) -> BlobRecord {
        BlobRecord {
            name: self.name,
            length: seal.length,
            sha256: seal.sha256,
            content_type: self.content_type,
            metadata: self.metadata,
            tags: self.tags,
            owner: self.owner,
            trace: self.trace,
            created_at: self.created_at,
            tier: self.tier,
            tier_changed_at: None,
            brought_back_at: None,
            rehydration: None,
            retention: self.retention,
            encryption: self.encryption,
            etag,
        }
    }
}

/// What is known of the bytes of a blob when all have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// How many there are.
    pub length: u64,
    /// Their digest.
    pub sha256: Sha256,
}

/// The bytes of a blob, on their way out.
pub struct BlobRead {
    /// What is known of it.
    pub record: BlobRecord,
    /// Its bytes, or those of the range, each checked before it comes.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

impl Debug for BlobRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobRead")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendPage<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Where the next begins; `None` where this is the last.
    pub next: Option<String>,
}

/// A blob that is there, whether its record can be read or not.
#[derive(Debug)]
pub struct ListedBlob {
    /// Its name.
    pub name: BlobName,
    /// What is known of it, or why that cannot be read.
    pub record: Result<BlobRecord>,
}

impl From<BlobRecord> for ListedBlob {
    fn from(record: BlobRecord) -> Self {
        Self {
            name: record.name.clone(),
            record: Ok(record),
        }
    }
}

impl From<BackendPage<BlobRecord>> for BackendPage<ListedBlob> {
    /// Takes all records for ones that can be read.
    fn from(page: BackendPage<BlobRecord>) -> Self {
        Self {
            items: page.items.into_iter().map(ListedBlob::from).collect(),
            next: page.next,
        }
    }
}

/// Lists the blobs of a tenant that nobody is: the [`check`](BlobBackend::check) of a backend that is asked for lists.
pub(crate) async fn list_of_nobody(backend: &dyn BlobBackend) -> Result<()> {
    let nobody = BlobPrefix::of(TenantId::generate());
    backend.list(&nobody, None, 1).await.map(drop)
}

/// What is to be done to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DueAction {
    /// Its retention is over.
    Delete,
    /// It is to go to the archive tier.
    Archive,
}

/// A blob to which something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueBlob {
    /// Its name.
    pub name: BlobName,
    /// The state in which it was found.
    pub etag: ETag,
    /// What is to be done.
    pub action: DueAction,
    /// Since when.
    pub since: DateTime<Utc>,
    /// How many bytes it has.
    pub length: u64,
}

/// A blob to which something is to be done, or of which that cannot be told.
#[derive(Debug)]
pub struct ListedDue {
    /// Its name.
    pub name: BlobName,
    /// What is to be done, or why its record cannot be read.
    pub due: Result<DueBlob>,
}

impl From<DueBlob> for ListedDue {
    fn from(due: DueBlob) -> Self {
        Self {
            name: due.name.clone(),
            due: Ok(due),
        }
    }
}

impl DueBlob {
    /// Returns what is to be done to a blob at a time, if anything is.
    #[must_use]
    pub fn of(record: &BlobRecord, at: DateTime<Utc>) -> Option<Self> {
        let (end, archive) = due_times(record);
        let is_due = |time: &DateTime<Utc>| *time <= at;
        // What is over as well is not archived first.
        let (since, action) = match (end.filter(is_due), archive.filter(is_due)) {
            (Some(end), _) => (end, DueAction::Delete),
            (None, Some(archive)) => (archive, DueAction::Archive),
            (None, None) => return None,
        };
        Some(Self {
            name: record.name.clone(),
            etag: record.etag.clone(),
            action,
            since,
            length: record.length_as_put(),
        })
    }
}

/// Returns when a blob is to be deleted and when it is to be archived, as far as that is known.
pub(crate) fn due_times(record: &BlobRecord) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let retention = &record.retention;
    if retention.is_held() {
        return (None, None);
    }
    let end = retention.until;
    let archive = retention
        .archive_at
        // What somebody brought back is not sent away again.
        .filter(|at| record.brought_back_at.is_none_or(|back| back < *at))
        .filter(|_| record.tier != Tier::Archive);
    (end, archive)
}

/// Which blob is to be deleted, and under which condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its name.
    pub name: BlobName,
    /// The state that it must have: who decided has seen it.
    pub etag: ETag,
    /// The act that ends its retention now, where its time has not come.
    pub act: Option<RetentionAct>,
}

/// A URL by which whoever has it reads one blob.
#[derive(Debug)]
pub struct SignedUrl {
    /// The URL; it lets in whoever has it.
    pub url: Secret,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests;
