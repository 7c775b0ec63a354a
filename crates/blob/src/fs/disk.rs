//! Where things are in the folder of a store, and what its disk answers.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use uuid::Uuid;

#[cfg(unix)]
use super::own::open_folder;
use super::own::{check_folder, open_own};
use crate::name::BlobName;

/// How long a change waits for those of other processes: with a million blobs, a compaction takes some seconds,
/// and so does each process that reads what came of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// One of a process waits at a time for its changes, and one to follow others: they may ask often.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// How much room is kept for the record of deletions, which make room on a full disk, and of what keeps a blob.
const RESERVE: u64 = 64 * 1024;
/// From how many folders on the whole file system is synced in their place: each sync of one may wait for a
/// turn of the disk.
const MANY_FOLDERS: usize = 64;

/// The folder of a store.
pub(super) struct Disk {
    root: PathBuf,
    /// Whether it was told that this process may give nothing away.
    is_told: AtomicBool,
    pub(super) patience: Duration,
    /// What happens at a step.
    #[cfg(test)]
    pub(super) at_step: Option<AtStep>,
}

#[cfg(test)]
pub(super) type AtStep = Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// What has been done, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is a file for the bytes of a put.
    Created,
    /// It is locked, so that others see that its process lives.
    Staged,
    /// A block was written to it.
    Written,
    /// All blocks and their checksums are on the disk.
    Sealed,
    /// So is its entry in the folder.
    Listed,
    /// The change stands in the journal, on its way to the disk.
    Appended,
    /// It is on the disk: the change has happened.
    Recorded,
    /// The bytes of a put are in their place.
    Placed,
    /// The bytes of a deletion are gone.
    Unlinked,
    /// What is to be cut off from the end of the journal is kept beside it.
    Cutting,
    /// The folders of all that was moved into its place are on the disk.
    Settled,
    /// A shorter journal is written, on its way to the disk.
    Compacting,
    /// It is on the disk.
    Compacted,
    /// It has taken the place of the longer one.
    Replaced,
}

impl Disk {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self {
            root,
            is_told: AtomicBool::new(false),
            patience: PATIENCE,
            #[cfg(test)]
            at_step: None,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(super) fn new_journal(&self) -> PathBuf {
        self.root.join("journal.new")
    }

    fn reserve(&self) -> PathBuf {
        self.root.join("journal.reserve")
    }

