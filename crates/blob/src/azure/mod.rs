//! Blobs in Azure Blob Storage, through the official client.

mod answer;
mod checksum;
mod commit;
mod connection;
mod container;
mod credential;
mod document;
mod list;
mod place;
mod read;
mod refusal;
mod remove;
mod retain;
mod retry;
mod settings;
mod shared_key;
mod sign;
mod signature;
mod turns;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::{ClientMethodOptions, Context};
use azure_storage_blob::models::{
    BlobClientGetPropertiesResultHeaders as _, BlobClientSetTierOptions,
    RehydratePriority as AzurePriority,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobServiceClient};
use chrono::{DateTime, SubsecRound as _, Utc};
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tracing::Instrument as _;

pub use self::credential::AzureCredential;
use self::document::{Policy, Seen, Told, azure_tier, bare, time};
use self::refusal::Refusal;
use self::retry::Lost;
pub use self::settings::{AzureLayout, AzureSettings};
use self::shared_key::AccountKey;
use self::sign::DelegationKeys;
use self::turns::{Turn, Turns};
use self::upload::Upload;
use crate::backend::{
    BackendPage, BlobBackend, BlobRead, BlobUpload, Deletion, GuardedClock, ListedBlob, ListedDue,
    NewBlob, SignedUrl, list_of_nobody, shelf,
};
use crate::name::{BlobName, BlobPrefix};
use crate::record::{BlobEncryption, BlobRecord, ETag, RehydratePriority, Tier};
use crate::retention::{RetentionAct, RetentionState};
use crate::store::{about, not_found, taken};

const LOOK: &str = "look up blob";
/// How long a block is where nothing else is needed: several of them are on their way at a time.
const BLOCK: u64 = 4 * 1024 * 1024;
/// How many blocks a blob has at most.
const BLOCKS: u64 = 50_000;
/// How long a block is at most: 4,000 MiB.
const LONGEST_BLOCK: u64 = 4_000 * 1024 * 1024;
/// How long a blob is at most.
const LONGEST: u64 = BLOCKS * LONGEST_BLOCK;

/// Keeps blobs in an account of Azure Blob Storage.
///
/// Make one for each account and share it.
///
/// # What the service keeps, and what Tenantry keeps
///
/// A lock is a policy of immutability of the blob, a legal hold is the service's own; both hold against
/// every other program too. What else keeps a blob, and all that the service has no place for, stands in
/// its metadata, where a program with the right to write can alter it. Under a policy or a hold nobody
/// writes metadata, Tenantry neither:
///
/// - the end of a lock and how firmly it holds can be changed, in whole seconds, for the service keeps no
///   parts of them; a locked end that is not whole is kept until the second after it;
/// - of a hold on what is locked the service knows that there is one: it is told of by the tag `azure`;
/// - what is held takes no second hold, nor another end without a lock: that is
///   [`Retained`](ErrorKind::Retained);
/// - a policy that others have set, as a container does by default, keeps a blob beside its own end: the
///   later counts, and is told of as a lock where it is the policy's. Until the policy is taken off nobody
///   reports an event of such a blob, nor gives it an end before its own. One that is locked and ends sooner
///   is told of as [what keeps the blob](crate::RetainedBy::LockOfOthers): no act deletes it before that.
///
/// The service sets and takes off policies and holds without a condition. Within a process one goes after
/// the other, and who waits for that longer than the [deadline](AzureSettings::with_deadline) is answered with
/// [`Unavailable`](ErrorKind::Unavailable); of several, one that changes an unlocked lock, or clears the hold of what is locked, does not
/// see what another has changed in the moment between its look and its request: a longer end may become a
/// shorter one, and what was just extended may still be [deleted early](crate::TenantBlobs::delete_early).
/// A locked lock only becomes longer, for the service sees to that itself. Where a process is killed within
/// an early deletion, the blob may stay without its lock, and with the end that it was put with.
///
/// # Calls
///
/// | what | requests |
/// |---|---|
/// | a put of up to 4 MiB whose length is known | 1 |
/// | any other put | 2, and 1 for each 4 MiB |
/// | a put with a lock | 1 more, for the look at what is kept |
/// | a read | 1 for a look, and 1 for each 4 MiB; the look and the first of a whole read go together |
/// | a list | 1 for each 5,000 blobs, or each page |
/// | a deletion | 2; 3 of an unlocked lock, 1 more in an account that keeps versions |
/// | what is due | the list of all blobs, for one page after the other |
///
/// # Errors
///
/// They name the operation and the blob, and hold neither key nor signature, token or URL.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{AzureBlobs, AzureCredential, AzureLayout, AzureSettings};
/// use tenantry_core::{Result, Secret};
///
/// fn open(key: Secret) -> Result<AzureBlobs> {
///     let layout = AzureLayout::container_per_tenant("reports")?;
///     AzureBlobs::new(AzureSettings::new(
///         "https://billing.blob.core.windows.net",
///         layout,
///         AzureCredential::shared_key(key),
///     ))
/// }
/// assert!(open(Secret::new("c2VjcmV0")).is_ok());
/// assert!(open(Secret::new("no Base64")).is_err());
/// ```
pub struct AzureBlobs {
    inner: Arc<Inner>,
}

