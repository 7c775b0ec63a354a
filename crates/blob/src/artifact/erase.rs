//! Erasing all artifacts of a tenant, their rows with their bytes.

use std::collections::BTreeSet;
use std::fmt;

use tenantry_core::{ErrorKind, Result};
use tenantry_store::{Cursor, Query, Repository as _};

use super::TenantArtifacts;
use super::row::{Artifact, ArtifactId, ArtifactState};
use crate::store::ErasureReport;

const BATCH: u32 = 500;

/// What became of the artifacts of a tenant, and of its other blobs.
///
/// As text, a report for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactErasure {
    /// What became of the blobs, those of artifacts and all others.
    pub blobs: ErasureReport,
    /// How many rows were erased.
    pub erased_rows: u64,
    /// Whose rows are still there: their bytes had to stay, or others changed them meanwhile.
    pub kept_rows: Vec<ArtifactId>,
    /// What the rows were broken off by: others may be there whose bytes are gone. Have them erased again, and keep
    /// this report, for the next one tells of the rest alone.
    pub stopped_by: Option<ErrorKind>,
}

impl ArtifactErasure {
    /// Returns whether the tenant has no blob and no row of an artifact left.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.blobs.is_complete() && self.kept_rows.is_empty() && self.stopped_by.is_none()
    }
}

impl fmt::Display for ArtifactErasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nrows of artifacts: {} erased, {} kept",
            self.blobs,
            self.erased_rows,
            self.kept_rows.len()
        )?;
        if let Some(kind) = self.stopped_by {
            write!(f, "\nrows broken off by {kind}: others may be there")?;
        }
        for id in &self.kept_rows {
            write!(f, "\nkept row {}", id.0)?;
        }
        Ok(())
    }
}

impl TenantArtifacts {
    /// Erases all blobs of the tenant, see [`TenantBlobs::erase`](crate::TenantBlobs::erase), and then
    /// the rows of all artifacts whose bytes are gone.
    ///
    /// What has to stay keeps its row, so that it is still found, as does what has failed. Stop the
    /// tenant's writers first.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no reason is given.
    /// - Those of the [audit](crate::RetentionAudit), of the blobs, and of the database, as long as nothing is
    ///   erased; from then on they stand in the report.
    ///
    /// # Cancel safety
    ///
    /// Dropped, some are erased; have it erased again for a report of the rest.
    pub async fn erase(&self, reason: &str) -> Result<ArtifactErasure> {
        let mut report = ArtifactErasure {
            blobs: self.blobs.erase(reason).await?,
            erased_rows: 0,
            kept_rows: Vec::new(),
            stopped_by: None,
        };
        if let Err(error) = self.erase_rows(&mut report).await {
            if report.blobs.erased.is_empty() && report.erased_rows == 0 {
                return Err(error);
            }
            // What is gone has no other proof than this report.
            let tenant = self.blobs.tenant();
            tracing::warn!(target: "tenantry::blob", %error, %tenant, "an erasure of artifacts is broken off");
            report.stopped_by = Some(error.kind());
        }
        Ok(report)
    }

    async fn erase_rows(&self, report: &mut ArtifactErasure) -> Result<()> {
        let ArtifactErasure {
            blobs,
            erased_rows,
            kept_rows,
            ..
        } = report;
        let left: BTreeSet<&str> = blobs
            .kept
            .iter()
            .map(|kept| kept.name.as_str())
            .chain(blobs.failed.iter().map(|(name, _)| name.as_str()))
            .collect();
        let erased: BTreeSet<&str> = blobs.erased.iter().map(|it| it.name.as_str()).collect();
        let mut next: Option<Cursor> = None;
        loop {
            let mut query = Query::new().sort(Artifact::ID.asc()).limit(BATCH);
            if let Some(cursor) = next {
                query = query.cursor(cursor);
            }
            let page = self.rows.list(query).await?;
            for artifact in page.items {
                let blob = artifact.blob.as_str();
                let is_gone =
                    erased.contains(blob) || !left.contains(blob) && self.is_gone(&artifact).await;
                if !is_gone {
                    kept_rows.push(artifact.id);
                    continue;
                }
                let version = Some(artifact.version);
                match self.rows.delete_by_id(&artifact.id, version).await {
                    Ok(()) => *erased_rows += 1,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        kept_rows.push(artifact.id);
                    }
                    Err(error) => return Err(error),
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Returns whether the bytes of an artifact that no report names are gone: what was put meanwhile is
    /// found by its row alone.
    async fn is_gone(&self, artifact: &Artifact) -> bool {
        if artifact.state == ArtifactState::Deleted {
            return true;
        }
        match artifact.blob_name() {
            Ok(name) if name.tenant() == self.blobs.tenant() => self.is_absent(&name).await,
            // No blob of the tenant is found by it.
            _ => true,
        }
    }
}
