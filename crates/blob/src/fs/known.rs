//! What a process knows of the store, and how it follows the others.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tenantry_core::{Error, Result, TenantId};
use uuid::Uuid;

use super::disk::{Disk, failure, remove};
use super::journal::{Event, Frame, Journal, SNAPSHOT, write_new};
#[cfg(unix)]
use super::own::{open_folder, remove_unlocked};
use super::undone::Undone;
use crate::backend::{GuardedClock, Shelf};
use crate::name::BlobName;
use crate::record::BlobRecord;

/// From how many events on a journal is compacted, where most of them are over.
const LONG: u64 = if cfg!(test) { 400 } else { 20_000 };

/// What a process knows of the store.
pub(super) struct Known {
    pub(super) shelf: Shelf,
    /// Nothing while a batch is written to it, by whoever leads.
    pub(super) journal: Option<Journal>,
    pub(super) revision: u64,
    /// How many events the journal has.
    events: u64,
    /// From how many on it is tried to make it shorter.
    long: u64,
    /// Whether this process holds the lock: nothing comes from others then, and what comes from it is
    /// seen when it has happened.
    pub(super) is_leading: bool,
    /// The number of the last time that others' changes were read.
    followed: u64,
    /// Whether a failed write has left it unknown what the journal holds.
    pub(super) is_doubtful: bool,
    /// The tenants of whose deleted blobs the journal tells.
    deleted_of: HashSet<TenantId>,
    /// What is not done in the folder yet.
    pub(super) undone: Undone,
    /// What the etags of this process end with: numbers come again where a part of the journal was lost that was
    /// answered for.
    pub(super) epoch: u32,
}

impl Known {
    /// Reads the whole journal, and ends what a crash has left half done.
    pub(super) fn open(disk: &Disk, clock: &GuardedClock) -> Result<Self> {
        disk.prepare()
            .map_err(|cause| failure("open blobs", cause))?;
        let _lock = disk.lock()?;
        Self::load(disk, clock)
    }

    /// The same, while the lock is held.
    fn load(disk: &Disk, clock: &GuardedClock) -> Result<Self> {
        let mut staged = staged_files(disk)?;
        let mut known = Self {
            shelf: Shelf::default(),
            journal: None,
            revision: 0,
            events: 0,
            long: LONG,
            is_leading: false,
            followed: 0,
            is_doubtful: false,
            deleted_of: HashSet::new(),
            undone: Undone::default(),
            epoch: new_epoch(),
        };
        // Where there is no room for it, it is kept when there is.
        let _ = disk.renew_reserve();
        // A crash has left it.
        remove(&disk.new_journal()).map_err(|cause| failure("open blobs", cause))?;
        let mut journal = Journal::open(disk)?;
        let Self {
            shelf,
            revision,
            events,
            deleted_of,
            undone,
            ..
        } = &mut known;
        journal.read_on(disk, clock, |frame| {
            clock.has_shown(frame.at);
            *revision = frame.revision;
            for event in frame.events {
                *events += 1;
                undone.follow(&event, |file| staged.remove(file.to_string().as_str()));
                deleted_of.extend(event.deleted().map(|name| name.tenant()));
                apply(shelf, event);
            }
        })?;
        known.undone.end(disk);
        known.journal = Some(journal);
        remove_what_nobody_writes(disk, &staged);
        Ok(known)
    }

    /// Returns whether it is all that there is to know.
    pub(super) fn is_fresh(&self, disk: &Disk) -> Result<bool> {
        match &self.journal {
            _ if self.is_leading => Ok(true),
            Some(journal) if !self.is_doubtful => Ok(journal.has_news(disk)? == Some(false)),
            _ => Ok(false),
        }
    }

    /// Returns whether others' changes were read in a time that was begun behind one of this number.
    pub(super) const fn has_followed_since(&self, number: u64) -> bool {
        self.followed > number && !self.is_doubtful
    }

    /// Takes note that they were read in a time of this number.
    pub(super) const fn has_followed(&mut self, number: u64) {
        self.followed = number;
    }

