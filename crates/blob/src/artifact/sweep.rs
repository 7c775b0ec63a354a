//! What a crash has left, and what is over.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tenantry_store::{Cursor, Query, Repository as _};

use super::TenantArtifacts;
use super::row::{Artifact, ArtifactRepository as _, ArtifactState};
use crate::name::BlobName;
use crate::record::BlobRecord;

const SWEEP: &str = "sweep artifacts";

/// Where the next sweep of a tenant goes on among what had to stay, as long as it has not come to the end.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<HashMap<TenantId, Cursor>>);

impl Places {
    fn take(&self, tenant: TenantId) -> Option<Cursor> {
        self.0.lock().remove(&tenant)
    }

    fn put(&self, tenant: TenantId, next: Cursor) {
        self.0.lock().insert(tenant, next);
    }
}

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
    /// whose time is over, and removes the bytes of both; up to `limit` of each, and goes through as many
    /// of those that had to stay before. Where it ended among those, the next sweep of the tenant by the
    /// same [`BlobStore`](crate::BlobStore) goes on.
    ///
    /// A row says that it is over before its bytes go, so that nobody reads half of what is deleted, and
    /// a commit that comes too late is a conflict. Where an artifact has ended and its blob is kept all
    /// the same, as by a clock that was ahead, it is there to be read again.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the grace time is longer than a date can say.
    /// - [`Retained`](ErrorKind::Retained): the clock of the blobs was set back, and nothing ends by it
    ///   until it has caught up.
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
        self.blobs.backend().check_clock(SWEEP)?;
        let before = TimeDelta::from_std(grace)
            .ok()
            .and_then(|grace| now.checked_sub_signed(grace))
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, SWEEP)
                    .with_detail("expected a shorter grace time")
            })?;
        let mut swept = ArtifactSweep::default();
        let left = self.remove_left(limit, &mut swept).await;
        let orphans = self.rows.pending_since(before, limit).await?;
        let over = self.rows.over_at(now, limit).await?;
        let is_full = |list: &[Artifact]| list.len() as u64 >= u64::from(limit);
        let has_more = is_full(&orphans) || is_full(&over);
        let mut ended = Vec::new();
        for mut orphan in orphans {
            orphan.state = ArtifactState::Expired;
            match self.rows.update(&mut orphan).await {
                Ok(()) => {
                    swept.orphans += 1;
                    ended.push(orphan);
                }
                Err(error) if is_change_of_others(&error) => swept.skipped += 1,
                Err(error) => return Err(error),
            }
        }
        for artifact in over {
            ended.extend(self.end(artifact, &mut swept).await?);
        }
        for artifact in ended {
            self.remove(artifact, &mut swept).await?;
        }
        // What could not be removed has not held up what was to end.
        let is_cut = left?;
        Ok((swept, has_more || is_cut))
    }

    /// Removes the bytes of what ended before, a page of it: what is still kept does not hold up what stands
    /// behind it, for the next sweep goes on there. Tells whether there is more.
    async fn remove_left(&self, limit: u32, swept: &mut ArtifactSweep) -> Result<bool> {
        let places = self.blobs.store().places();
        let tenant = self.blobs.tenant();
        let mut query = Query::new()
            .filter(Artifact::STATE.eq(ArtifactState::Expired))
            .sort(Artifact::CREATED_AT.asc())
            .limit(limit);
        if let Some(cursor) = places.take(tenant) {
            query = query.cursor(cursor);
        }
        let page = self.rows.list(query).await?;
        let is_cut = page.next.is_some();
        // Before them, so that one at which it fails is not where the next begins again.
        if let Some(next) = page.next {
            places.put(tenant, next);
        }
        for artifact in page.items {
            self.remove(artifact, swept).await?;
        }
        Ok(is_cut)
    }

    /// Ends an artifact, unless its blob is kept longer than its row says.
    async fn end(
        &self,
        mut artifact: Artifact,
        swept: &mut ArtifactSweep,
    ) -> Result<Option<Artifact>> {
        let kept = self.kept(&artifact.blob_name()?).await?;
        let is_over = kept.is_none();
        match kept {
            Some(record) => artifact.learn(&record),
            None => artifact.state = ArtifactState::Expired,
        }
        match self.rows.update(&mut artifact).await {
            Ok(()) if is_over => {
                swept.expired += 1;
                return Ok(Some(artifact));
            }
            Ok(()) => swept.corrected += 1,
            Err(error) if is_change_of_others(&error) => swept.skipped += 1,
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Returns what is known of a blob, if its time is not over.
    async fn kept(&self, name: &BlobName) -> Result<Option<BlobRecord>> {
        let now = self.blobs.backend().now();
        match self.blobs.head(name).await {
            Ok(record) => Ok(Some(record).filter(|record| !record.retention.is_over_at(now))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the bytes of an artifact that is over.
    async fn remove(&self, mut artifact: Artifact, swept: &mut ArtifactSweep) -> Result<()> {
        let name = artifact.blob_name()?;
        // One that was never committed goes before its time.
        let is_committed = artifact.sha256.is_some();
        let removed = match self.blobs.delete(&name).await {
            Err(error) if error.kind() == ErrorKind::Retained && !is_committed => {
                self.blobs
                    .delete_early(&name, "its upload never ended")
                    .await
            }
            removed => removed,
        };
        let mut is_deleted = true;
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::Retained => {
                let kept = match is_committed {
                    true => self.kept(&name).await?,
                    false => None,
                };
                let Some(record) = kept else {
                    swept.kept += 1;
                    return Ok(());
                };
                // It was ended too early, or is kept longer since.
                artifact.learn(&record);
                is_deleted = false;
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                swept.skipped += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let (state, count) = match is_deleted {
            true => (ArtifactState::Deleted, &mut swept.deleted),
            false => (ArtifactState::Committed, &mut swept.corrected),
        };
        artifact.state = state;
        match self.rows.update(&mut artifact).await {
            Ok(()) => *count += 1,
            Err(error) if is_change_of_others(&error) => swept.skipped += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_change_of_others(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}
