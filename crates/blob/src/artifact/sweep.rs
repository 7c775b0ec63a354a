//! What a crash has left, and what is over.

use std::time::Duration;

use chrono::TimeDelta;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{Query, Repository as _};

use super::TenantArtifacts;
use super::row::{Artifact, ArtifactRepository as _, ArtifactState};

/// What a sweep of a tenant's artifacts has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArtifactSweep {
    /// How many uploads that never ended were given up.
    pub orphans: u64,
    /// How many artifacts ended whose time was over.
    pub expired: u64,
    /// Of how many the bytes were removed, or were gone already.
    pub deleted: u64,
    /// Of how many the row was corrected, for their blob is kept longer.
    pub corrected: u64,
    /// Of how many the bytes are still kept by a lock, a hold or a floor: a later sweep removes them.
    pub kept: u64,
    /// How many were changed by others meanwhile.
    pub skipped: u64,
}

impl ArtifactSweep {
    pub(super) const fn add(&mut self, other: &Self) {
        self.orphans += other.orphans;
        self.expired += other.expired;
        self.deleted += other.deleted;
        self.corrected += other.corrected;
        self.kept += other.kept;
        self.skipped += other.skipped;
    }

    /// Returns whether nothing has changed by it.
    pub(super) const fn is_nothing(&self) -> bool {
        self.orphans + self.expired + self.deleted + self.corrected == 0
    }
}

impl TenantArtifacts {
    /// Gives up uploads that began longer ago than the grace time and were not committed, ends artifacts
    /// whose time is over, and removes the bytes of both; about `limit` of each.
    ///
    /// A row says that it is over before its bytes go, so that nobody reads half of what is deleted, and
    /// a commit that comes too late is a conflict.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the grace time is longer than a date can say.
    /// - Those of the database and of the blobs.
    ///
    /// # Cancel safety
    ///
    /// Dropped, some are done, and the next sweep goes on.
    pub async fn sweep(&self, grace: Duration, limit: u32) -> Result<ArtifactSweep> {
        let (swept, _) = self.sweep_some(grace, limit).await?;
        Ok(swept)
    }

    /// The same, and whether there is more to do.
    pub(super) async fn sweep_some(
        &self,
        grace: Duration,
        limit: u32,
    ) -> Result<(ArtifactSweep, bool)> {
        let now = self.blobs.backend().now();
        let before = TimeDelta::from_std(grace)
            .ok()
            .and_then(|grace| now.checked_sub_signed(grace))
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "sweep artifacts")
                    .with_detail("expected a shorter grace time")
            })?;
        let mut swept = ArtifactSweep::default();
        let orphans = self.rows.pending_since(before, limit).await?;
        let over = self.rows.over_at(now, limit).await?;
        let is_full = |list: &[Artifact]| list.len() as u64 >= u64::from(limit);
        let has_more = is_full(&orphans) || is_full(&over);
        for mut orphan in orphans {
            orphan.state = ArtifactState::Expired;
            match self.rows.update(&mut orphan).await {
                Ok(()) => swept.orphans += 1,
                Err(error) if is_change_of_others(&error) => swept.skipped += 1,
                Err(error) => return Err(error),
            }
        }
        for artifact in over {
            self.end(artifact, &mut swept).await?;
        }
        let is_cut = self.remove_expired(limit, &mut swept).await?;
        Ok((swept, has_more || is_cut))
    }

    /// Removes bytes until the limit is reached: what is still kept does not hold up what stands behind it.
    async fn remove_expired(&self, limit: u32, swept: &mut ArtifactSweep) -> Result<bool> {
        let mut cursor = None;
        loop {
            let mut query = Query::new()
                .filter(Artifact::STATE.eq(ArtifactState::Expired))
                .sort(Artifact::CREATED_AT.asc())
                .limit(limit);
            if let Some(cursor) = cursor {
                query = query.cursor(cursor);
            }
            let page = self.rows.list(query).await?;
            for artifact in page.items {
                self.remove(artifact, swept).await?;
            }
            cursor = page.next;
            if cursor.is_none() || swept.deleted >= u64::from(limit) {
                return Ok(cursor.is_some());
            }
        }
    }

    /// Ends an artifact, unless its blob is kept longer than its row says.
    async fn end(&self, mut artifact: Artifact, swept: &mut ArtifactSweep) -> Result<()> {
        let now = self.blobs.backend().now();
        let record = match self.blobs.head(&artifact.blob_name()?).await {
            Ok(record) => Some(record),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let kept = record.filter(|record| !record.retention.is_over_at(now));
        let count = match kept {
            Some(record) => {
                artifact.learn(&record);
                &mut swept.corrected
            }
            None => {
                artifact.state = ArtifactState::Expired;
                &mut swept.expired
            }
        };
        match self.rows.update(&mut artifact).await {
            Ok(()) => *count += 1,
            Err(error) if is_change_of_others(&error) => swept.skipped += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Removes the bytes of an artifact that is over.
    async fn remove(&self, mut artifact: Artifact, swept: &mut ArtifactSweep) -> Result<()> {
        let name = artifact.blob_name()?;
        // One that was never committed goes before its time.
        let removed = match self.blobs.delete(&name).await {
            Err(error) if error.kind() == ErrorKind::Retained && artifact.sha256.is_none() => {
                self.blobs
                    .delete_early(&name, "its upload never ended")
                    .await
            }
            removed => removed,
        };
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::Retained => {
                swept.kept += 1;
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                swept.skipped += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        artifact.state = ArtifactState::Deleted;
        match self.rows.update(&mut artifact).await {
            Ok(()) => swept.deleted += 1,
            Err(error) if is_change_of_others(&error) => swept.skipped += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_change_of_others(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}
