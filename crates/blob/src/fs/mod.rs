//! Blobs in a folder, with nothing installed.

mod changes;
mod disk;
mod journal;
mod known;
mod layout;
mod own;
mod read;
mod undone;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use self::changes::{Change, Queue, Retained, change};
use self::disk::Disk;
use self::known::{Known, compact};
use self::upload::Upload;
use crate::backend::{
    BackendPage, BlobBackend, BlobRead, BlobUpload, Deletion, GuardedClock, ListedBlob, ListedDue,
    NewBlob, SignedUrl, list_of_nobody,
};
use crate::name::{BlobName, BlobPrefix};
use crate::record::{BlobEncryption, BlobRecord, ETag, RehydratePriority, Tier};
use crate::retention::{RetentionAct, RetentionState};
use crate::store::{about, not_found, outside, rehydrating, taken};

/// How long the blocks are, of which each has a checksum, and of which a read of one byte reads one.
const BLOCK: usize = 1024 * 1024;

/// Keeps blobs in a folder: the store with nothing installed.
///
/// Several processes of one machine may use one folder at the same time.
///
/// # What is on the disk
///
/// - `blobs/<name>`: the bytes of each blob, and behind them the CRC64 of each MiB and what tells whose they
///   are: a file in the place of another is not read, nor is a part of it. Files of the first format tell
///   nothing of that; where a part of one is read, all of it is checked before.
/// - `journal`: what is known of all blobs, their retention above all, as frames of JSON, each with its
///   checksum. What stands in it has happened; what does not has not. Where most of it is over it is
///   compacted by itself, to the records of the blobs that are there, and at the end of an erasure of a tenant of
///   whose deleted blobs it tells: acts stand in it until then, and for good in the [`RetentionAudit`](crate::RetentionAudit) alone.
/// - `incoming/`: bytes on their way in. Those that could not be moved into their place are read from here,
///   and it is tried again with later changes. What a crash has left there is removed by the next who opens
///   the store; that of a process which still writes is not, nor what is not named as such a file.
/// - `journal.cut-<time>`: what was cut off from the end of the journal when it was read, for it was no whole
///   frame. A crash leaves such an end, and nobody was answered for it; but a disk that alters what stands there
///   leaves one as well, so that it is told at `WARN` and kept. Remove it when you know where it came from.
/// - `journal.lock`: an empty file by which changes wait for those of other processes, for half a minute
///   at most; where the file system can, the folder `incoming` is locked as well. Reads wait for it only where
///   others have changed something.
/// - `journal.reserve`: 64 KiB of room, given up on a full disk for the record of deletions, which make room, and a
///   half of it for holds and other acts; kept again before anything is put.
///
/// A put is on the disk in this order: its bytes, synced; its record with its retention, synced; then
/// the bytes move into their place. A deletion is on the disk before the bytes go. Changes that come
/// while others wait for the disk wait for it together. A put whose place is taken by something else, or for
/// whose folder there is no room, fails before its bytes come.
///
/// # What it keeps
///
/// It refuses what immutable storage refuses, and nothing ends by a clock that was set back, also before
/// it was started. What it creates is for its own user alone, and where an administrator runs it for whom the
/// store belongs to, as the journal that is there is; it follows no link in the place of its own files and folders.
/// It does not keep the folder from whoever may write there: that is for the operating system.
///
/// The folders of a blob go with the last one of a month that is over, and those of a tenant when it is erased.
///
/// # Limits
///
/// What is known of all blobs is in memory, about 1 KiB each. To bring an archived blob back takes as
/// long as is [said](FsSettings::with_rehydration), and the bytes are at the same place all the time.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use tenantry_blob::{BlobKind, BlobStore, FsBlobs, FsSettings, PutOptions, Retention};
/// use tenantry_core::{Service, TenantId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let tenant = TenantId::generate();
///
/// let blobs = FsBlobs::open(FsSettings::new(folder.path())).await?;
/// let blobs = BlobStore::new(Arc::new(blobs)).tenant(tenant);
/// let name = blobs.name(&BlobKind::new("report-exports")?)?;
/// let options = PutOptions::new(Service::Reporting, Retention::days(365));
/// blobs.put_bytes(&name, options, "id,total\n").await?;
///
/// let elsewhere = FsBlobs::open(FsSettings::new(folder.path())).await?;
/// let blobs = BlobStore::new(Arc::new(elsewhere)).tenant(tenant);
/// assert_eq!(blobs.get(&name).await?.bytes, "id,total\n");
/// # Ok(())
/// # }
/// ```
pub struct FsBlobs {
    inner: Arc<Inner>,
}

