//! Encrypts the blobs of each tenant by a key of its own, before they leave the process.

mod cipher;
mod keys;
mod layout;
mod read;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result, SecretSource, TenantId};

use self::cipher::DataKey;
use self::keys::{Asked, Keyring};
pub use self::keys::{BlobKeys, VaultKeys};
use self::layout::{Layout, SEGMENT};
use self::read::{Opening, truncated};
use self::upload::{Sealing, Upload};
use crate::backend::{
    BackendPage, BlobBackend, BlobRead, BlobUpload, Deletion, ListedBlob, ListedDue, NewBlob,
    SignedUrl,
};
use crate::integrity::Sha256;
use crate::name::{BlobName, BlobPrefix};
use crate::record::{BlobEncryption, BlobRecord, ETag, KeyState, RehydratePriority, Tier};
use crate::retention::{RetentionAct, RetentionState};
use crate::store::{about, not_found, outside, rehydrating};

const REWRAP: &str = "rewrap key of blob";
/// Up to this length bytes are encrypted and opened on the spot: that takes some 20 µs, and to have a
/// thread do it costs more.
const SHORT: usize = 128 * 1024;
/// How often a rewrap begins anew because another was quicker.
const TRIES: usize = 4;

/// Encrypts what a backend keeps, each tenant's blobs by a key of its own: whoever loses that key has
/// erased them, also those that a lock keeps for years.
///
/// # What it does
///
/// Each blob has a fresh key, and is encrypted by AES-256-GCM in segments of 64 KiB, of which each knows
/// its place and the last that it is the last; so no byte, segment or blob can be altered, left out or
/// put in another's place unnoticed, and a range is read by the segments that it lies in. The key of the
/// blob is wrapped by that of the tenant, together with the blob's name; what is kept beside the bytes is
/// [`BlobEncryption`], never a key.
///
/// Length and digest in a record are those of the bytes that were put. The digest is kept hidden: it
/// shows itself by the key alone, so that nobody finds out by it whether a tenant has a known file. It is
/// proven by reading the blob.
///
/// # What it does not
///
/// Name, length, times, content type, metadata and tags are not encrypted. Whoever can write to the
/// storage can still delete, and bring back an earlier state of a blob as a whole; only
/// [locks](crate::Retention::locked) forbid that.
///
/// # Keys
///
/// A key is a secret of 32 random bytes as base64. A new version of it wraps the keys of new blobs; old
/// ones open by the version that is written with them, until they were [rewrapped](Self::rewrap). Where
/// the place of a secret keeps no versions, a file or a variable, another reference takes its place, and
/// [`BlobKeys`] names both. One version wraps up to 2³² keys.
///
/// A tenant without a key is [`KeyUnavailable`](ErrorKind::KeyUnavailable); nothing is ever put in plain.
/// What lies in plain in the backend is `Corrupt`, unless [allowed](Self::with_unencrypted_blobs).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use tenantry_blob::{
///     BlobKind, BlobStore, EncryptedBlobs, MemoryBlobs, PutOptions, Retention, VaultKeys,
/// };
/// use tenantry_core::{ErrorKind, Secret, SecretReference, Service, TenantId};
/// use tenantry_secrets::{MemoryVault, Secrets};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let secrets = Secrets::builder().with_vault("blobs", Arc::new(MemoryVault::new()))?.build()?;
/// let tenant = TenantId::generate();
/// let key = SecretReference::of_tenant("blobs", tenant, "key")?;
/// let random = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";          // `openssl rand -base64 32`
/// secrets.put_new_version(&key, Secret::new(random), Default::default()).await?;
///
/// let keys = VaultKeys::new("blobs", "key")?;
/// let backend = EncryptedBlobs::new(Arc::new(MemoryBlobs::new()), Arc::new(keys), Arc::new(secrets));
/// let store = BlobStore::new(Arc::new(backend));
///
/// let blobs = store.tenant(tenant);
/// let name = blobs.name(&BlobKind::new("exports")?)?;
/// let options = PutOptions::new(Service::Reporting, Retention::days(365));
/// blobs.put_bytes(&name, options.clone(), "id,total\n").await?;
/// assert_eq!(blobs.get(&name).await?.bytes, "id,total\n");
///
/// let without_key = store.tenant(TenantId::generate());
/// let name = without_key.name(&BlobKind::new("exports")?)?;
/// let error = without_key.put_bytes(&name, options, "id,total\n").await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EncryptedBlobs {
    inner: Arc<dyn BlobBackend>,
    keyring: Keyring,
    segment: u32,
    reads_plain: bool,
}

