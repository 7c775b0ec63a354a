//! Artifacts: bytes in blobs, and rows in the tenant's database that say which of them count.

mod erase;
mod row;
mod sweep;
mod sweeper;
mod telemetry;

use std::error::Error as StdError;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{Repository as _, SqlRepository, TenantScope, UnitOfWork, Version};

pub use self::erase::ArtifactErasure;
pub use self::row::{
    ARTIFACTS_POSTGRES, ARTIFACTS_SQLITE, Artifact, ArtifactId, ArtifactRepository, ArtifactState,
};
pub use self::sweep::ArtifactSweep;
pub(crate) use self::sweep::Places;
use self::sweep::is_change_of_others;
pub use self::sweeper::{ArtifactSweepReport, ArtifactSweeper};
use crate::name::{BlobId, BlobKind, BlobName};
use crate::record::BlobRecord;
use crate::retention::{HoldTag, stored};
use crate::store::{BlobReader, BlobStore, PutOptions, TenantBlobs};

const COMMIT: &str = "commit artifact";
const GET: &str = "get artifact";

/// The artifacts of one tenant.
///
/// An upload writes a pending row, then the bytes; the row counts from the commit of the unit of work on
/// that [`commit`](Self::commit) was called in, with all else that was written there. Reads serve what
/// is committed and not over, and nothing else. What a crash leaves is found by its row, and removed by
/// [`sweep`](Self::sweep) after a grace time; an [`ArtifactSweeper`] does that for all tenants.
///
/// The table is made by [`ARTIFACTS_POSTGRES`] or [`ARTIFACTS_SQLITE`].
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use futures_util::stream;
/// use tenantry_blob::{
///     ARTIFACTS_SQLITE, BlobKind, BlobStore, MemoryBlobs, PutOptions, Retention, TenantArtifacts,
/// };
/// use tenantry_core::{ErrorKind, Result, Service, TenantId};
/// use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "artifacts", ARTIFACTS_SQLITE)])).await?;
/// let store = TenantStore::sqlite(settings).await?;
/// let blobs = BlobStore::new(Arc::new(MemoryBlobs::new()));
///
/// let scope = store.tenant(TenantId::generate());
/// let artifacts = TenantArtifacts::new(&blobs, &scope);
/// let kind = BlobKind::new("report-exports")?;
/// let options = PutOptions::new(Service::Reporting, Retention::days(365));
/// let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from("id,total\n"))]);
/// let mut artifact = artifacts.upload(&kind, options, body).await?;
/// assert_eq!(artifacts.get(artifact.id).await.unwrap_err().kind(), ErrorKind::NotFound);
///
/// let work = scope.begin().await?;
/// artifacts.commit(&work, &mut artifact).await?;         // beside the row of the report's run
/// work.commit().await?;
/// let bytes = artifacts.open(artifact.id).await?.into_bytes().await?.bytes;
/// assert_eq!(bytes, "id,total\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TenantArtifacts {
    blobs: TenantBlobs,
    rows: SqlRepository<'static, Artifact>,
}

impl TenantArtifacts {
    /// Returns the artifacts of the tenant of a scope, for the request of the scope.
    #[must_use]
    pub fn new(blobs: &BlobStore, scope: &TenantScope) -> Self {
        Self {
            blobs: blobs
                .tenant(scope.tenant())
                .with_context(scope.context().clone()),
            rows: scope.repository(),
        }
    }

    /// Returns the blobs of the tenant.
    #[must_use]
    pub const fn blobs(&self) -> &TenantBlobs {
        &self.blobs
    }