    /// Returns where what was cut off from a journal at a time is kept.
    pub(super) fn cut_journal(&self, at: DateTime<Utc>) -> PathBuf {
        let time = at.format("%Y%m%dT%H%M%S%.6fZ");
        self.root.join(format!("journal.cut-{time}"))
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(super) fn staged(&self, file: impl AsRef<OsStr>) -> PathBuf {
        self.incoming().join(file.as_ref())
    }

    /// Returns where the bytes of all blobs are.
    pub(super) fn place_of_all(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Returns where the bytes of a blob are: its name has no part that leads out of the folder.
    pub(super) fn place(&self, name: &BlobName) -> PathBuf {
        self.place_of_all().join(name.as_str())
    }

    /// Makes the folders that a store has.
    pub(super) fn prepare(&self) -> io::Result<()> {
        for folder in [self.incoming(), self.place_of_all()] {
            self.make_folders(&folder)?;
            check_folder(&folder)?;
        }
        sync_folder(&self.root)
    }

    /// Makes a folder and those above it that are not there.
    fn make_folders(&self, folder: &Path) -> io::Result<()> {
        match self.make_folder(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let above = folder.parent().ok_or(cause)?;
                self.make_folders(above)?;
                self.make_folders(folder)
            }
            Err(_) if folder.is_dir() => Ok(()),
            made => made,
        }
    }

    /// Tells once that what this process makes is not for whom the store belongs to.
    #[cfg(unix)]
    pub(super) fn is_not_given(&self, cause: &io::Error) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %cause,
                "what is made in the folder of blobs cannot be given to whom it belongs: a service of another user may \
                 not be able to read it"
            );
        }
    }

    /// Returns whether any bytes of blobs are there, in their place or on the way to it.
    pub(super) fn has_bytes(&self) -> io::Result<bool> {
        Ok(has_files(self.incoming())? || self.has_blobs()?)
    }

    /// Returns whether any bytes are in the place of a blob.
    pub(super) fn has_blobs(&self) -> io::Result<bool> {
        has_files(self.place_of_all())
    }

    /// Waits for the changes of other processes; they wait until what is returned is dropped.
    pub(super) fn lock(&self) -> Result<Lock> {
        self.lock_since(Instant::now())
    }

    /// The same, for one who has waited since then.
    pub(super) fn lock_since(&self, started: Instant) -> Result<Lock> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if started.elapsed() >= self.patience {
                return Err(Error::new(ErrorKind::Locked, LOCK).with_detail(
                    "another process holds their lock: try again, or end that process if it hangs",
                ));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes the lock, unless another process holds it.
    fn try_lock(&self) -> Result<Option<Lock>> {
        // Not that of all, which anybody could lock who may read it.
        let folder = match try_lock_folder(&self.incoming()) {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system that locks files alone.
            locked => locked.ok().flatten(),
        };
        let path = self.root.join("journal.lock");
        let failed = |cause| failure(LOCK, cause);
        let file = self.open_or_make(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => {
                return Err(Error::new(ErrorKind::Unsupported, LOCK)
                    .with_detail("its file system takes no locks: move it to one that does")
                    .with_source(cause));
            }
        }
        // Where somebody has removed it, others lock the one that took its name.
        let is_held = is_still(&file, &path).map_err(failed)?;
        Ok(is_held.then_some(Lock {
            _file: file,
            _folder: folder,
        }))
    }

    /// Returns how much room is kept for the record of what has to be recorded on a full disk too.
    fn reserved(&self) -> u64 {
        match fs::symlink_metadata(self.reserve()) {
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        }
    }

    /// Keeps that room, as much as there is where there is not all of it.
    pub(super) fn keep_reserve(&self) -> io::Result<()> {
        match self.reserved() {
            RESERVE => Ok(()),
            kept => self.make_reserve(kept.min(RESERVE)),
        }
    }

    /// The same, also where it is a copy that takes no room.
    pub(super) fn renew_reserve(&self) -> io::Result<()> {
        match fs::symlink_metadata(self.reserve()) {
            Ok(found) if !takes_room(&found) => self.make_reserve(0),
            _ => self.keep_reserve(),
        }
    }

    /// Keeps all of it, of which so much is kept.
    fn make_reserve(&self, kept: u64) -> io::Result<()> {
        // Not zeros, which a copy or a file system that compresses would keep without any room.
        let noise = || *Uuid::new_v4().as_bytes();
        let missing = usize::try_from(RESERVE - kept).unwrap_or_default();
        let bytes: Vec<u8> = iter::repeat_with(noise).flatten().take(missing).collect();
        let mut file = self.open_or_make(&self.reserve())?;
        file.set_len(kept)?;
        file.seek(SeekFrom::Start(kept))?;
        file.write_all(&bytes).and_then(|()| file.sync_all())
    }

    /// Returns whether there may be room for acts on what keeps blobs: they leave a half of it to deletions, which are
    /// what makes room.
    pub(super) fn has_room_for_acts(&self) -> bool {
        self.reserved() >= RESERVE / 2
    }

    /// Gives some of it up, to an act or to deletions; returns whether there is any room more.
    pub(super) fn give_up_reserve(&self, to_deletions: bool) -> io::Result<bool> {
        let kept = self.reserved();
        if to_deletions {
            remove(&self.reserve())?;
        } else if kept > RESERVE / 2 {
            let file = open_own(&self.reserve())?;
            file.set_len(kept.saturating_sub(RESERVE / 8).max(RESERVE / 2))?;
            file.sync_all()?;
        } else {
            return Ok(false);
        }
        // Some file systems have the room when this is on the disk.
        sync_folder(&self.root)?;
        Ok(kept > 0)
    }

    /// Creates a file for the bytes of a put. As long as it is locked, its process lives.
    pub(super) fn stage(&self, path: &Path) -> io::Result<File> {
        loop {
            let file = self.make(path)?;
            self.reached(Step::Created)?;
            // Another who opens the store may have been quicker to lock it, and has removed what it took for
            // the file of a process that has ended: nobody would find the bytes again.
            file.lock()?;
            if is_still(&file, path)? {
                self.reached(Step::Staged)?;
                return Ok(file);
            }
        }
    }

    /// Returns whether there is a folder for the bytes of a put, and all of the room that is kept for deletions.
    pub(super) fn is_ready_for(&self, name: &BlobName) -> bool {
        self.reserved() == RESERVE && self.has_folder(name)
    }

    /// Returns whether there is a folder for the bytes of a blob.
    pub(super) fn has_folder(&self, name: &BlobName) -> bool {
        folder_of(&self.place(name)).is_dir()
    }

    /// Makes the folder that the bytes of a put will be in, and looks whether there is a place for them: a put
    /// for which there is none has to fail before it has happened.
    pub(super) fn make_place(&self, name: &BlobName) -> io::Result<()> {
        let place = self.place(name);
        let in_the_way = || {
            io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else is where the bytes of the blob would be: remove it",
            )
        };
        self.check_way(name)?;
        if let Err(cause) = self.make_folders(folder_of(&place)) {
            return Err(match cause.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => in_the_way(),
                _ => cause,
            });
        }
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => Err(in_the_way()),
            Ok(_) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// Removes the folders of a blob that have nothing in them, and returns the first that stays.
    pub(super) fn remove_empty(&self, name: &BlobName) -> PathBuf {
        let root = self.place_of_all();
        let mut folder = folder_of(&self.place(name)).to_owned();
        while folder != root {
            match fs::remove_dir(&folder) {
                Err(cause) if !is_gone(&cause) => break,
                _ => folder.pop(),
            };
        }
        folder
    }

    /// Removes the folders of a tenant that have nothing in them: they tell what it had, and when.
    pub(super) fn remove_empty_of(&self, tenant: TenantId) -> io::Result<()> {
        let root = self.place_of_all();
        match remove_empty_below(root.join(tenant.to_string()))? {
            true => sync_folder(&root),
            false => Ok(()),
        }
    }

    /// Moves the bytes of a put into their place.
    pub(super) fn put_in_place(&self, staged: &Path, name: &BlobName) -> io::Result<()> {
        self.check_way(name)?;
        let place = self.place(name);
        match fs::rename(staged, &place) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && staged.exists() => {
                self.make_folders(folder_of(&place))?;
                fs::rename(staged, &place)?;
            }
            renamed => renamed?,
        }
        self.reached(Step::Placed)
    }

    /// Has on the disk that blobs are in these folders, which are named as the names of blobs begin.
    pub(super) fn sync_places<'f>(&self, folders: impl Iterator<Item = &'f str>) -> io::Result<()> {
        let mut all = BTreeSet::new();
        for folder in folders {
            let mut from = Some(folder);
            while let Some(folder) = from.filter(|it| all.insert(*it)) {
                from = folder.rsplit_once('/').map(|(above, _)| above);
            }
        }
        let root = self.place_of_all();
        if all.len() < MANY_FOLDERS || !sync_file_system(&root)? {
            for folder in all {
                match sync_folder(&root.join(folder)) {
                    // Somebody has removed it, with what was in it, or put something else there.
                    Err(cause) if is_gone(&cause) => {}
                    synced => synced?,
                }
            }
            sync_folder(&root)?;
        }
        self.reached(Step::Settled)
    }

    #[cfg(test)]
    pub(super) fn reached(&self, step: Step) -> io::Result<()> {
        self.at_step.as_ref().map_or(Ok(()), |at| at(step))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "in tests it is")]
    pub(super) const fn reached(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

const LOCK: &str = "lock blobs";

/// The lock of a store.
pub(super) struct Lock {
    _file: File,
    /// That of the folder as well, which nobody removes as an empty file.
    _folder: Option<File>,
}

/// Locks a folder by itself.
#[cfg(unix)]
fn try_lock_folder(folder: &Path) -> Result<Option<File>, TryLockError> {
    let folder = open_folder(folder).map_err(TryLockError::Error)?;
    folder.try_lock()?;
    Ok(Some(folder))
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
const fn try_lock_folder(_: &Path) -> Result<Option<File>, TryLockError> {
    Ok(None)
}

/// Returns whether there are files in a folder or in those below it.
fn has_files(folder: PathBuf) -> io::Result<bool> {
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => return Ok(true),
            }
        }
    }
    Ok(false)
}

