//! The files and folders of a store itself: no link leads out of it, and what an administrator makes there is for
//! whom the store belongs to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

use super::disk::Disk;
use crate::name::BlobName;

impl Disk {
    /// Makes a file that is not there.
    pub(super) fn make(&self, path: &Path) -> io::Result<File> {
        let file = options_of_owner().create_new(true).open(path)?;
        self.give(&file, false);
        Ok(file)
    }

    /// Opens a file that is written, and makes it if it is not there.
    pub(super) fn open_or_make(&self, path: &Path) -> io::Result<File> {
        loop {
            match open_own(path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match self.make(path) {
                // Another was quicker.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
    }

    /// Makes a folder that is not there; that above it is.
    pub(super) fn make_folder(&self, folder: &Path) -> io::Result<()> {
        folder_builder().create(folder)?;
        #[cfg(unix)]
        if rustix::process::geteuid().is_root() {
            self.give(&open_folder(folder)?, true);
        }
        Ok(())
    }

    /// Checks that an administrator is led nowhere else by a folder of a blob: who has made a link of it may have no
    /// right to what is there, as to blobs of another store.
    #[cfg(unix)]
    pub(super) fn check_way(&self, name: &BlobName) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let root = self.place_of_all();
        let place = self.place(name);
        let folders = place.ancestors().skip(1);
        for folder in folders.take_while(|folder| *folder != root) {
            if fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink()) {
                return Err(in_the_way());
            }
        }
        Ok(())
    }

    #[cfg(not(unix))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "elsewhere it is"
    )]
    pub(super) const fn check_way(&self, _: &BlobName) -> io::Result<()> {
        Ok(())
    }

    /// Gives what an administrator has just made to whom the store belongs: the service could not read it, and would
    /// be closed out by a command that somebody has run. What is there already stays as it is.
    ///
    /// The folder itself may be an administrator's who lets a group write there, so that what is in it tells before.
    #[cfg(unix)]
    fn give(&self, made: &File, is_folder: bool) {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

        if !rustix::process::geteuid().is_root() {
            return;
        }
        let incoming = self.incoming();
        let places = [&self.journal(), &incoming, self.root()];
        let found: Vec<_> = places
            .into_iter()
            .filter_map(|place| fs::symlink_metadata(place).ok())
            .collect();
        let owner = found.iter().find(|it| it.uid() != 0).or(found.first());
        let Some(owner) = owner else { return };
        let given = made.metadata().and_then(|now| {
            if (now.uid(), now.gid()) != (owner.uid(), owner.gid()) {
                fchown(made, Some(owner.uid()), Some(owner.gid()))?;
            }
            // Whom a group lets in is let in still.
            let like = if is_folder { incoming } else { self.journal() };
            match fs::symlink_metadata(like) {
                Ok(like) if like.is_dir() == is_folder && !like.is_symlink() => {
                    let bits = if is_folder { 0o2777 } else { 0o666 };
                    made.set_permissions(fs::Permissions::from_mode(like.mode() & bits))
                }
                _ => Ok(()),
            }
        });
        if let Err(cause) = given {
            self.is_not_given(&cause);
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "elsewhere it is")]
    const fn give(&self, _: &File, _: bool) {}
}

/// Opens a file of the store for reading and writing: no link, for whoever made that may have no right to what it
/// leads to, and nothing that is no file.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let file = options_of_owner().open(path).map_err(without_link)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(in_the_way()),
    }
}

/// Opens a file to read it, where it is one: a pipe would keep its reader waiting, a device has no end, and a link
/// leads elsewhere.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    follow_nothing(&mut options);
    let file = options.open(path).map_err(without_link)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(in_the_way()),
    }
}

/// Opens a folder, where it is one and no link to one.
#[cfg(unix)]
pub(super) fn open_folder(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    follow_nothing(&mut options);
    let folder = options.open(folder).map_err(without_link)?;
    match folder.metadata()?.is_dir() {
        true => Ok(folder),
        false => Err(in_the_way()),
    }
}

/// Checks that a folder of the store is one.
pub(super) fn check_folder(folder: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder)?.is_dir() {
        true => Ok(()),
        false => Err(in_the_way()),
    }
}

/// Removes a file that nobody has locked from a folder that is open: whatever takes the place of the folder meanwhile
/// is left alone.
#[cfg(unix)]
pub(super) fn remove_unlocked(folder: &File, name: &str) -> io::Result<()> {
    use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() && file.try_lock().is_ok() {
        unlinkat(folder, name, AtFlags::empty())?;
    }
    Ok(())
}

/// Options to open a file for its user alone, and nothing that a link leads to.
pub(super) fn options_of_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    follow_nothing(&mut options);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

#[cfg(unix)]
fn follow_nothing(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
}

#[cfg(not(unix))]
const fn follow_nothing(_: &mut OpenOptions) {}

/// Tells what a link is refused with.
fn without_link(cause: io::Error) -> io::Error {
    #[cfg(unix)]
    if cause.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return in_the_way();
    }
    cause
}

fn in_the_way() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a link or something else is in the place of a file or a folder",
    )
}

/// A folder for nobody but its user.
fn folder_builder() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "elsewhere it has a mode"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
}