    /// Learns what other processes have changed, while the lock is held.
    ///
    /// It is taken before what is known is locked, never the other way round: whoever leads takes both.
    pub(super) fn catch_up(&mut self, disk: &Disk, clock: &GuardedClock) -> Result<()> {
        let is_same = match &self.journal {
            Some(journal) if !self.is_doubtful => journal.has_news(disk)?.is_some(),
            _ => false,
        };
        let Some(journal) = self.journal.as_mut().filter(|_| is_same) else {
            let leading = self.is_leading;
            *self = Self::load(disk, clock)?;
            self.is_leading = leading;
            return Ok(());
        };
        // Where it fails on the way, what was read and not learned is read anew.
        self.is_doubtful = true;
        let mut frames = Vec::new();
        journal.read_on(disk, clock, |frame| frames.push(frame))?;
        for event in frames.iter().flat_map(|frame| &frame.events) {
            self.undone
                .follow(event, |file| disk.staged(file.to_string()).exists());
        }
        let count = frames.iter().map(|frame| frame.events.len() as u64).sum();
        self.undone.end_after(disk, count);
        for frame in frames {
            clock.has_shown(frame.at);
            self.learn(frame);
        }
        self.is_doubtful = false;
        Ok(())
    }

    /// Takes over what a frame says.
    pub(super) fn learn(&mut self, frame: Frame) {
        self.revision = frame.revision;
        self.events += frame.events.len() as u64;
        for event in frame.events {
            let deleted = event.deleted().map(|name| name.tenant());
            self.deleted_of.extend(deleted);
            apply(&mut self.shelf, event);
        }
    }

    /// Removes what a crash has left of bytes on their way in, while the lock is held.
    pub(super) fn remove_abandoned(&self, disk: &Disk) -> Result<()> {
        let mut staged = staged_files(disk)?;
        for file in self.undone.files() {
            staged.remove(file.to_string().as_str());
        }
        remove_what_nobody_writes(disk, &staged);
        Ok(())
    }

    /// Returns whether the journal tells of deleted blobs of a tenant.
    pub(super) fn tells_of_deleted(&self, tenant: TenantId) -> bool {
        self.deleted_of.contains(&tenant)
    }

    /// Returns whether most of what the journal tells is over, so that a shorter one is worth its while; says so
    /// once until much more has come, for where it fails, as for want of room, it is not tried with each change.
    pub(super) fn is_long(&mut self) -> bool {
        let live = self.shelf.len() as u64;
        if self.is_doubtful || self.events < self.long || self.events < 4 * live {
            return false;
        }
        self.long = self.events + LONG;
        true
    }

    /// Takes over a journal of what is there and of nothing else, which has taken the place of the longer one.
    fn is_compacted(&mut self, journal: Journal) {
        self.journal = Some(journal);
        self.events = self.shelf.len() as u64;
        self.long = LONG;
        self.deleted_of = self.undone.deleted().map(BlobName::tenant).collect();
    }

    /// Returns all that is there, as it is at this moment.
    fn snapshot(&self, clock: &GuardedClock) -> Snapshot {
        let unplaced = |record: &BlobRecord| self.undone.file_of(&record.name);
        let records = self.shelf.records();
        Snapshot {
            at: clock.now(),
            revision: self.revision,
            deleted: self.undone.deleted().cloned().collect(),
            records: records
                .map(|record| (Arc::clone(record), unplaced(record)))
                .collect(),
        }
    }
}

/// What a journal of nothing else tells.
struct Snapshot {
    at: DateTime<Utc>,
    revision: u64,
    /// Blobs whose bytes are still there.
    deleted: Vec<BlobName>,
    /// All records, each with the file that its bytes wait in: whoever reads it must know.
    records: Vec<(Arc<BlobRecord>, Option<Uuid>)>,
}

