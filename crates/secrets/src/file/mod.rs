//! A vault in one encrypted file, with nothing installed.

mod disk;
mod document;
mod key;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, Secret, SharedClock, SystemClock};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use self::disk::{Disk, Stamp};
use self::document::{Contents, Stored, Value};
pub use self::key::FileVaultKey;
use self::key::LoadedKey;
use crate::vault::{SecretAttributes, SecretRecord, SecretVersion, Vault};

const READ: &str = "read vault";
const WRITE: &str = "write vault";

/// As in Key Vault.
const LARGEST_VALUE: usize = 25 * 1024;
const MOST_VERSIONS: usize = 1_000;

/// Keeps secrets in one file, encrypted by [age](https://age-encryption.org).
///
/// It is the vault with nothing installed: for development, for one machine, for a service that is
/// shipped to its users. Several processes may use one file at the same time. It is no place for what
/// several machines share, and it does not say who has read what.
///
/// A process that can read the key can read all of it; one that can write its folder can put an
/// earlier copy in its place. Whoever loses the key has lost the secrets.
///
/// # What is on the disk
///
/// - The file: a JSON document in age's binary format, readable by the tools of age. It is replaced as
///   a whole: written beside its place under a name that ends in `.new`, synced, renamed, and the
///   folder synced. After a crash the file is the old or the new one; the next write removes what a
///   crash has left. On Unix all files are their owner's alone.
/// - An empty file whose name ends in `.lock`, by which writers wait for each other, also across
///   processes; for 5 seconds at most. Readers wait for nobody. Leave it where it is.
/// - No file, as long as nothing was stored: the vault is empty.
///
/// # What is in memory
///
/// Decrypted values stay for as long as the file stays what it is: each call compares its length, time
/// of change, inode and first 1,024 bytes. The last hold what is new with every writing; time and
/// inode can come again. Values and the decrypted document are wiped when they are dropped. Of what is
/// written, the encrypting writer of age leaves up to 64 KiB unwiped.
///
/// # Limits
///
/// A value has up to 25 KiB, the file up to 16 MiB, and a secret up to 1,000 versions. All versions
/// are kept until [`delete_disabled`](Self::delete_disabled).
///
/// # Examples
///
/// ```
/// use tenantry_core::Secret;
/// use tenantry_secrets::{FileVault, FileVaultKey, Vault as _};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let (file, key) = (folder.path().join("billing.age"), folder.path().join("billing.key"));
///
/// FileVault::create_key(&key).await?;                                  // once
/// let vault = FileVault::open(&file, FileVaultKey::file(&key)).await?;
/// vault.put("smtp-password", &Secret::new("hunter2"), &Default::default()).await?;
///
/// let elsewhere = FileVault::open(&file, FileVaultKey::file(&key)).await?;
/// assert_eq!(elsewhere.read("smtp-password", None).await?.secret.expose(), "hunter2");
/// # Ok(())
/// # }
/// ```
pub struct FileVault {
    inner: Arc<Inner>,
    clock: SharedClock,
}

struct Inner {
    disk: Disk,
    key: LoadedKey,
    /// Locked by threads that work, never by tasks that wait for a thread.
    known: Mutex<Known>,
    /// Tasks wait here rather than in a thread each: one reads at a time, and one writes.
    read_turn: Arc<tokio::sync::Mutex<()>>,
    write_turn: Arc<tokio::sync::Mutex<()>>,
}

/// What was seen of the file.
#[derive(Default)]
struct Known {
    was_there: bool,
    opened: Option<Opened>,
}

struct Opened {
    stamp: Stamp,
    contents: Arc<Contents>,
}

