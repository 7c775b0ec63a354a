//! What a service calls: the store of a service, and the blobs of one tenant.

mod erase;
mod list;
mod put;
mod read;
mod retain;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};

pub use self::erase::{ErasedBlob, ErasureReport, ShreddedBlob};
pub use self::list::{BlobPage, ListOptions};
pub(crate) use self::list::{check_progress, invalid_cursor};
pub use self::put::{PutOptions, StoredBlob};
pub(crate) use self::read::outside;
pub use self::read::{BlobReader, StoredBytes};
use crate::backend::{BlobBackend, Deletion, SignedUrl};
use crate::name::{BlobId, BlobKind, BlobName};
use crate::record::{BlobRecord, RehydratePriority, Tier};
use crate::retention::{RetentionAct, RetentionAction, RetentionAudit, TracedAudit};
use crate::telemetry::Telemetry;

/// How long a signed URL may be valid.
const LONGEST_URL: Duration = Duration::from_secs(60 * 60);

/// Blobs of a service; cheap to clone.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use futures_util::stream;
/// use tenantry_blob::{BlobKind, BlobStore, MemoryBlobs, PutOptions, Retention};
/// use tenantry_core::{ErrorKind, Result, Service, TenantId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let store = BlobStore::new(Arc::new(MemoryBlobs::new()));              // once, for the service
/// let blobs = store.tenant(TenantId::generate());                        // for each request
///
/// let name = blobs.name(&BlobKind::new("report-exports")?)?;
/// let options = PutOptions::new(Service::Reporting, Retention::days(365))
///     .with_content_type("text/csv")?;
/// let rows = stream::iter(["id,total\n", "1,500\n"].map(|row| Ok::<_, std::io::Error>(Bytes::from(row))));
/// blobs.put(&name, options, rows).await?;
///
/// assert_eq!(blobs.get(&name).await?.bytes, "id,total\n1,500\n");
/// assert_eq!(blobs.delete(&name).await.unwrap_err().kind(), ErrorKind::Retained);
/// println!("{}", blobs.why_retained(&name).await?);
///
/// let other = store.tenant(TenantId::generate());
/// assert_eq!(other.get(&name).await.unwrap_err().kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BlobStore {
    backend: Arc<dyn BlobBackend>,
    audit: Arc<dyn RetentionAudit>,
    telemetry: Telemetry,
    #[cfg(feature = "artifacts")]
    places: Arc<crate::artifact::Places>,
}

/// The blobs of one tenant, and the only way to them; cheap to clone.
///
/// # Isolation
///
/// Another tenant's name answers [`NotFound`](ErrorKind::NotFound), as one does that nobody has; a put
/// under such a name is [`InvalidInput`](ErrorKind::InvalidInput), whether there is a blob or not. The
/// backend is not asked in either case.
#[derive(Debug, Clone)]
pub struct TenantBlobs {
    store: BlobStore,
    tenant: TenantId,
    context: RequestContext,
}

impl BlobStore {
    /// Keeps blobs by this backend.
    #[must_use]
    pub fn new(backend: Arc<dyn BlobBackend>) -> Self {
        Self {
            telemetry: Telemetry::new(backend.system()),
            backend,
            audit: Arc::new(TracedAudit),
            #[cfg(feature = "artifacts")]
            places: Arc::default(),
        }
    }

    /// Tells `audit` of every act on the retention of a blob before it is done, in place of the events
    /// of `tracing` by which it is told otherwise.
    #[must_use]
    pub fn with_audit(mut self, audit: Arc<dyn RetentionAudit>) -> Self {
        self.audit = audit;
        self
    }

    /// Returns the time by which the backend judges retention.
    #[cfg(feature = "artifacts")]
    pub(crate) fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.backend.now()
    }

    /// Returns where sweeps of artifacts go on.
    #[cfg(feature = "artifacts")]
    pub(crate) fn places(&self) -> &crate::artifact::Places {
        &self.places
    }

    pub(crate) fn shared_backend(&self) -> Arc<dyn BlobBackend> {
        Arc::clone(&self.backend)
    }

    /// Returns the blobs of a tenant, as seen by work that no one asked for.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantBlobs {
        TenantBlobs {
            store: self.clone(),
            tenant,
            context: RequestContext::system(),
        }
    }
}

impl TenantBlobs {
    /// Says for which request it is: its trace is kept with what is put, its actor with what is done to
    /// retention.
    #[must_use]
    pub fn with_context(mut self, context: RequestContext) -> Self {
        self.context = context;
        self
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns a name that no blob has, in the month that it is.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the clock shows a year after 9999.
    pub fn name(&self, kind: &BlobKind) -> Result<BlobName> {
        self.name_of(kind, BlobId::generate())
    }

    /// Returns the name of an id, in the month that it is.
    ///
    /// # Errors
    ///
    /// As [`name`](Self::name).
    pub fn name_of(&self, kind: &BlobKind, id: BlobId) -> Result<BlobName> {
        BlobName::new(self.tenant, kind, self.backend().now(), id)
    }

    /// Returns what is known of a blob.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        self.observe("head", self.record(name)).await
    }

