//! A folder of this machine: whether it is there, can be written to, and is its service's alone.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use tenantry_core::{Error, ErrorKind, Result};

use super::check::Sheet;

/// What was found of a folder.
enum Found {
    /// Nothing is there.
    Missing,
    NoFolder,
    /// A file cannot be made in it.
    Closed(io::Error),
    Open {
        /// Users and rights of the folder and of a file that was made in it; only where there are such.
        owners: Option<Owners>,
    },
}

struct Owners {
    folder: u32,
    process: u32,
    mode: u32,
}

/// Looks at a folder, and returns whether it is there.
///
/// One that is `own` is its service's alone, and made by it when it is not there.
pub(super) async fn look(
    sheet: &mut Sheet,
    check: &'static str,
    folder: PathBuf,
    own: bool,
) -> bool {
    let place = folder.display().to_string();
    let looked = blocking(move || found(&folder));
    let Some(found) = sheet.ask(check, looked).await else {
        return false;
    };
    match found {
        Found::Missing => {
            sheet.warning(
                check,
                format!("there is no folder {place}: the service makes it when it starts"),
                format!("install -d -m 700 -o <user of the service> {place}, or correct the url"),
            );
            return false;
        }
        Found::NoFolder => {
            sheet.failure(
                check,
                format!("{place} is no folder"),
                "correct the url, or move away what is there",
            );
            return false;
        }
        Found::Closed(cause) => sheet.failure(
            check,
            format!("no file can be made in {place}: {cause}"),
            format!(
                "chown <user of the service> {place}, and see whether the disk is full or read-only"
            ),
        ),
        Found::Open { owners } => writable(sheet, check, &place, owners.as_ref(), own),
    }
    true
}

fn writable(
    sheet: &mut Sheet,
    check: &'static str,
    place: &str,
    owners: Option<&Owners>,
    own: bool,
) {
    match owners {
        // An administrator may write anywhere, and who is none has just done so.
        Some(Owners {
            folder, process, ..
        }) if folder != process && (own || *process == 0) => sheet.warning(
            check,
            format!("{place} belongs to user {folder}, and this command runs as user {process}: whether the service may write there is not known"),
            format!("run it as the user of the service: sudo -u '#{folder}' tenantry doctor …"),
        ),
        Some(Owners { mode, .. }) if own && mode & 0o077 != 0 => sheet.warning(
            check,
            format!("{place} can be entered by others (mode {:o})", mode & 0o777),
            format!("chmod 700 {place}"),
        ),
        _ => sheet.ok(check, format!("{place} can be written to")),
    }
}

/// Makes a file, to see whether one can be made: rights alone do not tell of a disk that is full or read-only.
fn found(folder: &Path) -> Found {
    match fs::metadata(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Found::Missing,
        Err(cause) => return Found::Closed(cause),
        Ok(metadata) if !metadata.is_dir() => return Found::NoFolder,
        Ok(_) => {}
    }
    let probe = folder.join(format!(".tenantry-doctor-{}", std::process::id()));
    let made = File::options()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|file| file.metadata());
    // What could be made can be removed; what another has put there stays.
    if made.is_ok() {
        let _ = fs::remove_file(&probe);
    }
    match (made, fs::metadata(folder)) {
        (Ok(file), Ok(folder)) => Found::Open {
            owners: owners(&folder, &file),
        },
        (Err(cause), _) | (_, Err(cause)) => Found::Closed(cause),
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there are none")]
fn owners(folder: &Metadata, file: &Metadata) -> Option<Owners> {
    use std::os::unix::fs::MetadataExt as _;

    Some(Owners {
        folder: folder.uid(),
        process: file.uid(),
        mode: folder.mode(),
    })
}

#[cfg(not(unix))]
fn owners(_folder: &Metadata, _file: &Metadata) -> Option<Owners> {
    None
}

/// Waits for a disk on a thread of its own: one that hangs, as a share in the network, holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::new(ErrorKind::Unexpected, "check folder").with_source(cause))
}
