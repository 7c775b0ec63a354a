//! The file of a vault: looked at, locked, replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tenantry_core::{Error, ErrorKind, Result};

const READ: &str = "read vault";
const WRITE: &str = "write vault";

/// The largest file that is read or written.
const LARGEST: usize = 16 * 1024 * 1024;
/// How much of a file's beginning tells one writing from another.
const HEAD: usize = 1024;
/// How long a writer waits for those of other processes.
///
/// Well below the deadline of [`Secrets`](crate::Secrets): who gave up before would not know whether
/// the write was stored.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Where a vault is.
pub(super) struct Disk {
    path: PathBuf,
    pub(super) patience: Duration,
    pub(super) largest: usize,
    /// What happens at a step of a write.
    #[cfg(test)]
    pub(super) at_step: Option<AtStep>,
}

#[cfg(test)]
pub(super) type AtStep = Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// What a write has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is a temporary file.
    Created,
    /// All bytes are in it, and on their way to the disk.
    Written,
    /// They are on the disk.
    Synced,
    /// It has the name of the vault.
    Renamed,
}

/// Tells one writing of a file from another.
///
/// Length, time and inode can all come again: the time goes by the ticks of the kernel, and inodes
/// are used anew. The head of an encrypted file cannot, for each writing has a key of its own; and it
/// alone would not tell that the rest was damaged.
#[derive(PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    identity: Option<(u64, u64)>,
    head: Vec<u8>,
}

/// A file that was opened, and read up to the end of its head.
pub(super) struct Look {
    file: File,
    pub(super) stamp: Stamp,
}

impl Disk {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            patience: PATIENCE,
            largest: LARGEST,
            #[cfg(test)]
            at_step: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file, if there is one.
    pub(super) fn look(&self) -> Result<Option<Look>> {
        // Before it is opened: to open a pipe takes until somebody writes to it.
        let opened = match self.path.metadata() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if !metadata.is_file() => Err(io::ErrorKind::IsADirectory.into()),
            looked => looked.and_then(|_| File::open(&self.path)),
        };
        if let Err(cause) = &opened
            && cause.kind() == io::ErrorKind::NotFound
        {
            return Ok(None);
        }
        let looked = opened.and_then(|mut file| {
            let metadata = file.metadata()?;
            let mut head = Vec::with_capacity(HEAD);
            (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
            let stamp = Stamp::new(&metadata, head);
            Ok(Look { file, stamp })
        });
        looked.map(Some).map_err(|cause| failure(READ, cause))
    }

    /// Reads the whole file.
    pub(super) fn read(&self, look: Look) -> Result<(Stamp, Vec<u8>)> {
        let Look { file, stamp } = look;
        let mut bytes = stamp.head.clone();
        // One more, to tell what is too large.
        let limit = u64::try_from(self.largest + 1).unwrap_or(u64::MAX);
        let read = file.take(limit).read_to_end(&mut bytes);
        read.map_err(|cause| failure(READ, cause))?;
        if bytes.len() > self.largest {
            return Err(Error::new(ErrorKind::Unsupported, READ)
                .with_detail("its file is larger than 16 MiB, which no vault is"));
        }
        Ok((stamp, bytes))
    }