/// Removes the folder of a tenant and those below it where there is nothing in them, and returns whether any is
/// removed.
fn remove_empty_below(tenant: PathBuf) -> io::Result<bool> {
    // What a link leads to is not the store's.
    if !fs::symlink_metadata(&tenant).is_ok_and(|found| found.is_dir()) {
        return Ok(false);
    }
    // Those of its kinds, of their years, and of the months: what is below is in the place of a blob.
    let mut levels = vec![vec![tenant]];
    for level in 0..3 {
        let mut below = Vec::new();
        for folder in &levels[level] {
            let entries = match fs::read_dir(folder) {
                Err(cause) if is_gone(&cause) => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    below.push(entry.path());
                }
            }
        }
        levels.push(below);
    }
    let mut is_any = false;
    for folder in levels.iter().rev().flatten() {
        is_any |= fs::remove_dir(folder).is_ok();
    }
    Ok(is_any)
}

/// Returns whether a file takes as much room as it is long.
#[cfg(unix)]
fn takes_room(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // In blocks of 512 bytes, whatever those of the file system are.
    metadata.blocks() * 512 >= metadata.len()
}

#[cfg(not(unix))]
const fn takes_room(_: &Metadata) -> bool {
    true
}

/// Has all of a file system on its disk, where that can be asked for.
#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> io::Result<bool> {
    rustix::fs::syncfs(File::open(folder)?)?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
