//! The row of an artifact.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{Aggregate, AggregateId, ColumnValue, Filter, Query, Repository, Version};
use uuid::Uuid;

use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::retention::nearest_stored;

/// The table of artifacts on PostgreSQL, for the migrations of the service: copy the text into a file of these, for a
/// release may change the constant, and a migration that has run must not change.
pub const ARTIFACTS_POSTGRES: &str = include_str!("artifacts_postgres.sql");

/// The same on SQLite.
pub const ARTIFACTS_SQLITE: &str = include_str!("artifacts_sqlite.sql");

/// Names an artifact: the id of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AggregateId)]
pub struct ArtifactId(pub Uuid);

/// What an artifact is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ColumnValue)]
#[non_exhaustive]
pub enum ArtifactState {
    /// Its bytes come or have come, and nobody has said yet that it counts.
    Pending,
    /// It is there to be read.
    Committed,
    /// Its time is over, or its upload never ended; its bytes are on their way out.
    Expired,
    /// Its bytes are gone.
    Deleted,
}

/// A file of a tenant: what is known of it, in the tenant's database; its bytes are a blob.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "artifacts")]
#[non_exhaustive]
pub struct Artifact {
    /// Identifies it.
    #[aggregate(id)]
    pub id: ArtifactId,
    /// The name of its blob.
    pub blob: String,
    /// What it is good for.
    pub state: ArtifactState,
    /// What its bytes are.
    pub content_type: String,
    /// How many bytes it has, once they have come.
    pub length: Option<i64>,
    /// The digest of its bytes, once they have come.
    pub sha256: Option<String>,
    /// The class of its retention.
    pub policy: String,
    /// From when on it is not read any longer; `None` as long as its event was not reported.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether a legal hold keeps it.
    pub held: bool,
    /// When its upload began.
    pub created_at: DateTime<Utc>,
    /// Guards updates against each other.
    #[aggregate(version)]
    pub version: Version,
}

impl Artifact {
    /// Returns the name of its blob.
    ///
    /// # Errors
    ///
    /// - [`InvalidValue`](ErrorKind::InvalidValue): there is none in the row.
    pub fn blob_name(&self) -> Result<BlobName> {
        self.blob.parse().map_err(|cause: Error| {
            Error::new(ErrorKind::InvalidValue, "read artifact")
                .with_subject(format!("artifacts {}", self.id.0))
                .with_detail("its row names no blob")
                .with_source(cause)
        })
    }

    /// Returns whether it is there to be read at a time.
    #[must_use]
    pub fn is_served_at(&self, now: DateTime<Utc>) -> bool {
        let is_over = self.expires_at.is_some_and(|end| end <= now) && !self.held;
        self.state == ArtifactState::Committed && !is_over
    }

    /// Takes over what is known of its blob.
    pub(super) fn learn(&mut self, record: &BlobRecord) {
        self.content_type = record.content_type.as_str().to_owned();
        self.length = i64::try_from(record.length).ok();
        // Where the key of the blob is lost, its digest cannot be seen, and has not changed.
        if record.shows_digest() || self.sha256.is_none() {
            self.sha256 = Some(record.sha256.to_string());
        }
        self.policy.clone_from(&record.retention.class);
        // Where the end of the blob is none that a row can keep, it has the nearest one: a row that cannot
        // be written is not read again, and one that is unlike its blob is written with each sweep.
        self.expires_at = record.retention.until.map(nearest_stored);
        self.held = record.retention.is_held();
    }
}

/// Chooses uploads that began before a time and were not committed.
pub(super) fn pending_since(before: DateTime<Utc>) -> Filter<Artifact> {
    Artifact::STATE
        .eq(ArtifactState::Pending)
        .and(Artifact::CREATED_AT.lt(before))
}

/// Chooses what counts and whose time is over, of what a hold keeps by its row or of the rest.
pub(super) fn over(now: DateTime<Utc>, held: bool) -> Filter<Artifact> {
    Artifact::STATE
        .eq(ArtifactState::Committed)
        .and(Artifact::EXPIRES_AT.le(now))
        .and(Artifact::HELD.eq(held))
}

/// Chooses what counts and waits for its event.
pub(super) fn waiting() -> Filter<Artifact> {
    Artifact::STATE
        .eq(ArtifactState::Committed)
        .and(Artifact::EXPIRES_AT.is_null())
}

/// The artifacts of a tenant as rows: a [`Repository`] like any other, and what is asked of it here.
#[async_trait]
pub trait ArtifactRepository: Repository<Artifact> {
    /// Returns uploads that began before a time and were not committed, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`list`](Repository::list).
    async fn pending_since(&self, before: DateTime<Utc>, limit: u32) -> Result<Vec<Artifact>> {
        self.oldest(pending_since(before), limit).await
    }

    /// Returns artifacts whose time is over and that no hold keeps, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`list`](Repository::list).
    async fn over_at(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<Artifact>> {
        self.oldest(over(now, false), limit).await
    }

    /// Returns artifacts whose bytes are on their way out, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`list`](Repository::list).
    async fn expired(&self, limit: u32) -> Result<Vec<Artifact>> {
        self.oldest(Artifact::STATE.eq(ArtifactState::Expired), limit)
            .await
    }

    /// Returns artifacts that are there to be read at a time, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`list`](Repository::list).
    async fn served_at(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<Artifact>> {
        let is_kept = Artifact::EXPIRES_AT
            .gt(now)
            .or(Artifact::EXPIRES_AT.is_null())
            .or(Artifact::HELD.eq(true));
        let filter = Artifact::STATE.eq(ArtifactState::Committed).and(is_kept);
        self.oldest(filter, limit).await
    }

    #[doc(hidden)]
    async fn oldest(&self, filter: Filter<Artifact>, limit: u32) -> Result<Vec<Artifact>> {
        let query = Query::new()
            .filter(filter)
            .sort(Artifact::CREATED_AT.asc())
            .limit(limit);
        Ok(self.list(query).await?.items)
    }
}

impl<R: Repository<Artifact> + ?Sized> ArtifactRepository for R {}