    /// Returns the path that links lead to: it is what writers lock and replace.
    pub(super) fn real_path(&self) -> Result<PathBuf> {
        let real = match fs::canonicalize(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                if self.path.is_symlink() {
                    return Err(Error::new(ErrorKind::InvalidSettings, WRITE)
                        .with_detail("its path is a link that leads nowhere"));
                }
                let name = self
                    .path
                    .file_name()
                    .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory));
                name.and_then(|name| Ok(fs::canonicalize(folder_of(&self.path))?.join(name)))
            }
            real => real,
        };
        real.map_err(|cause| failure(WRITE, cause))
    }

    /// Waits for the writers of other processes; they wait until what is returned is dropped.
    pub(super) fn lock(&self, real_path: &Path) -> Result<File> {
        let lock_path = sibling(real_path, ".lock");
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let opened = options_of_owner()
                .create(true)
                .truncate(false)
                .open(&lock_path);
            let file = opened.map_err(|cause| failure(WRITE, cause))?;
            match file.try_lock() {
                // Another writer locks what the path names now.
                Ok(()) if is_at(&file, &lock_path) => return Ok(file),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(cause)) => {
                    return Err(Error::new(ErrorKind::Unsupported, WRITE)
                        .with_detail("its file system takes no locks: move it to one that does")
                        .with_source(cause));
                }
            }
            if started.elapsed() >= self.patience {
                return Err(Error::new(ErrorKind::Locked, WRITE).with_detail(
                    "another process holds its lock: try again, or end that process if it hangs",
                ));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Replaces the file, while its lock is held.
    pub(super) fn replace(&self, real_path: &Path, bytes: &[u8]) -> Result<Stamp> {
        let temporary = temporary_of(real_path);
        let renamed = self.write_temporary(&temporary, bytes).and_then(|stamp| {
            fs::rename(&temporary, real_path)?;
            Ok(stamp)
        });
        let stamp = renamed.map_err(|cause| {
            // What stays is removed by the next write.
            let _ = fs::remove_file(&temporary);
            failure(WRITE, cause)
        })?;
        let durable = self.reached(Step::Renamed);
        durable
            .and_then(|()| sync_folder(real_path))
            .map_err(|cause| {
                Error::new(ErrorKind::CommitUnknown, WRITE)
                    .with_detail("it is written, and a loss of power may undo that: read it")
                    .with_source(cause)
            })?;
        Ok(stamp)
    }

    fn write_temporary(&self, temporary: &Path, bytes: &[u8]) -> io::Result<Stamp> {
        // Nobody but the holder of the lock has one: what is there, a crash has left.
        match fs::remove_file(temporary) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let mut file = options_of_owner().create_new(true).open(temporary)?;
        self.reached(Step::Created)?;
        file.write_all(bytes)?;
        self.reached(Step::Written)?;
        file.sync_all()?;
        self.reached(Step::Synced)?;
        let head = bytes[..bytes.len().min(HEAD)].to_vec();
        Ok(Stamp::new(&file.metadata()?, head))
    }

    #[cfg(test)]
    fn reached(&self, step: Step) -> io::Result<()> {
        self.at_step.as_ref().map_or(Ok(()), |at| at(step))
    }

    #[cfg(not(test))]
    const fn reached(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

impl Stamp {
    fn new(metadata: &Metadata, head: Vec<u8>) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            identity: identity_of(metadata),
            head,
        }
    }
}

/// Writes a new file to the disk, for its owner alone.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = options_of_owner().create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Has the names in the folder of a file on the disk.
#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Elsewhere a folder cannot be opened, and a rename is written through.
#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Returns the path of a file with something behind its name.
pub(super) fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut sibling = OsString::from(path);
    sibling.push(ending);
    sibling.into()
}

/// Returns what a file was refused with.
pub(super) fn failure(operation: &'static str, cause: io::Error) -> Error {
    let (kind, detail) = match cause.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::InvalidSettings,
            "its folder is not there: create it, or correct the path",
        ),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => (
            ErrorKind::InvalidSettings,
            "its path names no file: correct it",
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            "let this process read and write the file and its folder",
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::ReadOnly,
            "its file system takes no writes: mount it for writing",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (ErrorKind::StorageFull, "make room, and try again")
        }
        io::ErrorKind::Unsupported => (
            ErrorKind::Unsupported,
            "its file system cannot do this: move it to another",
        ),
        _ => (
            ErrorKind::Unavailable,
            "its disk failed: look at the cause, and try again",
        ),
    };
    Error::new(kind, operation)
        .with_detail(detail)
        .with_source(cause)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn temporary_of(path: &Path) -> PathBuf {
    sibling(path, ".new")
}

fn options_of_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Returns whether a path still names an open file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => identity_of(&open) == identity_of(&named),
        _ => false,
    }
}

#[cfg(unix)]
fn identity_of(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
const fn identity_of(_: &Metadata) -> Option<(u64, u64)> {
    None
}
