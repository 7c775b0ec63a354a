//! The records of all blobs of a backend that keeps them itself: by name, and by what is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use super::{BackendPage, Deletion, DueBlob, GuardedClock, ListedDue, due_times};
use crate::name::{BlobName, BlobPrefix};
use crate::record::{BlobEncryption, BlobRecord, ETag, RehydratePriority, Rehydration, Tier};
use crate::retention::{RetentionAct, RetentionState};
use crate::store::{about, invalid_cursor, not_found};

pub(crate) const DELETE: &str = "delete blob";
pub(crate) const TIER: &str = "move blob to a tier";
pub(crate) const RETENTION: &str = "change retention";
pub(crate) const ENCRYPTION: &str = "change encryption of blob";

/// The records of all blobs.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Each by itself, as the nodes of the tree are half empty where names come in order; and shared with whoever goes
    /// through all of them, which takes a while.
    by_name: BTreeMap<BlobName, Arc<BlobRecord>>,
    by_due: BTreeSet<(DateTime<Utc>, BlobName)>,
}

impl Shelf {
    pub(crate) fn get(&self, name: &BlobName) -> Option<&BlobRecord> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// Returns the record of a blob that is there.
    pub(crate) fn find(&self, operation: &'static str, name: &BlobName) -> Result<&BlobRecord> {
        self.get(name).ok_or_else(|| not_found(operation, name))
    }

    #[cfg(feature = "fs")]
    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<BlobRecord>> {
        self.by_name.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Puts a record in, in place of the one of the same name.
    pub(crate) fn insert(&mut self, record: BlobRecord) {
        let due = next_due(&record);
        let name = record.name.clone();
        let before = self.by_name.insert(name.clone(), Arc::new(record));
        let due_before = before.as_deref().and_then(next_due);
        if due_before != due {
            if let Some(time) = due_before {
                self.by_due.remove(&(time, name.clone()));
            }
            if let Some(time) = due {
                self.by_due.insert((time, name));
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &BlobName) -> Option<BlobRecord> {
        let record = self.by_name.remove(name)?;
        if let Some(time) = next_due(&record) {
            self.by_due.remove(&(time, name.clone()));
        }
        Some(Arc::unwrap_or_clone(record))
    }

    /// Returns a page of the records under a prefix.
    pub(crate) fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<BackendPage<BlobRecord>> {
        let start = match after {
            None => Bound::Included(prefix.as_str()),
            Some(name) => match name.parse::<BlobName>() {
                Ok(parsed) if prefix.includes(&parsed) => Bound::Excluded(name),
                _ => return Err(invalid_cursor("list blobs")),
            },
        };
        let mut under = self
            .by_name
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, record)| record)
            .take_while(|record| prefix.includes(&record.name));
        let items: Vec<_> = under
            .by_ref()
            .take(limit)
            .map(|record| BlobRecord::clone(record).settled_at(now))
            .collect();
        let next = under
            .next()
            .and(items.last())
            .map(|record| record.name.to_string());
        Ok(BackendPage { items, next })
    }

    /// Returns a page of the blobs to which something is to be done at a time, the longest due first.
    pub(crate) fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        let start = match after {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(
                read_cursor(cursor).ok_or_else(|| invalid_cursor("list due blobs"))?,
            ),
        };
        let mut until = self
            .by_due
            .range((start, Bound::Unbounded))
            .take_while(|(time, _)| *time <= at);
        let mut items = Vec::new();
        let mut last = None;
        for due in until.by_ref().take(limit) {
            let found = self.get(&due.1).and_then(|record| DueBlob::of(record, at));
            items.extend(found.map(ListedDue::from));
            last = Some(due);
        }
        let next = until
            .next()
            .and(last)
            .map(|(time, name)| write_cursor(*time, name));
        Ok(BackendPage { items, next })
    }
}

/// Checks whether a blob may be deleted.
pub(crate) fn check_deletion(
    record: &BlobRecord,
    deletion: &Deletion,
    clock: &GuardedClock,
) -> Result<()> {
    check_state(DELETE, record, &deletion.etag)?;
    let act = deletion.act.as_ref();
    clock
        .check_right(DELETE)
        .and_then(|()| record.retention.check_deletion(clock.now(), act))
        .map_err(|error| about(error, &record.name))
}