/// Where a store is, and by which time it goes.
#[derive(Debug, Clone)]
pub struct FsSettings {
    folder: PathBuf,
    clock: SharedClock,
    rehydration: Duration,
}

impl FsSettings {
    /// Keeps blobs in a folder, which is created if it is not there.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            clock: Arc::new(SystemClock),
            rehydration: Duration::ZERO,
        }
    }

    /// Judges retention by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Says how long it takes to bring an archived blob back: no time if nothing is said.
    #[must_use]
    pub const fn with_rehydration(mut self, takes: Duration) -> Self {
        self.rehydration = takes;
        self
    }
}

struct Inner {
    disk: Disk,
    clock: GuardedClock,
    rehydration: Duration,
    /// Locked for moments, and while others' changes are read; never while a batch waits for the disk.
    known: Mutex<Known>,
    /// Whose turn it is to follow others: who waits for it takes no thread.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How often it was begun to read others' changes.
    followed: AtomicU64,
    queue: Queue,
}

impl Inner {
    /// Learns what other processes have changed, while the lock is held.
    fn follow(&self, known: &mut Known) -> Result<()> {
        let number = self.followed.fetch_add(1, Ordering::SeqCst) + 1;
        known.catch_up(&self.disk, &self.clock)?;
        known.has_followed(number);
        Ok(())
    }
}

impl FsBlobs {
    /// Opens the store in a folder, and ends what a crash has left half done.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings), [`PermissionDenied`](ErrorKind::PermissionDenied),
    ///   [`ReadOnly`](ErrorKind::ReadOnly), [`StorageFull`](ErrorKind::StorageFull): the folder cannot be
    ///   used.
    /// - [`Locked`](ErrorKind::Locked): another process holds the lock for more than half a minute.
    /// - [`Corrupt`](ErrorKind::Corrupt): the journal is damaged, and not only at its end; or it is gone, and
    ///   bytes of blobs are there.
    /// - [`SchemaMismatch`](ErrorKind::SchemaMismatch): a newer release has written it.
    /// - [`Unavailable`](ErrorKind::Unavailable): the disk failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the folder is as it was, or as after a call.
    pub async fn open(settings: FsSettings) -> Result<Self> {
        let disk = Disk::new(settings.folder.clone());
        Self::open_on(disk, settings).await
    }

