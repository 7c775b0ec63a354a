//! Where things are in the folder of a store, and what its disk answers.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use crate::name::BlobName;

/// How long a change waits for those of other processes: with a million blobs, a compaction takes some seconds,
/// and so does each process that reads what came of it.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How much room is kept for the record of deletions: on a full disk they are what makes room.
const RESERVE: usize = 64 * 1024;
/// What the files begin with that keep what was cut off from a journal.
const CUT: &str = "journal.cut-";

/// The folder of a store.
pub(super) struct Disk {
    root: PathBuf,
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
        self.root.join(format!("{CUT}{time}"))
    }

    /// Returns how many bytes were cut off from journals and are kept.
    pub(super) fn cut_off(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(CUT.as_bytes()) {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(super) fn staged(&self, file: impl AsRef<OsStr>) -> PathBuf {
        self.incoming().join(file.as_ref())
    }

    /// Returns where the bytes of a blob are: its name has no part that leads out of the folder.
    pub(super) fn place(&self, name: &BlobName) -> PathBuf {
        self.root.join("blobs").join(name.as_str())
    }

    /// Makes the folders that a store has.
    pub(super) fn prepare(&self) -> io::Result<()> {
        make_folders(&self.incoming())?;
        make_folders(&self.root.join("blobs"))?;
        sync_folder(&self.root)
    }

    /// Returns whether any bytes of blobs are there, in their place or on the way to it.
    pub(super) fn has_bytes(&self) -> io::Result<bool> {
        let mut folders = vec![self.root.join("blobs"), self.incoming()];
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

    /// Waits for the changes of other processes; they wait until what is returned is dropped.
    pub(super) fn lock(&self) -> Result<Lock> {
        let started = Instant::now();
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
        let folder = match try_lock_folder(&self.root) {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system that locks files alone.
            locked => locked.ok().flatten(),
        };
        let path = self.root.join("journal.lock");
        let failed = |cause| failure(LOCK, cause);
        let mut options = options_of_owner();
        let file = options.create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
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

    /// Keeps room for the record of deletions, if it is not kept.
    pub(super) fn keep_reserve(&self) -> io::Result<()> {
        let path = self.reserve();
        if fs::metadata(&path).is_ok_and(|it| it.len() == RESERVE as u64) {
            return Ok(());
        }
        let mut file = options_of_owner().create(true).truncate(true).open(&path)?;
        let written = file
            .write_all(&vec![0; RESERVE])
            .and_then(|()| file.sync_all());
        // Where there was no room for it, it takes none any longer.
        written.inspect_err(|_| drop(remove(&path)))
    }

    /// Gives up what was kept for the record of deletions.
    pub(super) fn give_up_reserve(&self) -> io::Result<()> {
        remove(&self.reserve())?;
        // Some file systems have the room when this is on the disk.
        sync_folder(&self.root)
    }

    /// Creates a file for the bytes of a put. As long as it is locked, its process lives.
    pub(super) fn stage(&self, path: &Path) -> io::Result<File> {
        loop {
            let file = options_of_owner().create_new(true).open(path)?;
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
        if let Err(cause) = make_folders(folder_of(&place)) {
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

    /// Moves the bytes of a put into their place.
    pub(super) fn put_in_place(&self, staged: &Path, name: &BlobName) -> io::Result<()> {
        let place = self.place(name);
        match fs::rename(staged, &place) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && staged.exists() => {
                make_folders(folder_of(&place))?;
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
        let root = self.root.join("blobs");
        for folder in all {
            match sync_folder(&root.join(folder)) {
                // Somebody has removed it, with what was in it.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
        }
        sync_folder(&root)?;
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
    let folder = File::open(folder).map_err(TryLockError::Error)?;
    folder.try_lock()?;
    Ok(Some(folder))
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
const fn try_lock_folder(_: &Path) -> Result<Option<File>, TryLockError> {
    Ok(None)
}

/// Opens a file to read it, where it is one: a pipe would keep its reader waiting, and a device has no end.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file")),
    }
}

/// Makes a folder and those above it that are not there, for nobody but this user.
fn make_folders(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
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
        // Nor is it there where a part of its path is no folder.
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        removed => removed,
    }
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

pub(super) fn options_of_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
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
