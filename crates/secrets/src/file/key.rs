//! What a file vault is opened with.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::iter;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient, scrypt, x25519};
use tenantry_core::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroizing;

use super::disk;

const OPEN: &str = "open vault";
const WRITE: &str = "write vault";
const CREATE_KEY: &str = "create key of vault";

/// Of scrypt, as powers of two: 1 MiB of memory to 256 MiB.
const WORK_FACTORS: RangeInclusive<u8> = 10..=18;
/// 128 MiB of memory, and about half a second.
const WORK_FACTOR: u8 = 17;
/// A key file has some lines.
const LARGEST_KEY_FILE: usize = 64 * 1024;
/// What is encrypted begins after at most this much.
const LARGEST_HEAD: usize = 64 * 1024;
/// What it begins with.
const FORM: &[u8] = b"age-encryption.org/v1\n";

/// What a [`FileVault`](super::FileVault) is opened with: a key file, or a passphrase.
///
/// Take a key file wherever a file can be handed to the process: it costs nothing to open a vault
/// with. A passphrase costs the work of scrypt each time the file has changed, and at each write.
///
/// # Examples
///
/// ```
/// use tenantry_core::Secret;
/// use tenantry_secrets::FileVaultKey;
///
/// let key = FileVaultKey::file("/run/keys/billing.key");
/// let passphrase = FileVaultKey::passphrase(Secret::new("correct horse battery staple"));
/// assert!(!format!("{key:?}{passphrase:?}").contains("horse"));
/// ```
#[derive(Debug)]
pub struct FileVaultKey {
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Passphrase { passphrase: Secret, work_factor: u8 },
}

impl FileVaultKey {
    /// The identities of age in a file, one `AGE-SECRET-KEY-1…` a line; other lines begin with `#`.
    ///
    /// [`FileVault::create_key`](super::FileVault::create_key) writes such a file, and so does
    /// `age-keygen`. Of several identities each opens the vault, and it is written for all: to change
    /// the key, add the new one, write, and take the old one away.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into()),
        }
    }

    /// A passphrase, from which scrypt makes the key.
    ///
    /// The work factor is 2¹⁷: 128 MiB of memory and about half a second, for each open and each
    /// write.
    #[must_use]
    pub const fn passphrase(passphrase: Secret) -> Self {
        Self {
            source: Source::Passphrase {
                passphrase,
                work_factor: WORK_FACTOR,
            },
        }
    }

    /// Sets the work factor of a passphrase, for what is written: 2 to the power of `log_n`, which is
    /// 10 to 18. A key file has none.
    ///
    /// What is read may have up to 2¹⁸.
    #[must_use]
    pub fn with_work_factor(mut self, log_n: u8) -> Self {
        if let Source::Passphrase { work_factor, .. } = &mut self.source {
            *work_factor = log_n;
        }
        self
    }

    pub(super) fn load(self) -> Result<LoadedKey> {
        match self.source {
            Source::File(path) => identities(&path)
                .map(LoadedKey::Identities)
                .map_err(|error| error.with_subject(path.display().to_string())),
            Source::Passphrase { passphrase, .. } if passphrase.expose().is_empty() => {
                Err(refused("the passphrase is empty"))
            }
            Source::Passphrase { work_factor, .. } if !WORK_FACTORS.contains(&work_factor) => {
                Err(refused("the work factor of a passphrase is 10 to 18"))
            }
            Source::Passphrase {
                passphrase,
                work_factor,
            } => Ok(LoadedKey::Passphrase {
                passphrase,
                work_factor,
            }),
        }
    }
}

/// A key in memory.
pub(super) enum LoadedKey {
    Identities(Vec<x25519::Identity>),
    Passphrase { passphrase: Secret, work_factor: u8 },
}