    async fn open_on(disk: Disk, settings: FsSettings) -> Result<Self> {
        let clock = GuardedClock::new(settings.clock);
        let shown = settings.folder.display().to_string();
        let open = move || {
            let known = Known::open(&disk, &clock)?;
            Ok(Self {
                inner: Arc::new(Inner {
                    disk,
                    clock,
                    rehydration: settings.rehydration,
                    known: Mutex::new(known),
                    turn: Arc::default(),
                    followed: AtomicU64::new(0),
                    queue: Queue::default(),
                }),
            })
        };
        let opened = spawn_blocking(open).await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Unavailable, "open blobs")
                .with_detail("the runtime shuts down")
                .with_source(cause))
        });
        opened.map_err(|error: Error| error.with_subject(shown))
    }

    /// Looks something up, in what is known when others' changes were read.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Known, DateTime<Utc>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let now = self.now();
        let begun = self.inner.followed.load(Ordering::SeqCst);
        {
            let known = self.inner.known.try_lock();
            if let Some(known) = known
                && known.is_fresh(&self.inner.disk)?
            {
                return look(&known, now);
            }
        }
        let started = Instant::now();
        // Beside another process that changes something all the time nothing is fresh for long: what was there when
        // this began is enough.
        let is_enough = move |known: &Known, disk: &Disk| -> Result<bool> {
            Ok(known.has_followed_since(begun) || known.is_fresh(disk)?)
        };
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        {
            let known = self.inner.known.try_lock();
            if let Some(known) = known
                && is_enough(&known, &self.inner.disk)?
            {
                return look(&known, now);
            }
        }
        let inner = Arc::clone(&self.inner);
        let follow = move || {
            let _turn = turn;
            {
                let known = inner.known.lock();
                if is_enough(&known, &inner.disk)? {
                    return look(&known, now);
                }
            }
            // Who has waited for those before is not kept as long again.
            let _lock = inner.disk.lock_since(started)?;
            let mut known = inner.known.lock();
            inner.follow(&mut known)?;
            look(&known, now)
        };
        spawn_blocking(follow).await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Unavailable, "look up blobs")
                .with_detail("the runtime shuts down")
                .with_source(cause))
        })
    }

    /// Looks up a blob, and the file that its bytes are in, where that is not in its place.
    async fn find(&self, name: &BlobName) -> Result<(BlobRecord, Option<Uuid>)> {
        let name = name.clone();
        self.look(move |known, now| {
            let record = known.shelf.find("look up blob", &name)?;
            Ok((record.clone().settled_at(now), known.undone.file_of(&name)))
        })
        .await
    }

    /// Does in the folder what waits to be done there, and then something else, while the lock is held.
    async fn tidy(&self, then: impl FnOnce(&Inner) -> Result<()> + Send + 'static) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let tidy = move || {
            let _lock = inner.disk.lock()?;
            {
                let mut known = inner.known.lock();
                inner.follow(&mut known)?;
                known.undone.end(&inner.disk);
            }
            then(&inner)
        };
        spawn_blocking(tidy).await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Unavailable, "tidy folder of blobs")
                .with_detail("the runtime shuts down")
                .with_source(cause))
        })
    }

    async fn change_one(&self, name: &BlobName, one: Change) -> Result<BlobRecord> {
        match change(&self.inner, one).await.pop() {
            Some(Ok(Some(record))) => Ok(record),
            Some(Err(error)) => Err(about(error, name)),
            _ => Err(about(
                Error::new(ErrorKind::Unexpected, "change blob"),
                name,
            )),
        }
    }
}

/// Tells that the bytes of a deleted blob are still there.
fn remains_of(name: &BlobName, kind: ErrorKind) -> Error {
    about(Error::new(kind, undone::REMOVE), name).with_detail(
        "it is deleted, and its bytes are on the disk: they are removed with later changes, when nothing keeps \
         them any longer",
    )
}