impl FileVault {
    /// Opens the vault in a file, which need not be there yet.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): there is no key file, others may read it, or
    ///   it holds no key; the passphrase is empty; the folder is not there.
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied): the key or the passphrase is another, or
    ///   the process may not read a file.
    /// - [`Corrupt`](ErrorKind::Corrupt): the file was damaged, or is no vault.
    /// - [`SchemaMismatch`](ErrorKind::SchemaMismatch): a newer release has written it.
    /// - [`Unsupported`](ErrorKind::Unsupported): it is larger than 16 MiB, or its passphrase costs
    ///   more work than 2¹⁸.
    /// - [`Unavailable`](ErrorKind::Unavailable): the disk failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has changed nothing.
    pub async fn open(path: impl Into<PathBuf>, key: FileVaultKey) -> Result<Self> {
        let disk = Disk::new(path.into());
        blocking(move || Self::open_now(disk, key)).await
    }

    fn open_now(disk: Disk, key: FileVaultKey) -> Result<Self> {
        let key = key.load()?;
        let about = |error: Error| error.with_subject(disk.path().display().to_string());
        if !disk::folder_of(disk.path()).is_dir() {
            return Err(about(
                Error::new(ErrorKind::InvalidSettings, "open vault")
                    .with_detail("its folder is not there: create it, or correct the path"),
            ));
        }
        let mut known = Known::default();
        known.contents(&disk, &key).map_err(about)?;
        Ok(Self {
            inner: Arc::new(Inner {
                disk,
                key,
                known: Mutex::new(known),
                read_turn: Arc::default(),
                write_turn: Arc::default(),
            }),
            clock: Arc::new(SystemClock),
        })
    }

    /// Tells the time of versions by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Creates a key file, for its owner alone, with a new key.
    ///
    /// Keep a copy of it apart from copies of the vault.
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](ErrorKind::AlreadyExists): there is a file, which stays what it is. Of two
    ///   processes that create one key, one is told so, and the key is whole.
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): its folder is not there.
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied), [`ReadOnly`](ErrorKind::ReadOnly),
    ///   [`StorageFull`](ErrorKind::StorageFull), [`Unavailable`](ErrorKind::Unavailable): the folder
    ///   takes no file.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the key is created or it is not.
    pub async fn create_key(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref().to_owned();
        blocking(move || key::create(&path)).await
    }

    /// Deletes the versions of a secret that are disabled, but for the newest, and returns how many
    /// there were.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Vault::put).
    ///
    /// # Cancel safety
    ///
    /// Dropped, all of them are deleted or none is.
    pub async fn delete_disabled(&self, name: &str) -> Result<usize> {
        let name = name.to_ascii_lowercase();
        self.write(move |contents| {
            let versions = contents.secrets.get_mut(&name).ok_or_else(not_found)?;
            let before = versions.len();
            let mut left = before;
            versions.retain(|stored| {
                left -= 1;
                stored.enabled || left == 0
            });
            Ok(before - versions.len())
        })
        .await
    }

    /// Returns what the file holds.
    async fn contents(&self) -> Result<Arc<Contents>> {
        let inner = Arc::clone(&self.inner);
        let turn = Arc::clone(&inner.read_turn).lock_owned().await;
        blocking(move || {
            let contents = inner.contents();
            drop(turn);
            contents
        })
        .await
    }

    /// Changes what the file holds, or leaves it all as it is.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        // It goes along: who drops this future lets nobody write before the write has ended.
        let turn = Arc::clone(&inner.write_turn).lock_owned().await;
        let written = spawn_blocking(move || {
            let outcome = inner.write(change);
            drop(turn);
            outcome
        });
        written.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::CommitUnknown, WRITE)
                .with_detail("it has panicked, or the runtime has ended: read it"))
        })
    }
}

impl Inner {
    fn contents(&self) -> Result<Arc<Contents>> {
        self.known.lock().contents(&self.disk, &self.key)
    }

    fn write<T>(&self, change: impl FnOnce(&mut Contents) -> Result<T>) -> Result<T> {
        let path = self.disk.real_path()?;
        let _lock = self.disk.lock(&path)?;
        let mut contents = Contents::clone(&*self.contents()?);
        let outcome = change(&mut contents)?;
        let bytes = self.key.encrypt(&contents.to_json()?)?;
        if bytes.len() > self.disk.largest {
            return Err(Error::new(ErrorKind::StorageFull, WRITE).with_detail(
                "it would be larger than 16 MiB: disable old versions and call delete_disabled",
            ));
        }
        let stamp = self.disk.replace(&path, &bytes);
        let mut known = self.known.lock();
        known.was_there |= stamp.is_ok();
        known.opened = None;
        let stamp = stamp?;
        known.opened = Some(Opened {
            stamp,
            contents: Arc::new(contents),
        });
        Ok(outcome)
    }
}

impl Known {
    /// Returns what the file holds, and decrypts it if it has changed.
    fn contents(&mut self, disk: &Disk, key: &LoadedKey) -> Result<Arc<Contents>> {
        let Some(look) = disk.look()? else {
            self.opened = None;
            // A volume that is not mounted must not look like secrets that were deleted.
            return if self.was_there {
                Err(Error::new(ErrorKind::Unavailable, READ).with_detail(
                    "its file has gone: put it back, or open the vault anew to begin an empty one",
                ))
            } else {
                Ok(Arc::default())
            };
        };
        self.was_there = true;
        match &self.opened {
            Some(opened) if opened.stamp == look.stamp => Ok(Arc::clone(&opened.contents)),
            _ => {
                self.opened = None;
                let (stamp, bytes) = disk.read(look)?;
                let contents = Arc::new(Contents::parse(&key.decrypt(&bytes)?)?);
                self.opened = Some(Opened {
                    stamp,
                    contents: Arc::clone(&contents),
                });
                Ok(contents)
            }
        }
    }
}