impl LoadedKey {
    pub(super) fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let encryptor = match self {
            Self::Identities(identities) => {
                let recipients: Vec<_> =
                    identities.iter().map(x25519::Identity::to_public).collect();
                Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn Recipient))
            }
            Self::Passphrase {
                passphrase,
                work_factor,
            } => {
                let mut recipient = scrypt::Recipient::new(copy_of(passphrase));
                recipient.set_work_factor(*work_factor);
                Encryptor::with_recipients(iter::once(&recipient as &dyn Recipient))
            }
        };
        let encrypted = || -> io::Result<Vec<u8>> {
            let encryptor = encryptor.map_err(io::Error::other)?;
            let mut writer = encryptor.wrap_output(Vec::with_capacity(plain.len() + 1024))?;
            writer.write_all(plain)?;
            writer.finish()
        };
        // It goes to memory: nothing in it fails for a reason that could be told.
        encrypted().map_err(|_| {
            Error::new(ErrorKind::Unexpected, WRITE).with_detail("it could not be encrypted")
        })
    }

    pub(super) fn decrypt(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        // The parser begins anew at each line of a head.
        let head = &bytes[..bytes.len().min(LARGEST_HEAD)];
        if !head.windows(5).any(|window| window == b"\n--- ") {
            return Err(corrupt("it is no encrypted file of age, or was cut"));
        }
        let is_newer = bytes.starts_with(b"age-encryption.org/v") && !bytes.starts_with(FORM);
        if is_newer {
            return Err(Error::new(ErrorKind::SchemaMismatch, OPEN).with_detail(
                "it is encrypted in a newer form than this process reads: bring it up to date",
            ));
        }
        let decryptor = Decryptor::new_buffered(bytes)
            .map_err(|_| corrupt("it is no encrypted file of age, or was damaged"))?;
        let is_by_passphrase = decryptor.is_scrypt();
        let reader = match self {
            Self::Identities(_) if is_by_passphrase => {
                return Err(denied("it is opened by a passphrase, and was given a key"));
            }
            Self::Passphrase { .. } if !is_by_passphrase => {
                return Err(denied("it is opened by a key, and was given a passphrase"));
            }
            Self::Identities(identities) => {
                decryptor.decrypt(identities.iter().map(|one| one as &dyn Identity))
            }
            Self::Passphrase { passphrase, .. } => {
                let mut identity = scrypt::Identity::new(copy_of(passphrase));
                identity.set_max_work_factor(*WORK_FACTORS.end());
                decryptor.decrypt(iter::once(&identity as &dyn Identity))
            }
        };
        let mut reader = reader.map_err(|cause| match cause {
            DecryptError::NoMatchingKeys => {
                denied("this key does not open it: use the one that it was written with")
            }
            DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
                denied("this passphrase does not open it: use the one that it was written with")
            }
            DecryptError::ExcessiveWork { .. } => Error::new(ErrorKind::Unsupported, OPEN)
                .with_detail(
                    "its passphrase costs more work than 2^18: write it anew with a lesser factor",
                ),
            _ => corrupt("its head was damaged: restore it from a copy"),
        })?;
        // Long enough for all of it: a buffer that grows leaves copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
        reader
            .read_to_end(&mut plain)
            .map_err(|_| corrupt("it was damaged or cut: restore it from a copy"))?;
        Ok(plain)
    }
}

/// Writes a new identity into a new file.
pub(super) fn create(path: &Path) -> Result<()> {
    let identity = x25519::Identity::generate().to_string();
    let text = Zeroizing::new(format!(
        "# Opens a file vault: whoever has this key reads it, and without it nobody does.\n{}\n",
        identity.expose_secret()
    ));
    let failed = |cause: io::Error| {
        let error = match cause.kind() {
            io::ErrorKind::AlreadyExists => {
                let error = Error::new(ErrorKind::AlreadyExists, CREATE_KEY);
                error.with_detail("there is a file already, which stays what it is")
            }
            _ => disk::failure(CREATE_KEY, cause),
        };
        error.with_subject(path.display().to_string())
    };
    // Under its name the key is whole or not there, and never takes another's place.
    let temporary = disk::sibling(path, &format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let written = disk::create(&temporary, text.as_bytes())
        .and_then(|_| fs::hard_link(&temporary, path))
        .and_then(|()| disk::sync_folder(path));
    let removed = fs::remove_file(&temporary);
    written.map_err(failed)?;
    removed.map_err(failed)
}

/// Reads the identities of a key file.
fn identities(path: &Path) -> Result<Vec<x25519::Identity>> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => {
            refused("there is no key file: create one by FileVault::create_key, or restore it")
        }
        _ => disk::failure(OPEN, cause),
    };
    let file = File::open(path).map_err(failed)?;
    if is_open_to_others(&file.metadata().map_err(failed)?) {
        return Err(refused(
            "others may read the key file: take their rights away, chmod 600",
        ));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST_KEY_FILE + 1));
    let limit = u64::try_from(LARGEST_KEY_FILE + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > LARGEST_KEY_FILE {
        return Err(refused("the key file is larger than 64 KiB"));
    }
    let no_key = || {
        refused(
            "the key file has a line that is no key: expected AGE-SECRET-KEY-1…, or # before it",
        )
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| no_key())?;
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identities = keys
        .map(|key| key.parse().map_err(|_| no_key()))
        .collect::<Result<Vec<_>>>()?;
    if identities.is_empty() {
        return Err(refused("there is no key in the key file"));
    }
    Ok(identities)
}

/// Returns whether anybody but the owner may read or write a file.
///
/// A group may read what belongs to root: so Kubernetes mounts secrets for a process that is not
/// root.
#[cfg(unix)]
fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    is_open(metadata.mode(), metadata.uid())
}

#[cfg(unix)]
const fn is_open(mode: u32, owner: u32) -> bool {
    let refused = if owner == 0 { 0o037 } else { 0o077 };
    mode & refused != 0
}

#[cfg(not(unix))]
const fn is_open_to_others(_: &fs::Metadata) -> bool {
    false
}

/// What age takes, and wipes.
fn copy_of(passphrase: &Secret) -> SecretString {
    SecretString::from(passphrase.expose().to_owned())
}

fn refused(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, OPEN).with_detail(detail)
}

fn denied(detail: &'static str) -> Error {
    Error::new(ErrorKind::PermissionDenied, OPEN).with_detail(detail)
}

fn corrupt(detail: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, OPEN).with_detail(detail)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_owners_alone_but_for_the_group_of_roots() {
        for (mode, owner, open) in [
            (0o600, 1000, false),
            (0o400, 1000, false),
            (0o640, 1000, true),
            (0o604, 1000, true),
            (0o620, 0, true),
            (0o644, 0, true),
            (0o440, 0, false),
            (0o100_600, 0, false),
        ] {
            assert_eq!(is_open(mode, owner), open, "{mode:o} of {owner}");
        }
    }
}