struct Inner {
    client: BlobServiceClient,
    account: String,
    key: Option<Arc<AccountKey>>,
    delegation: DelegationKeys,
    settings: AzureSettings,
    clock: GuardedClock,
    turns: Turns,
}

impl AzureBlobs {
    /// Returns the blobs of an account, without a call.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the URL is none, or leads elsewhere in the
    ///   clear; the credential is malformed; the system trusts no certificate.
    pub fn new(settings: AzureSettings) -> Result<Self> {
        let (client, account, key) = connection::connect(&settings)?;
        let inner = Inner {
            client,
            account,
            key,
            delegation: DelegationKeys::default(),
            clock: GuardedClock::new(Arc::clone(&settings.clock)),
            turns: Turns::default(),
            settings,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns the official client of the same account, with the same way there: for what is not of
    /// tenants, such as setting up a container. The type is the driver's, on purpose:
    /// `azure_storage_blob` 1.x, in the version that this crate is built with.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn official_client(settings: &AzureSettings) -> Result<BlobServiceClient> {
        connection::connect(settings).map(|(client, ..)| client)
    }
}

impl fmt::Debug for AzureBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureBlobs")
            .field("account", &self.inner.account)
            .field("layout", &self.inner.settings.layout)
            .field("credential", &self.inner.settings.credential)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn now(&self) -> DateTime<Utc> {
        // In whole seconds, as the service keeps the ends of locks.
        self.clock.now().trunc_subsecs(0)
    }

    fn container(&self, name: &str) -> BlobContainerClient {
        self.client.blob_container_client(name)
    }

    fn blob(&self, name: &BlobName) -> BlobClient {
        let (container, blob) = self.settings.layout.place(name);
        self.client.blob_client(&container, blob)
    }

    /// Waits for the turn at a blob.
    async fn turn(&self, operation: &'static str, name: &BlobName) -> Result<Turn> {
        let longest = self.settings.deadline;
        self.turns.take(operation, name, longest).await
    }

    /// Looks at a blob.
    async fn look(&self, operation: &'static str, name: &BlobName) -> Result<Seen> {
        let answer = self.blob(name).get_properties(None).await;
        let answer = answer.map_err(|error| self.refused(operation, name, &error))?;
        let unreadable = |error: azure_core::Error| self.refused(operation, name, &error);
        let read = || -> azure_core::Result<Told> {
            Ok(Told {
                etag: answer
                    .etag()?
                    .map(|it| bare(it.as_ref()))
                    .unwrap_or_default(),
                content_type: answer.content_type()?,
                metadata: answer.metadata()?,
                tier: answer.access_tier()?.map(|it| it.parse()).transpose()?,
                tier_changed_at: answer.access_tier_change_time()?.and_then(time),
                created_at: answer.creation_time()?.and_then(time),
                archive_status: answer.archive_status()?,
                priority: answer.rehydrate_priority()?,
                policy: Policy::of(
                    answer.immutability_policy_expires_on()?,
                    answer.immutability_policy_mode()?,
                ),
                is_held: answer.legal_hold()?.unwrap_or_default(),
                version: answer.version_id()?,
            })
        };
        read().map_err(unreadable)?.read(name)
    }

    /// Asks the account for how long it keeps what was deleted.
    async fn soft_delete(&self) -> Result<Duration> {
        const DAY: u64 = 24 * 60 * 60;
        let asked = async {
            let answer = self.client.get_properties(None).await?;
            answer.into_model()
        };
        let properties = asked.await.map_err(|error| {
            let error = Refusal::of(&error).told("read settings of account", &self.account);
            match error.kind() {
                ErrorKind::PermissionDenied => error.with_detail(
                    "allow `blobServices/read`, or say by `with_soft_delete` how long the account keeps what was deleted",
                ),
                _ => error,
            }
        })?;
        let policy = properties.delete_retention_policy;
        let days = policy.filter(|policy| policy.enabled == Some(true));
        let days = days.and_then(|policy| policy.days).unwrap_or_default();
        Ok(Duration::from_secs(
            u64::try_from(days).unwrap_or_default() * DAY,
        ))
    }