impl EncryptedBlobs {
    /// Encrypts what `inner` keeps by the keys that `keys` names and `secrets` holds.
    #[must_use]
    pub fn new(
        inner: Arc<dyn BlobBackend>,
        keys: Arc<dyn BlobKeys>,
        secrets: Arc<dyn SecretSource>,
    ) -> Self {
        Self {
            inner,
            keyring: Keyring::new(keys, secrets),
            segment: SEGMENT,
            reads_plain: false,
        }
    }

    /// Gives out what lies in plain in the backend, from before it was encrypted.
    ///
    /// Whoever can write to the storage can put something plain in the place of what was encrypted; a
    /// tenant whose blobs are all encrypted is better off without.
    #[must_use]
    pub const fn with_unencrypted_blobs(mut self) -> Self {
        self.reads_plain = true;
        self
    }

    /// Wraps the key of a blob by the newest version of its tenant's, and leaves the bytes as they are:
    /// then the version before is needed no more by it.
    ///
    /// What is locked or held cannot be changed: it needs the version that it has until its time is over.
    /// Where the newest version has wrapped it already, nothing is done.
    ///
    /// # Isolation
    ///
    /// Another tenant's name answers [`NotFound`](ErrorKind::NotFound), as one does that nobody has.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is not encrypted.
    /// - [`KeyUnavailable`](ErrorKind::KeyUnavailable): one of the two keys is not to be had.
    /// - [`Retained`](ErrorKind::Retained): a lock or a hold keeps it as it is.
    /// - [`Unsupported`](ErrorKind::Unsupported): the backend changes nothing beside the bytes.
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not; the blob opens in either case.
    pub async fn rewrap(&self, tenant: TenantId, name: &BlobName) -> Result<BlobRecord> {
        if name.tenant() != tenant {
            return Err(not_found(REWRAP, name));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.rewrap_once(name).await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => {}
                rewrapped => return rewrapped,
            }
        }
    }

    async fn rewrap_once(&self, name: &BlobName) -> Result<BlobRecord> {
        let record = self.inner.head(name).await?;
        let Some(before) = &record.encryption else {
            return Err(about(Error::new(ErrorKind::InvalidInput, REWRAP), name)
                .with_detail("it is not encrypted: copy it, whose copy is"));
        };
        let data = self.data_key(&record, before, &mut Asked::default()).await;
        let data = data.map_err(|unopened| unopened.error)?;
        let (reference, key) = self.keyring.newest(name).await?;
        if reference == *before.key() {
            return opened(record, &data);
        }
        let next = Keyring::wrap(name, (reference, &key), &data, before.segment_length())?;
        let record = self.inner.set_encryption(name, &record.etag, &next).await?;
        opened(record, &data)
    }

    async fn data_key(
        &self,
        record: &BlobRecord,
        encryption: &BlobEncryption,
        asked: &mut Asked,
    ) -> Result<DataKey, keys::Unopened> {
        self.keyring.unwrap(&record.name, encryption, asked).await
    }

    /// Returns a record as the service is to see it; where the key is lost, as far as it can be seen.
    async fn shown(&self, record: BlobRecord, asked: &mut Asked) -> Result<BlobRecord> {
        let Some(encryption) = &record.encryption else {
            return Ok(record);
        };
        match self.data_key(&record, encryption, asked).await {
            Ok(key) => opened(record, &key),
            Err(unopened) if unopened.error.is_retryable() => Err(unopened.error),
            Err(unopened) => Ok(lost(record, unopened.cause)),
        }
    }

    /// The same of what was changed: that has happened, whether its key is at hand or not.
    async fn changed(&self, record: BlobRecord) -> Result<BlobRecord> {
        let Some(encryption) = &record.encryption else {
            return Ok(record);
        };
        let mut asked = Asked::default();
        match self.data_key(&record, encryption, &mut asked).await {
            Ok(key) => opened(record, &key),
            Err(unopened) => Ok(lost(record, unopened.cause)),
        }
    }

    /// Refuses what lies in plain where nothing should.
    fn check_plain(&self, name: &BlobName) -> Result<()> {
        if self.reads_plain {
            return Ok(());
        }
        Err(
            about(Error::new(ErrorKind::Corrupt, "read blob"), name).with_detail(
                "it is not encrypted, and is to be: if it was put before, allow it \
                 by `with_unencrypted_blobs`",
            ),
        )
    }

    async fn read_range(&self, name: &BlobName, range: Range<u64>) -> Result<BlobRead> {
        // Where the range lies depends on how long the blob is.
        let known = self.inner.head(name).await?;
        let Some(encryption) = &known.encryption else {
            self.check_plain(name)?;
            return self.inner.read(name, Some(range)).await;
        };
        if !known.is_readable() {
            return Err(rehydrating(&known));
        }
        let layout = Layout::new(encryption.segment_length());
        let length = layout.length(known.length).ok_or_else(|| truncated(name))?;
        if range.start > range.end || range.end > length {
            return Err(outside(name));
        }
        let (first, lies) = match range.is_empty() {
            true => (0, 0..0),
            false => layout.sealed_range(&range, known.length),
        };
        let came = lies.end - lies.start;
        let BlobRead { record, bytes } = self.inner.read(name, Some(lies)).await?;
        let of = |record: &BlobRecord| record.encryption.as_ref().map(|it| it.segment_length());
        if record.length != known.length || of(&record) != of(&known) {
            return Err(about(Error::new(ErrorKind::Conflict, "read blob"), name)
                .with_detail("another blob took its place meanwhile: read it again"));
        }
        self.opening(record, range, bytes, (first, came)).await
    }

    /// Opens what was read of a blob, and tells of it.
    async fn opening(
        &self,
        record: BlobRecord,
        range: Range<u64>,
        bytes: stream::BoxStream<'static, Result<bytes::Bytes>>,
        (first, came): (u64, u64),
    ) -> Result<BlobRead> {
        let Some(encryption) = &record.encryption else {
            self.check_plain(&record.name)?;
            return Ok(BlobRead { record, bytes });
        };
        let mut asked = Asked::default();
        let key = self.data_key(&record, encryption, &mut asked).await;
        let key = key.map_err(|unopened| unopened.error)?;
        let layout = Layout::new(encryption.segment_length());
        let opening = Opening {
            name: record.name.clone(),
            cipher: Arc::new(key.cipher()?),
            layout,
            segments: layout.segments(record.length),
            range,
        };
        Ok(BlobRead {
            record: opened(record, &key)?,
            bytes: match came {
                0 => stream::empty().boxed(),
                _ => read::open(opening, first, came, bytes),
            },
        })
    }
}