    /// Puts the bytes of a new artifact, which counts when it is [committed](Self::commit).
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it would end outside the years 1 to 9999, which no row
    ///   keeps.
    /// - [`Conflict`](ErrorKind::Conflict): it took longer than the grace time of the sweep, which has
    ///   given it up; its blob is deleted, or will be when its lock ends.
    /// - Those of [`put`](TenantBlobs::put), and those of a write to the database. Where its blob may be
    ///   there all the same, it is removed by [`sweep`](Self::sweep).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be pending, and is removed by [`sweep`](Self::sweep).
    pub async fn upload<S, E>(
        &self,
        kind: &BlobKind,
        options: PutOptions,
        body: S,
    ) -> Result<Artifact>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let now = self.blobs.backend().now();
        let until = options.retention().resolve(now)?.until;
        if until.is_some_and(|until| stored(until).is_none()) {
            return Err(Error::new(ErrorKind::InvalidInput, "upload artifact")
                .with_detail("expected an end in the years 1 to 9999"));
        }
        let id = BlobId::generate();
        let name = self.blobs.name_of(kind, id)?;
        let mut artifact = Artifact {
            id: ArtifactId(id.as_uuid()),
            blob: name.to_string(),
            state: ArtifactState::Pending,
            content_type: String::new(),
            length: None,
            sha256: None,
            policy: String::new(),
            expires_at: None,
            held: false,
            created_at: now,
            version: Version::NEW,
        };
        self.rows.insert(&mut artifact).await?;
        match self.blobs.put(&name, options, body).await {
            Ok(stored) => {
                // A sweep that has given it up meanwhile has found no blob, and does not come again.
                match self.rows.update(&mut artifact).await {
                    Ok(()) => {}
                    Err(error) if is_change_of_others(&error) => {
                        return Err(self.take_back(artifact, &name, error).await?);
                    }
                    Err(error) => {
                        self.give_up_blob(&name).await;
                        return Err(error);
                    }
                }
                artifact.learn(&stored.record);
                Ok(artifact)
            }
            Err(error) => {
                // As long as the blob may be there, its row is needed to find it.
                if error.kind() != ErrorKind::CommitUnknown && self.is_absent(&name).await {
                    let removed = self
                        .rows
                        .delete_by_id(&artifact.id, Some(artifact.version))
                        .await;
                    if let Err(left) = removed {
                        tracing::warn!(error = %left, "a pending artifact waits to be swept");
                    }
                }
                Err(error)
            }
        }
    }

    /// Returns whether nothing is under a name, for certain.
    async fn is_absent(&self, name: &BlobName) -> bool {
        let seen = self.blobs.backend().head(name).await;
        seen.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Deletes a blob whose row was given up while it was put, and returns what its upload answers. Where
    /// it has to stay its row says so, and a later sweep removes both.
    async fn take_back(&self, upload: Artifact, name: &BlobName, cause: Error) -> Result<Error> {
        let id = upload.id;
        let rewritten = match self.rows.find(&id).await? {
            Some(mut row) => {
                row.state = ArtifactState::Expired;
                self.rows.update(&mut row).await
            }
            None => {
                let mut row = Artifact {
                    state: ArtifactState::Expired,
                    version: Version::NEW,
                    ..upload
                };
                self.rows.insert(&mut row).await
            }
        };
        // What a sweep does to it at the same time is the same.
        match rewritten {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            _ => {}
        }
        self.give_up_blob(name).await;
        Ok(Error::new(ErrorKind::Conflict, "upload artifact")
            .with_subject(subject(id))
            .with_detail("it took longer than the grace time of the sweep, which has given it up")
            .with_source(cause))
    }

    async fn give_up_blob(&self, name: &BlobName) {
        let deleted = self.blobs.delete_early(name, "its upload never ended");
        if let Err(left) = deleted.await
            && left.kind() != ErrorKind::NotFound
        {
            tracing::warn!(error = %left, "the blob of an artifact that was given up waits to be swept");
        }
    }

    /// Says that an artifact counts, if the unit of work is committed.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is not pending, or it or the unit of work is
    ///   another tenant's.
    /// - [`Conflict`](ErrorKind::Conflict), [`NotFound`](ErrorKind::NotFound): its upload took longer
    ///   than the grace time of the sweep, which has removed it.
    /// - Those of a write to the database.
    ///
    /// # Cancel safety
    ///
    /// As an update of the unit of work.
    pub async fn commit(&self, work: &UnitOfWork, artifact: &mut Artifact) -> Result<()> {
        let refused = |detail| {
            Err(Error::new(ErrorKind::InvalidInput, COMMIT)
                .with_subject(subject(artifact.id))
                .with_detail(detail))
        };
        let tenant = self.blobs.tenant();
        if work.tenant() != tenant || artifact.blob_name()?.tenant() != tenant {
            return refused("it or the unit of work is another tenant's");
        }
        if artifact.state != ArtifactState::Pending || artifact.sha256.is_none() {
            return refused("it is not one that was uploaded and waits to be committed");
        }
        let mut committed = artifact.clone();
        committed.state = ArtifactState::Committed;
        work.repository().update(&mut committed).await?;
        *artifact = committed;
        Ok(())
    }

    /// Returns an artifact that is there to be read.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound): it was not committed, its time is over, or there is none.
    /// - Those of a read of the database.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn get(&self, id: ArtifactId) -> Result<Artifact> {
        let now = self.blobs.backend().now();
        // By a clock that was ahead nothing is over.
        let is_certain = self.blobs.backend().check_clock(GET).is_ok();
        let found = self.rows.find(&id).await?;
        found
            .filter(|artifact| match is_certain {
                true => artifact.is_served_at(now),
                false => artifact.state == ArtifactState::Committed,
            })
            .ok_or_else(|| Error::new(ErrorKind::NotFound, GET).with_subject(subject(id)))
    }

    /// Reads the bytes of an artifact.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and of [`stream`](TenantBlobs::stream).
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn open(&self, id: ArtifactId) -> Result<BlobReader> {
        let artifact = self.get(id).await?;
        let reader = self.blobs.stream(&artifact.blob_name()?).await?;
        if artifact.sha256 != Some(reader.record().sha256.to_string()) {
            return Err(Error::new(ErrorKind::Corrupt, "open artifact")
                .with_subject(subject(id))
                .with_detail("its blob is not the one that its row was written for"));
        }
        Ok(reader)
    }

    /// Keeps an artifact longer: first its blob, then its row.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of [`extend_retention`](TenantBlobs::extend_retention), and of a
    /// write to the database.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done, or only its blob is kept longer; the [sweep](Self::sweep) writes that into
    /// the row.
    pub async fn extend(
        &self,
        id: ArtifactId,
        until: DateTime<Utc>,
        reason: &str,
    ) -> Result<Artifact> {
        let (artifact, name) = self.named(id).await?;
        let record = self.blobs.extend_retention(&name, until, reason).await?;
        self.learn(artifact, &record).await
    }

    /// Ends an artifact sooner: first its blob, then its row. Of its blob alone the row would not hear.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of [`shorten_retention`](TenantBlobs::shorten_retention), and of a
    /// write to the database.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done, or only its blob ends sooner, and its row has its old end: have it shortened
    /// again, or deleted once the blob is gone.
    pub async fn shorten(
        &self,
        id: ArtifactId,
        until: DateTime<Utc>,
        reason: &str,
    ) -> Result<Artifact> {
        let (artifact, name) = self.named(id).await?;
        let record = self.blobs.shorten_retention(&name, until, reason).await?;
        self.learn(artifact, &record).await
    }

    /// Says when the event came until which an artifact is kept: first of its blob, then in its row, which
    /// has an end from then on.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of [`report_event`](TenantBlobs::report_event), and of a write to the
    /// database.
    ///
    /// # Cancel safety
    ///
    /// As [`extend`](Self::extend).
    pub async fn report_event(
        &self,
        id: ArtifactId,
        at: DateTime<Utc>,
        reason: &str,
    ) -> Result<Artifact> {
        let (artifact, name) = self.named(id).await?;
        let record = self.blobs.report_event(&name, at, reason).await?;
        self.learn(artifact, &record).await
    }

    /// Deletes an artifact before its time: first its blob, then its row says so.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of [`delete_early`](TenantBlobs::delete_early) but for a blob that is gone
    /// already, and of a write to the database.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done, or only its blob is gone: have it deleted again.
    pub async fn delete_early(&self, id: ArtifactId, reason: &str) -> Result<()> {
        let (mut artifact, name) = self.named(id).await?;
        match self.blobs.delete_early(&name, reason).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        artifact.state = ArtifactState::Deleted;
        self.rows.update(&mut artifact).await
    }

    /// Places a legal hold on an artifact: first on its blob, then in its row.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of [`place_hold`](TenantBlobs::place_hold), and of a write to the
    /// database.
    ///
    /// # Cancel safety
    ///
    /// As [`extend`](Self::extend).
    pub async fn place_hold(
        &self,
        id: ArtifactId,
        tag: &HoldTag,
        reason: &str,
    ) -> Result<Artifact> {
        let (artifact, name) = self.named(id).await?;
        let record = self.blobs.place_hold(&name, tag, reason).await?;
        self.learn(artifact, &record).await
    }

    /// Clears a legal hold of an artifact: first of its blob, then in its row.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of [`clear_hold`](TenantBlobs::clear_hold), and of a write to the
    /// database.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done, or only its blob is free, and its row says that it is held.
    pub async fn clear_hold(
        &self,
        id: ArtifactId,
        tag: &HoldTag,
        reason: &str,
    ) -> Result<Artifact> {
        let (artifact, name) = self.named(id).await?;
        let record = self.blobs.clear_hold(&name, tag, reason).await?;
        self.learn(artifact, &record).await
    }

    /// Returns an artifact that is there to be read, and the name of its blob.
    async fn named(&self, id: ArtifactId) -> Result<(Artifact, BlobName)> {
        let artifact = self.get(id).await?;
        let name = artifact.blob_name()?;
        Ok((artifact, name))
    }

    /// Writes into the row what has become of the blob.
    async fn learn(&self, mut artifact: Artifact, record: &BlobRecord) -> Result<Artifact> {
        artifact.learn(record);
        self.rows.update(&mut artifact).await?;
        Ok(artifact)
    }
}

fn subject(id: ArtifactId) -> String {
    format!("artifacts {}", id.0)
}
