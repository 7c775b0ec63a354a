//! What a crash has left, and what is over.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tenantry_store::{Filter, Query, Repository as _};

use super::TenantArtifacts;
use super::row::{Artifact, ArtifactId, ArtifactState, over, pending_since, waiting};
use crate::name::BlobName;
use crate::record::BlobRecord;

const SWEEP: &str = "sweep artifacts";

/// What had to stay, or could not go, and is looked at a page at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Staying {
    /// What was not committed in time, and could not be given up before.
    Pending,
    /// What has ended, and has its bytes still.
    Ended,
    /// What is held by its row, though its time is over.
    Held,
    /// What is over, and could not be ended before.
    Over,
    /// What waits for its event, which may have been reported of its blob alone.
    Waiting,
}

/// Where the next sweep of a tenant goes on among those, as long as it has not come to the end.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<HashMap<(TenantId, Staying), Place>>);

/// The last artifact of a page.
///
/// A cursor would not do: it is bound to the values of its filter, and what is over is asked for by another
/// time in each sweep.
#[derive(Debug, Clone, Copy)]
struct Place {
    created_at: DateTime<Utc>,
    id: ArtifactId,
}

impl Place {
    /// Chooses what stands behind it in the order of a sweep.
    fn behind(self) -> Filter<Artifact> {
        let later = Artifact::CREATED_AT.gt(self.created_at);
        Artifact::CREATED_AT
            .ge(self.created_at)
            .and(later.or(Artifact::ID.gt(self.id)))
    }
}

/// What a sweep of a tenant's artifacts has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactSweep {
    /// How many uploads that never ended were given up.
    pub orphans: u64,
    /// How many artifacts ended whose time was over.
    pub expired: u64,
    /// Of how many the bytes were removed, or were gone already.
    pub deleted: u64,
    /// Of how many the row was corrected, for their blob is kept longer, or its event was reported.
    pub corrected: u64,
    /// Of how many the bytes are still kept by a lock, a hold or a floor: a later sweep removes them.
    pub kept: u64,
    /// How many were changed by others meanwhile.
    pub skipped: u64,
    /// How many failed, as of a blob that another program has a lease on: each is logged, and the others go
    /// on.
    pub failed: u64,
}

impl ArtifactSweep {
    pub(super) const fn add(&mut self, other: &Self) {
        self.orphans += other.orphans;
        self.expired += other.expired;
        self.deleted += other.deleted;
        self.corrected += other.corrected;
        self.kept += other.kept;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }

    /// Returns whether nothing has changed by it.
    pub(super) const fn is_nothing(&self) -> bool {
        self.orphans + self.expired + self.deleted + self.corrected == 0
    }
}