    fn refused(
        &self,
        operation: &'static str,
        name: &BlobName,
        error: &azure_core::Error,
    ) -> tenantry_core::Error {
        let error = Refusal::of(error).told(operation, name.as_str());
        match error.kind() {
            // As what was never there is told of everywhere.
            ErrorKind::NotFound => not_found(operation, name),
            ErrorKind::AlreadyExists => taken(name),
            _ => error,
        }
    }
}

/// Does work in a task of its own, which comes to its end though its caller is gone.
async fn apart<T: Send + 'static>(
    operation: &'static str,
    name: &BlobName,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or_else(|cause| {
        let detail = match cause.is_panic() {
            true => "it panicked, which is a bug: it is done or it is not, so look",
            false => "the runtime shut down meanwhile: it is done or it is not, so look",
        };
        Err(about(Error::new(ErrorKind::CommitUnknown, operation), name).with_detail(detail))
    })
}

/// Returns options of a call in which a lost answer is taken note of.
fn watched(lost: &Lost) -> ClientMethodOptions<'static> {
    ClientMethodOptions {
        context: Context::new().with_value(lost.clone()),
    }
}

#[async_trait]
impl BlobBackend for AzureBlobs {
    fn system(&self) -> &'static str {
        "azure"
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.now()
    }

    fn check_clock(&self, operation: &'static str) -> Result<()> {
        self.inner.clock.check_right(operation)
    }

    fn block_length(&self, length: Option<u64>) -> usize {
        let needed = length.unwrap_or_default().div_ceil(BLOCKS);
        usize::try_from(needed.clamp(BLOCK, LONGEST_BLOCK)).unwrap_or(usize::MAX)
    }

    fn takes_whole_blocks(&self) -> bool {
        true
    }

    async fn keeps_deleted_for(&self) -> Result<Option<Duration>> {
        let keeps = match self.inner.settings.soft_delete {
            Some(keeps) => keeps,
            None => self.inner.soft_delete().await?,
        };
        Ok(Some(keeps).filter(|keeps| !keeps.is_zero()))
    }

    async fn create(&self, blob: NewBlob) -> Result<Box<dyn BlobUpload>> {
        let block = self.block_length(blob.length);
        let upload = Upload::new(Arc::clone(&self.inner), blob, block);
        upload.check_early().await?;
        Ok(Box::new(upload))
    }

    async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        Ok(self.inner.look(LOOK, name).await?.record)
    }

    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead> {
        read::read(&self.inner, name, range).await
    }

    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>> {
        list::list(&self.inner, prefix, after, limit).await
    }

    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>> {
        list::list_each(&self.inner, prefix, after, limit).await
    }

    async fn check(&self) -> Result<()> {
        list_of_nobody(self).await
    }

    async fn forget_deleted(&self, _: TenantId) -> Result<()> {
        Ok(())
    }

    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        list::due(&self.inner, at, after, limit).await
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        remove::delete(&self.inner, deletions).await
    }

    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord> {
        retain::set_retention(&self.inner, name, etag, next, act).await
    }

    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        let options = BlobClientSetTierOptions {
            rehydrate_priority: Some(match priority {
                RehydratePriority::Standard => AzurePriority::Standard,
                RehydratePriority::High => AzurePriority::High,
            }),
            ..BlobClientSetTierOptions::default()
        };
        // The service takes no condition for this one.
        let seen = self.inner.look(shelf::TIER, name).await?;
        shelf::check_state(shelf::TIER, &seen.record, etag)?;
        let blob = self.inner.blob(name);
        let moved = blob.set_tier(azure_tier(tier), Some(options)).await;
        moved.map_err(|error| self.inner.refused(shelf::TIER, name, &error))?;
        Ok(self.inner.look(shelf::TIER, name).await?.record)
    }

    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord> {
        retain::set_encryption(&self.inner, name, etag, next).await
    }

    async fn signed_url(&self, name: &BlobName, valid_for: Duration) -> Result<SignedUrl> {
        sign::signed_url(&self.inner, name, valid_for).await
    }
}