    /// Reads a whole blob into memory, checked against the digest it was put with.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`Rehydrating`](ErrorKind::Rehydrating).
    /// - [`Corrupt`](ErrorKind::Corrupt): it is truncated or altered; none of its bytes are given out.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn get(&self, name: &BlobName) -> Result<StoredBytes> {
        self.observe("get", async {
            let reader = self.reader(name).await?;
            reader.into_bytes().await
        })
        .await
    }

    /// Reads a whole blob as a stream.
    ///
    /// Each piece has been checked by its CRC64 before it comes, and the whole is checked by its digest
    /// at the end: what was read is right when the stream has ended without an error.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`Rehydrating`](ErrorKind::Rehydrating).
    ///
    /// In the stream, [`Corrupt`](ErrorKind::Corrupt): it is truncated or altered.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn stream(&self, name: &BlobName) -> Result<BlobReader> {
        self.observe("stream", self.reader(name)).await
    }

    /// Reads some bytes of a blob into memory, checked by the CRC64 of the blocks they are in.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`Rehydrating`](ErrorKind::Rehydrating).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the range does not lie within the blob.
    /// - [`Corrupt`](ErrorKind::Corrupt): it is truncated or altered.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn range(&self, name: &BlobName, range: Range<u64>) -> Result<Bytes> {
        self.observe("range", async {
            let reader = self.range_reader(name, range).await?;
            Ok(reader.into_bytes().await?.bytes)
        })
        .await
    }

    /// Reads some bytes of a blob as a stream, each piece checked by the CRC64 of the blocks it is in.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`Rehydrating`](ErrorKind::Rehydrating).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the range does not lie within the blob.
    ///
    /// In the stream, [`Corrupt`](ErrorKind::Corrupt): it is truncated or altered.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn stream_range(&self, name: &BlobName, range: Range<u64>) -> Result<BlobReader> {
        self.observe("stream_range", self.range_reader(name, range))
            .await
    }

    /// Deletes a blob whose time has come.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`Retained`](ErrorKind::Retained): something keeps it; [`why_retained`](Self::why_retained)
    ///   tells all of it.
    /// - [`Conflict`](ErrorKind::Conflict): it was changed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is deleted or it is not.
    pub async fn delete(&self, name: &BlobName) -> Result<()> {
        self.observe("delete", async {
            let record = self.record(name).await?;
            self.delete_in_state(&record, None).await
        })
        .await
    }

    /// Deletes a blob before its time: the audited act that ends its retention now.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no reason is given.
    /// - [`Retained`](ErrorKind::Retained): a legal hold, a locked lock or the floor of its class keeps
    ///   it.
    /// - [`Conflict`](ErrorKind::Conflict): it was changed meanwhile.
    /// - Any of the [audit](RetentionAudit).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is deleted or it is not.
    pub async fn delete_early(&self, name: &BlobName, reason: &str) -> Result<()> {
        self.observe("delete_early", async {
            let record = self.record(name).await?;
            let now = self.backend().now();
            let act = self.act(&record, RetentionAction::DeletedEarly, reason, Some(now))?;
            record
                .retention
                .check_deletion(now, Some(&act))
                .map_err(|error| about(error, name))?;
            self.store.audit.record(&act).await?;
            self.delete_in_state(&record, Some(act)).await
        })
        .await
    }

    /// Moves a blob to a tier, the archive among them.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`Rehydrating`](ErrorKind::Rehydrating): it rests in the archive: see
    ///   [`rehydrate`](Self::rehydrate).
    /// - [`Conflict`](ErrorKind::Conflict): others changed it again and again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is moved or it is not.
    pub async fn set_tier(&self, name: &BlobName, tier: Tier) -> Result<BlobRecord> {
        self.observe("set_tier", async {
            let is_moved = |record: &BlobRecord| match record.tier {
                it if it == tier => Ok(true),
                Tier::Archive => Err(rehydrating(record)),
                _ => Ok(false),
            };
            self.moved(name, (tier, RehydratePriority::Standard), is_moved)
                .await
        })
        .await
    }

    /// Begins to bring an archived blob back to a tier at which it can be read; the record tells when,
    /// where the backend knows.
    ///
    /// What can be read already stays where it is. A blob that was brought back is not archived again
    /// by the sweeper.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the tier is the archive.
    /// - [`Conflict`](ErrorKind::Conflict): it is on its way back to another tier, or others changed it
    ///   again and again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it was begun or it was not.
    pub async fn rehydrate(
        &self,
        name: &BlobName,
        to: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        self.observe("rehydrate", async {
            if to == Tier::Archive {
                return Err(Error::new(ErrorKind::InvalidInput, "rehydrate blob")
                    .with_subject(name.to_string())
                    .with_detail("from the archive it comes back to hot, cool or cold"));
            }
            self.moved(name, (to, priority), |record| Ok(record.is_readable()))
                .await
        })
        .await
    }

    /// Returns a URL by which whoever has it reads this one blob, for a second to an hour, and no
    /// longer than the blob is kept.
    ///
    /// Who may have it is for the service to check, each time it asks for one.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`Rehydrating`](ErrorKind::Rehydrating).
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the time is another.
    /// - [`Retained`](ErrorKind::Retained) never; where its time is over it is
    ///   [`NotFound`](ErrorKind::NotFound), though it may still be there.
    /// - [`Unsupported`](ErrorKind::Unsupported): the backend gives no URLs.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn signed_url(&self, name: &BlobName, valid_for: Duration) -> Result<SignedUrl> {
        self.observe("signed_url", async {
            if valid_for < Duration::from_secs(1) || valid_for > LONGEST_URL {
                return Err(Error::new(ErrorKind::InvalidInput, "sign URL of blob")
                    .with_subject(name.to_string())
                    .with_detail("expected a time from one second to one hour"));
            }
            let record = self.record(name).await?;
            read::check_opened(&record)?;
            if !record.is_readable() {
                return Err(rehydrating(&record));
            }
            let now = self.backend().now();
            let left = match record.retention.until {
                Some(until) if !record.retention.is_held() => (until - now).to_std().ok(),
                _ => Some(valid_for),
            };
            let valid_for = left
                .filter(|left| *left >= Duration::from_secs(1))
                .ok_or_else(|| not_found("sign URL of blob", name))?
                .min(valid_for);
            self.backend().signed_url(name, valid_for).await
        })
        .await
    }

    /// Checks whether a blob may be deleted now.
    #[cfg(feature = "object-store")]
    pub(crate) async fn check_deletable(&self, name: &BlobName) -> Result<()> {
        let record = self.record(name).await?;
        let now = self.backend().now();
        let check = record.retention.check_deletion(now, None);
        check.map_err(|error| about(error, name))
    }

    #[cfg(feature = "artifacts")]
    pub(crate) const fn store(&self) -> &BlobStore {
        &self.store
    }

    pub(crate) fn backend(&self) -> &dyn BlobBackend {
        &*self.store.backend
    }

    /// Moves a blob, unless it is where it is to be.
    async fn moved(
        &self,
        name: &BlobName,
        (tier, priority): (Tier, RehydratePriority),
        is_moved: impl Fn(&BlobRecord) -> Result<bool> + Send + Sync,
    ) -> Result<BlobRecord> {
        let mut tries = 0;
        loop {
            tries += 1;
            let record = self.record(name).await?;
            if is_moved(&record)? {
                return Ok(record);
            }
            let moved = self.backend().set_tier(name, &record.etag, tier, priority);
            match moved.await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries < retain::TRIES => {}
                moved => return moved,
            }
        }
    }

    /// Looks up a name of this tenant.
    async fn record(&self, name: &BlobName) -> Result<BlobRecord> {
        self.check_owned("look up blob", name)?;
        self.backend().head(name).await
    }

    async fn delete_in_state(&self, record: &BlobRecord, act: Option<RetentionAct>) -> Result<()> {
        self.check_owned("delete blob", &record.name)?;
        record
            .retention
            .check_deletion(self.backend().now(), act.as_ref())
            .map_err(|error| about(error, &record.name))?;
        let deletion = Deletion {
            name: record.name.clone(),
            etag: record.etag.clone(),
            act,
        };
        let answers = self.backend().delete(&[deletion]).await;
        answers.into_iter().next().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Unexpected, "delete blob")
                .with_subject(record.name.to_string())
                .with_detail("the backend gave no answer"))
        })
    }

    /// What belongs to another tenant does not exist.
    fn check_owned(&self, operation: &'static str, name: &BlobName) -> Result<()> {
        if name.tenant() == self.tenant {
            Ok(())
        } else {
            Err(not_found(operation, name))
        }
    }

    async fn observe<T>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let telemetry = &self.store.telemetry;
        telemetry.observe(operation, self.tenant, future).await
    }
}

/// Returns the answer for a name under which nothing of the tenant is kept.
pub(crate) fn not_found(operation: &'static str, name: &BlobName) -> Error {
    Error::new(ErrorKind::NotFound, operation).with_subject(name.to_string())
}

/// Returns the answer to a put under a name that a blob has.
pub(crate) fn taken(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::AlreadyExists, "put blob"), name)
        .with_detail("the name is taken, and blobs are never replaced: take another name")
}

/// Returns the answer for a blob that cannot be read yet.
pub(crate) fn rehydrating(record: &BlobRecord) -> Error {
    let error =
        Error::new(ErrorKind::Rehydrating, "read blob").with_subject(record.name.to_string());
    match record.rehydration {
        None => error.with_detail("it rests in the archive: rehydrate it, and read it hours later"),
        Some(_) => error.with_detail("it is on its way back from the archive: read it later"),
    }
}

pub(crate) fn about(error: Error, name: &BlobName) -> Error {
    error.with_subject(name.to_string())
}