/// Returns the record of a blob with another retention.
pub(crate) fn with_retention(
    record: &BlobRecord,
    etag: &ETag,
    next: &RetentionState,
    act: &RetentionAct,
    clock: &GuardedClock,
) -> Result<BlobRecord> {
    check_state(RETENTION, record, etag)?;
    let before = &record.retention;
    // By a time that may be wrong nothing ends sooner.
    let is_sooner = next
        .until
        .is_some_and(|after| before.until.is_none_or(|it| after < it));
    let check_clock = || match is_sooner {
        true => clock.check_right(RETENTION),
        false => Ok(()),
    };
    before
        .check_change(next, clock.now(), act)
        .and_then(|()| check_clock())
        .map_err(|error| about(error, &record.name))?;
    Ok(BlobRecord {
        retention: next.clone(),
        ..record.clone()
    })
}

/// Returns the record of a blob in another tier, or on its way there.
pub(crate) fn with_tier(
    record: &BlobRecord,
    etag: &ETag,
    (tier, priority): (Tier, RehydratePriority),
    (now, takes): (DateTime<Utc>, Duration),
) -> Result<BlobRecord> {
    check_state(TIER, record, etag)?;
    let mut record = record.clone().settled_at(now);
    if record.tier != Tier::Archive || tier == Tier::Archive {
        record.tier = tier;
        record.tier_changed_at = Some(now);
        record.rehydration = None;
        return Ok(record);
    }
    let before = record.rehydration;
    if before.is_some_and(|before| before.to != tier) {
        return Err(about(Error::new(ErrorKind::Conflict, TIER), &record.name)
            .with_detail("it is on its way back to another tier"));
    }
    let ready_at = TimeDelta::from_std(takes)
        .ok()
        .and_then(|takes| now.checked_add_signed(takes));
    record.rehydration = Some(Rehydration {
        to: tier,
        // It can be raised, and not lowered.
        priority: before.map_or(priority, |before| before.priority.max(priority)),
        ready_at: before.and_then(|before| before.ready_at).or(ready_at),
    });
    Ok(record.settled_at(now))
}

/// Returns the record of a blob that is said to be encrypted otherwise.
pub(crate) fn with_encryption(
    record: &BlobRecord,
    etag: &ETag,
    next: &BlobEncryption,
    clock: &GuardedClock,
) -> Result<BlobRecord> {
    check_state(ENCRYPTION, record, etag)?;
    let retention = &record.retention;
    if retention.is_held() || retention.is_locked_at(clock.now()) {
        return Err(
            about(Error::new(ErrorKind::Retained, ENCRYPTION), &record.name).with_detail(
                "a lock or a hold keeps all of it as it is: keep the key that it has until then",
            ),
        );
    }
    Ok(BlobRecord {
        encryption: Some(next.clone()),
        ..record.clone()
    })
}

/// Checks whether a blob is as it was when somebody decided what to do.
pub(crate) fn check_state(operation: &'static str, record: &BlobRecord, etag: &ETag) -> Result<()> {
    if record.etag == *etag {
        return Ok(());
    }
    Err(
        about(Error::new(ErrorKind::Conflict, operation), &record.name)
            .with_detail("it was changed meanwhile: read it again"),
    )
}

fn next_due(record: &BlobRecord) -> Option<DateTime<Utc>> {
    let (end, archive) = due_times(record);
    end.into_iter().chain(archive).min()
}

/// Writes all of the time: behind a part of it, the same blob would come again and again.
fn write_cursor(time: DateTime<Utc>, name: &BlobName) -> String {
    let (seconds, nanos) = (time.timestamp(), time.timestamp_subsec_nanos());
    format!("{seconds}.{nanos}@{name}")
}

fn read_cursor(cursor: &str) -> Option<(DateTime<Utc>, BlobName)> {
    let (time, name) = cursor.split_once('@')?;
    let (seconds, nanos) = time.split_once('.')?;
    let time = DateTime::from_timestamp(seconds.parse().ok()?, nanos.parse().ok()?)?;
    Some((time, name.parse().ok()?))
}