impl fmt::Debug for FsBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsBlobs")
            .field("folder", &self.inner.disk.root())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobBackend for FsBlobs {
    fn system(&self) -> &'static str {
        "fs"
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
        let name = blob.name.clone();
        let is_taken = self
            .look(move |known, _| Ok(known.shelf.get(&name).is_some()))
            .await?;
        if is_taken {
            return Err(taken(&blob.name));
        }
        let upload = Upload::begin(Arc::clone(&self.inner), blob).await?;
        Ok(Box::new(upload))
    }

    async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        self.find(name).await.map(|(record, _)| record)
    }

    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead> {
        let (mut record, mut file) = self.find(name).await?;
        loop {
            if !record.is_readable() {
                return Err(rehydrating(&record));
            }
            if let Some(range) = &range
                && (range.start > range.end || range.end > record.length)
            {
                return Err(outside(name));
            }
            let error = match read::open(&self.inner, &record, file, range.clone()).await {
                Ok(bytes) => return Ok(BlobRead { record, bytes }),
                Err(error) if error.kind() == ErrorKind::Corrupt => error,
                Err(error) => return Err(error),
            };
            // It may have been deleted since it was looked up, and others put under its name.
            (record, file) = match self.find(name).await {
                Ok(anew) if anew.0.etag != record.etag => anew,
                Err(gone) if gone.kind() == ErrorKind::NotFound => {
                    return Err(not_found("look up blob", name));
                }
                _ => return Err(error),
            };
        }
    }

    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>> {
        let (prefix, after) = (prefix.clone(), after.map(str::to_owned));
        self.look(move |known, now| known.shelf.list(&prefix, after.as_deref(), limit, now))
            .await
    }

    /// Tells of deleted blobs whose bytes are still there as well: it is tried once more before.
    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>> {
        let of = prefix.clone();
        let remains = self.look(move |known, _| Ok(known.undone.remaining(&of).next().is_some()));
        if remains.await? {
            self.tidy(|_| Ok(())).await?;
        }
        let (prefix, after) = (prefix.clone(), after.map(str::to_owned));
        self.look(move |known, now| {
            let after = after.as_deref();
            let page = known.shelf.list(&prefix, after, limit, now)?;
            let (listed, next) = (page.items.into_iter().map(ListedBlob::from), page.next);
            let remaining = known.undone.remaining(&prefix);
            let within = remaining.filter(|(name, _)| {
                let name = name.as_str();
                after.is_none_or(|after| name > after)
                    && next.as_deref().is_none_or(|next| name <= next)
            });
            let within = within.map(|(name, kind)| ListedBlob {
                name: name.clone(),
                record: Err(remains_of(name, kind)),
            });
            let mut items: Vec<_> = listed.chain(within).collect();
            items.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(BackendPage { items, next })
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        list_of_nobody(self).await
    }

    async fn forget_deleted(&self, tenant: TenantId) -> Result<()> {
        self.tidy(move |inner| {
            let tells_of_it = {
                let known = inner.known.lock();
                known.remove_abandoned(&inner.disk)?;
                known.tells_of_deleted(tenant)
            };
            let removed = inner.disk.remove_empty_of(tenant);
            removed.map_err(|cause| disk::failure("remove folders of erased blobs", cause))?;
            // All who follow read a shorter journal anew.
            match tells_of_it {
                true => compact(&inner.known, &inner.disk, &inner.clock),
                false => Ok(()),
            }
        })
        .await
    }

    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        let after = after.map(str::to_owned);
        self.look(move |known, _| known.shelf.due(at, after.as_deref(), limit))
            .await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let names: Vec<_> = deletions.iter().map(|it| it.name.clone()).collect();
        let answers = change(&self.inner, Change::Delete(deletions.to_vec())).await;
        let answers = answers.into_iter().zip(&names);
        answers
            .map(|(answer, name)| answer.map(drop).map_err(|error| about(error, name)))
            .collect()
    }

    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord> {
        let retained = Retained {
            name: name.clone(),
            etag: etag.clone(),
            next: next.clone(),
            act: act.clone(),
        };
        let change = Change::Retention(Box::new(retained));
        self.change_one(name, change).await
    }

    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        let change = Change::Tier {
            name: name.clone(),
            etag: etag.clone(),
            tier,
            priority,
        };
        self.change_one(name, change).await
    }

    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord> {
        let change = Change::Encryption {
            name: name.clone(),
            etag: etag.clone(),
            next: Box::new(next.clone()),
        };
        self.change_one(name, change).await
    }

    async fn signed_url(&self, name: &BlobName, _: Duration) -> Result<SignedUrl> {
        Err(
            about(Error::new(ErrorKind::Unsupported, "sign URL of blob"), name)
                .with_detail("what is in a folder of this machine has no URL"),
        )
    }
}

#[cfg(test)]
mod anew;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod obstacles;
#[cfg(test)]
#[cfg(unix)]
mod owners;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod room;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod storm;