impl TenantArtifacts {
    /// Gives up uploads that began longer ago than the grace time and were not committed, ends artifacts
    /// whose time is over, and removes the bytes of both; up to `limit` of each, and goes through as many
    /// of those that had to stay before, and of those that wait for an event. Where it ended among those, the
    /// next sweep of the tenant by the same [`BlobStore`](crate::BlobStore) goes on.
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
        let mut has_more = self.remove_left(limit, &mut swept).await?;
        let filter = pending_since(before);
        let (orphans, is_cut) = self.page(Staying::Pending, filter, limit).await?;
        has_more |= is_cut;
        for orphan in orphans {
            self.give_up(orphan, &mut swept).await?;
        }
        for (staying, filter) in [
            (Staying::Over, over(now, false)),
            (Staying::Held, over(now, true)),
            (Staying::Waiting, waiting()),
        ] {
            let (page, is_cut) = self.page(staying, filter, limit).await?;
            has_more |= is_cut;
            for artifact in page {
                self.end(artifact, &mut swept).await?;
            }
        }
        Ok((swept, has_more))
    }

    /// Returns a page of what may have to stay, and whether there is more: what does not go does not hold up
    /// what stands behind it, for the next sweep begins there.
    async fn page(
        &self,
        staying: Staying,
        filter: Filter<Artifact>,
        limit: u32,
    ) -> Result<(Vec<Artifact>, bool)> {
        let (places, key) = (
            &self.blobs.store().places().0,
            (self.blobs.tenant(), staying),
        );
        let place = places.lock().get(&key).copied();
        let filter = match place {
            Some(place) => filter.and(place.behind()),
            None => filter,
        };
        let query = Query::new()
            .filter(filter)
            .sort(Artifact::CREATED_AT.asc())
            .limit(limit);
        let page = self.rows.list(query).await?;
        let is_cut = page.next.is_some();
        let last = page.items.last().filter(|_| is_cut).map(|last| Place {
            created_at: last.created_at,
            id: last.id,
        });
        match last {
            Some(last) => places.lock().insert(key, last),
            None => places.lock().remove(&key),
        };
        // Where it began in the midst, there may be more in front.
        Ok((page.items, is_cut || place.is_some()))
    }

    /// Removes the bytes of what ended before, a page of it. Tells whether there is more.
    async fn remove_left(&self, limit: u32, swept: &mut ArtifactSweep) -> Result<bool> {
        let filter = Artifact::STATE.eq(ArtifactState::Expired);
        let (page, is_cut) = self.page(Staying::Ended, filter, limit).await?;
        for artifact in page {
            self.remove(artifact, swept).await?;
        }
        Ok(is_cut)
    }

    /// Gives up an upload that never ended.
    async fn give_up(&self, mut orphan: Artifact, swept: &mut ArtifactSweep) -> Result<()> {
        orphan.state = ArtifactState::Expired;
        if self.write(&mut orphan, swept).await? {
            swept.orphans += 1;
            self.remove(orphan, swept).await?;
        }
        Ok(())
    }

    /// Ends an artifact and removes its bytes, unless its blob is kept longer than its row says.
    async fn end(&self, mut artifact: Artifact, swept: &mut ArtifactSweep) -> Result<()> {
        let name = match artifact.blob_name() {
            Ok(name) => name,
            Err(error) => return failed(&artifact, error, swept),
        };
        let kept = match self.kept(&name).await {
            Ok(kept) => kept,
            Err(error) => return failed(&artifact, error, swept),
        };
        let Some(record) = kept else {
            artifact.state = ArtifactState::Expired;
            if self.write(&mut artifact, swept).await? {
                swept.expired += 1;
                self.remove(artifact, swept).await?;
            }
            return Ok(());
        };
        let before = artifact.clone();
        artifact.learn(&record);
        if artifact == before {
            // What waits for its event is not over.
            swept.kept += u64::from(artifact.expires_at.is_some());
        } else if self.write(&mut artifact, swept).await? {
            swept.corrected += 1;
        }
        Ok(())
    }

    /// Writes the row of an artifact, unless others have changed it or it cannot be written.
    async fn write(&self, artifact: &mut Artifact, swept: &mut ArtifactSweep) -> Result<bool> {
        match self.rows.update(artifact).await {
            Ok(()) => Ok(true),
            Err(error) if is_change_of_others(&error) => {
                swept.skipped += 1;
                Ok(false)
            }
            Err(error) => failed(artifact, error, swept).map(|()| false),
        }
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
        let name = match artifact.blob_name() {
            Ok(name) => name,
            Err(error) => return failed(&artifact, error, swept),
        };
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
        let error = match removed {
            Ok(()) => None,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(error),
        };
        let Some(error) = error else {
            artifact.state = ArtifactState::Deleted;
            swept.deleted += u64::from(self.write(&mut artifact, swept).await?);
            return Ok(());
        };
        match error.kind() {
            ErrorKind::Retained if is_committed => match self.kept(&name).await {
                // It was ended too early, or is kept longer since.
                Ok(Some(record)) => {
                    artifact.learn(&record);
                    artifact.state = ArtifactState::Committed;
                    swept.corrected += u64::from(self.write(&mut artifact, swept).await?);
                }
                Ok(None) => swept.kept += 1,
                Err(error) => return failed(&artifact, error, swept),
            },
            ErrorKind::Retained => swept.kept += 1,
            ErrorKind::Conflict => swept.skipped += 1,
            _ => return failed(&artifact, error, swept),
        }
        Ok(())
    }
}

/// Counts an artifact whose blob cannot be found, looked at or removed, or whose row cannot be written, so that
/// the others go on; where none can be, the sweep ends.
fn failed(artifact: &Artifact, error: Error, swept: &mut ArtifactSweep) -> Result<()> {
    if error.is_retryable() && error.kind() != ErrorKind::Locked {
        return Err(error);
    }
    tracing::warn!(target: "tenantry::blob", %error, artifact.id = %artifact.id.0, "an artifact is not swept");
    swept.failed += 1;
    Ok(())
}

pub(super) fn is_change_of_others(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}