impl Snapshot {
    /// Returns frames of it; one at least, for the time and the number of changes are not forgotten.
    fn frames(&self) -> impl Iterator<Item = Frame> {
        let put = |(record, file): &(Arc<BlobRecord>, Option<Uuid>)| Event::Put {
            record: BlobRecord::clone(record),
            file: file.unwrap_or_default(),
        };
        let deleted = |name: &BlobName| Event::Deleted {
            name: name.clone(),
            act: None,
        };
        let count = self.deleted.len() + self.records.len();
        let records = self.records.iter().map(put);
        let mut all = self.deleted.iter().map(deleted).chain(records);
        let mut is_first = true;
        std::iter::from_fn(move || {
            let events: Vec<_> = all.by_ref().take(SNAPSHOT).collect();
            let frame = (is_first || !events.is_empty()).then_some(Frame {
                at: self.at,
                revision: self.revision,
                snapshot: is_first.then_some(count as u64),
                events,
            });
            is_first = false;
            frame
        })
    }
}

/// Makes the journal shorter, while the lock is held, so that nothing changes: nobody who looks something up waits for
/// the disk until all of it is there.
pub(super) fn compact(known: &Mutex<Known>, disk: &Disk, clock: &GuardedClock) -> Result<()> {
    let folders = known.lock().undone.take_unsynced();
    let written = disk
        .sync_places(folders.iter().map(String::as_str))
        .and_then(|()| {
            let snapshot = known.lock().snapshot(clock);
            write_new(disk, snapshot.frames())
        });
    let mut known = known.lock();
    match written {
        Ok(journal) => {
            known.is_compacted(journal);
            Ok(())
        }
        Err(cause) => {
            known.undone.are_unsynced(folders);
            Err(compacting(cause))
        }
    }
}

fn compacting(cause: io::Error) -> Error {
    failure("compact journal of blobs", cause)
}

fn new_epoch() -> u32 {
    Uuid::new_v4().as_fields().0
}

fn apply(shelf: &mut Shelf, event: Event) {
    match event {
        Event::Put { record, .. } | Event::Changed { record, .. } => shelf.insert(record),
        Event::Deleted { name, .. } => drop(shelf.remove(&name)),
    }
}

/// Returns the names of the files that bytes came or are coming in.
fn staged_files(disk: &Disk) -> Result<HashSet<String>> {
    let failed = |cause| failure("open blobs", cause);
    let mut names = HashSet::new();
    for entry in fs::read_dir(disk.incoming()).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// Removes what a crash has left: whoever still writes holds the lock of its file, and whoever has just made
/// one looks, when it is locked, whether it was removed here. What is not named as such a file is none.
#[cfg(unix)]
fn remove_what_nobody_writes(disk: &Disk, staged: &HashSet<String>) {
    let Ok(folder) = open_folder(&disk.incoming()) else {
        return;
    };
    for name in staged.iter().filter(|name| is_staged(name)) {
        // What stays is removed by the next who opens the store.
        let _ = remove_unlocked(&folder, name);
    }
}

#[cfg(not(unix))]
fn remove_what_nobody_writes(disk: &Disk, staged: &HashSet<String>) {
    for name in staged.iter().filter(|name| is_staged(name)) {
        let path = disk.staged(name);
        if let Ok(file) = super::own::open_file(&path)
            && file.try_lock().is_ok()
        {
            let _ = remove(&path);
        }
    }
}

/// Returns whether the name of a file is one that bytes come in.
fn is_staged(name: &str) -> bool {
    Uuid::parse_str(name).is_ok_and(|file| file.to_string() == name)
}

/// What changes of one batch make of blobs, before it has happened.
#[derive(Default)]
pub(super) struct Overlay(HashMap<BlobName, Option<BlobRecord>>);

impl Overlay {
    /// Returns a blob as it will be.
    pub(super) fn get<'s>(&'s self, shelf: &'s Shelf, name: &BlobName) -> Option<&'s BlobRecord> {
        match self.0.get(name) {
            Some(changed) => changed.as_ref(),
            None => shelf.get(name),
        }
    }

    pub(super) fn set(&mut self, name: BlobName, record: Option<BlobRecord>) {
        self.0.insert(name, record);
    }
}