/// # Errors
///
/// All calls fail with the kinds of [`FileVault::open`], should the file have become so since, and
/// with [`Unavailable`](ErrorKind::Unavailable) if it has gone. Those that write fail as well with
///
/// - [`InvalidInput`](ErrorKind::InvalidInput): the value is larger than 25 KiB, or no secret can be
///   called so.
/// - [`Locked`](ErrorKind::Locked): other processes wrote for 5 seconds; trying again can succeed.
/// - [`StorageFull`](ErrorKind::StorageFull): the disk, the file or the secret takes no more.
/// - [`ReadOnly`](ErrorKind::ReadOnly), [`PermissionDenied`](ErrorKind::PermissionDenied): the folder
///   takes no file.
/// - [`CommitUnknown`](ErrorKind::CommitUnknown): it is written, and the folder could not be synced.
///
/// # Cancel safety
///
/// A read that is dropped has changed nothing. A write that is dropped before its turn has stored
/// nothing; after that it goes on in its thread, and stores the whole version or nothing.
#[async_trait]
impl Vault for FileVault {
    async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretRecord> {
        let contents = self.contents().await?;
        let stored = contents.find(name, version).ok_or_else(not_found)?;
        Ok(stored.to_record())
    }

    async fn put(
        &self,
        name: &str,
        value: &Secret,
        attributes: &SecretAttributes,
    ) -> Result<SecretVersion> {
        if !document::is_name(name) {
            return Err(Error::new(ErrorKind::InvalidInput, WRITE)
                .with_detail("a secret is called by 1 to 127 letters, digits and hyphens"));
        }
        if value.expose().len() > LARGEST_VALUE {
            return Err(Error::new(ErrorKind::InvalidInput, WRITE)
                .with_detail("a value has 25 KiB at most: keep what is larger elsewhere"));
        }
        let name = name.to_ascii_lowercase();
        let value = Value(Arc::new(Secret::new(value.expose())));
        let (attributes, clock) = (attributes.clone(), Arc::clone(&self.clock));
        self.write(move |contents| {
            let versions = contents.secrets.entry(name).or_default();
            if versions.len() >= MOST_VERSIONS {
                return Err(Error::new(ErrorKind::StorageFull, WRITE).with_detail(
                    "it has 1,000 versions: disable old ones and call delete_disabled",
                ));
            }
            let stored = Stored {
                version: Uuid::new_v4().simple().to_string(),
                created_at: clock.now(),
                enabled: true,
                not_before: attributes.not_before,
                expires_at: attributes.expires_at,
                value,
            };
            let version = stored.to_version();
            versions.push(stored);
            Ok(version)
        })
        .await
    }

    async fn set_enabled(&self, name: &str, version: &str, enabled: bool) -> Result<()> {
        let (name, version) = (name.to_ascii_lowercase(), version.to_owned());
        self.write(move |contents| {
            let versions = contents.secrets.get_mut(&name).into_iter().flatten();
            let mut versions = versions.filter(|stored| stored.is(&version));
            versions.next().ok_or_else(not_found)?.enabled = enabled;
            Ok(())
        })
        .await
    }

    async fn versions(&self, name: &str) -> Result<Vec<SecretVersion>> {
        let contents = self.contents().await?;
        let versions = contents.secrets.get(&name.to_ascii_lowercase());
        let versions = versions.ok_or_else(not_found)?;
        Ok(versions.iter().map(Stored::to_version).collect())
    }

    async fn newest(&self) -> Result<Vec<(String, SecretVersion)>> {
        let contents = self.contents().await?;
        let newest = contents.secrets.iter().filter_map(|(name, versions)| {
            let last = versions.last()?;
            Some((name.clone(), last.to_version()))
        });
        Ok(newest.collect())
    }
}

impl fmt::Debug for FileVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileVault")
            .field("path", &self.inner.disk.path())
            .finish_non_exhaustive()
    }
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, READ)
}

/// Runs what waits for the disk, or for scrypt, where it holds up no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unexpected, "use vault")
            .with_detail("it has panicked, or the runtime has ended"))
    })
}

#[cfg(test)]
mod tests;