const fn sync_file_system(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Returns whether a name is still that of a file.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(identity_of(&found) == identity_of(&file.metadata()?)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if is_gone(&cause) => Ok(()),
        removed => removed,
    }
}

/// Returns whether nothing is there: nor is it where a part of its path is no folder.
fn is_gone(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Has a part of a file begin its way to the disk, and does not wait for it. Nothing rests on it: what counts
/// is the sync at the end, which then has little left to do.
#[cfg(target_os = "linux")]
pub(super) fn begin_flush(file: &File, from: u64, to: u64) {
    // Linux begins to write what is to be dropped from its memory, and drops nothing that is not written. A
    // sync of the data here would wait for the disk, and for the journal of the file system each time.
    let length = std::num::NonZero::new(to.saturating_sub(from));
    let _ = rustix::fs::fadvise(file, from, length, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
pub(super) const fn begin_flush(_: &File, _: u64, _: u64) {}

/// Has the names in a folder on the disk.
#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened, and a rename is written through.
#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Tells one file from another that has taken its name.
#[cfg(unix)]
pub(super) fn identity_of(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
pub(super) const fn identity_of(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Returns what the disk failed with.
pub(super) fn failure(operation: &'static str, cause: io::Error) -> Error {
    let (kind, detail) = match cause.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::InvalidSettings,
            "a folder of the store is not there: create it, or correct the path",
        ),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => (
            ErrorKind::InvalidSettings,
            "the path of the store is no folder: correct it",
        ),
        io::ErrorKind::InvalidData => (
            ErrorKind::InvalidSettings,
            "a link or something else is in the place of a file or a folder of the store: remove it",
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            "let this process read and write the folder of the store",
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::ReadOnly,
            "the file system takes no writes: mount it for writing",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (ErrorKind::StorageFull, "make room, and try again")
        }
        io::ErrorKind::Unsupported => (
            ErrorKind::Unsupported,
            "the file system cannot do this: move the store to another",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the disk failed: look at the cause, and try again",
        ),
    };
    Error::new(kind, operation)
        .with_detail(detail)
        .with_source(cause)
}