// What a default did, it would do past the encryption.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobBackend for EncryptedBlobs {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.now()
    }

    fn check_clock(&self, operation: &'static str) -> Result<()> {
        self.inner.check_clock(operation)
    }

    fn block_length(&self, length: Option<u64>) -> usize {
        let layout = Layout::new(self.segment);
        let block = self
            .inner
            .block_length(length.map(|it| layout.sealed_length(it)));
        // So that what came as a block goes on as one, where whole segments are one.
        (block / layout.segment()).max(1) * layout.content()
    }

    fn takes_whole_blocks(&self) -> bool {
        // They are encrypted into memory of their own.
        false
    }

    async fn keeps_deleted_for(&self) -> Result<Option<Duration>> {
        self.inner.keeps_deleted_for().await
    }

    async fn create(&self, blob: NewBlob) -> Result<Box<dyn BlobUpload>> {
        let name = blob.name.clone();
        if blob.encryption.is_some() {
            return Err(about(Error::new(ErrorKind::Unsupported, "put blob"), &name)
                .with_detail("it is encrypted already: wrap a backend once"));
        }
        let (reference, wrapping) = self.keyring.newest(&name).await?;
        let key = DataKey::generate()?;
        let encryption = Keyring::wrap(&name, (reference, &wrapping), &key, self.segment)?;
        let layout = Layout::new(self.segment);
        let length = blob.length.map(|length| layout.sealed_length(length));
        let sealing = Sealing::new(key.cipher()?, layout, self.inner.block_length(length));
        let blob = NewBlob {
            length,
            encryption: Some(encryption),
            ..blob
        };
        let inner = self.inner.create(blob).await?;
        Ok(Box::new(Upload::new(inner, name, key, sealing)))
    }

    async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        let record = self.inner.head(name).await?;
        self.shown(record, &mut Asked::default()).await
    }

    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead> {
        if let Some(range) = range {
            return self.read_range(name, range).await;
        }
        let BlobRead { record, bytes } = self.inner.read(name, None).await?;
        let came = record.length;
        self.opening(record, 0..u64::MAX, bytes, (0, came)).await
    }

    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>> {
        let page = self.inner.list(prefix, after, limit).await?;
        let mut asked = Asked::default();
        let mut items = Vec::with_capacity(page.items.len());
        for record in page.items {
            items.push(self.shown(record, &mut asked).await?);
        }
        Ok(BackendPage {
            items,
            next: page.next,
        })
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>> {
        let page = self.inner.list_each(prefix, after, limit).await?;
        let mut asked = Asked::default();
        let mut items = Vec::with_capacity(page.items.len());
        for ListedBlob { name, record } in page.items {
            let record = match record {
                Ok(record) => match self.shown(record, &mut asked).await {
                    Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                    shown => shown,
                },
                Err(error) => Err(error),
            };
            items.push(ListedBlob { name, record });
        }
        Ok(BackendPage {
            items,
            next: page.next,
        })
    }

    async fn forget_deleted(&self, tenant: TenantId) -> Result<()> {
        self.inner.forget_deleted(tenant).await
    }

    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        self.inner.due(at, after, limit).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        self.inner.delete(deletions).await
    }

    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord> {
        let record = self.inner.set_retention(name, etag, next, act).await?;
        self.changed(record).await
    }

    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        let record = self.inner.set_tier(name, etag, tier, priority).await?;
        self.changed(record).await
    }

    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord> {
        self.inner.set_encryption(name, etag, next).await
    }

    async fn signed_url(&self, name: &BlobName, valid_for: Duration) -> Result<SignedUrl> {
        if self.inner.head(name).await?.encryption.is_some() {
            return Err(
                about(Error::new(ErrorKind::Unsupported, "sign URL of blob"), name).with_detail(
                    "it is encrypted, and the URL would give out what nobody can read: \
                     have the service read it, and hand its stream on",
                ),
            );
        }
        self.check_plain(name)?;
        self.inner.signed_url(name, valid_for).await
    }
}

/// Returns a record as it can be seen without its key.
fn lost(record: BlobRecord, cause: ErrorKind) -> BlobRecord {
    let Some(encryption) = record.encryption else {
        return record;
    };
    BlobRecord {
        length: encryption.length_of(record.length),
        encryption: Some(encryption.in_state(KeyState::Lost(cause))),
        ..record
    }
}

/// Returns a record as its key shows it.
fn opened(record: BlobRecord, key: &DataKey) -> Result<BlobRecord> {
    let Some(encryption) = record.encryption else {
        return Ok(record);
    };
    let layout = Layout::new(encryption.segment_length());
    Ok(BlobRecord {
        length: layout
            .length(record.length)
            .ok_or_else(|| truncated(&record.name))?,
        sha256: Sha256(key.masked(record.sha256.0)?),
        encryption: Some(encryption.in_state(KeyState::Opened)),
        ..record
    })
}

#[cfg(test)]
mod tests;
