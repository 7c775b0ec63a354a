//! What a process knows of the store, and how it follows the others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;

use tenantry_core::Result;

use super::disk::{Disk, failure, open_file, remove};
use super::journal::{Event, Frame, Journal, SNAPSHOT, write_new};
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
    /// Whether a failed write has left it unknown what the journal holds.
    pub(super) is_doubtful: bool,
    /// What is not done in the folder yet.
    pub(super) undone: Undone,
    /// The folders that bytes came into since the journal was made: they may not be on the disk, and until they
    /// are the journal must tell which file the bytes came in.
    unsynced: BTreeSet<String>,
    /// Whether room is kept for the record of deletions.
    has_reserve: bool,
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
            is_doubtful: false,
            undone: Undone::default(),
            unsynced: BTreeSet::new(),
            has_reserve: disk.keep_reserve().is_ok(),
        };
        // A crash has left it.
        remove(&disk.new_journal()).map_err(|cause| failure("open blobs", cause))?;
        let mut journal = Journal::open(disk)?;
        let Self {
            shelf,
            revision,
            events,
            undone,
            unsynced,
            ..
        } = &mut known;
        journal.read_on(disk, clock, |frame| {
            clock.has_shown(frame.at);
            *revision = frame.revision;
            for event in frame.events {
                *events += 1;
                undone.follow(&event, |file| staged.remove(file.to_string().as_str()));
                note_folder(unsynced, &event);
                apply(shelf, event);
            }
        })?;
        known.undone.end(disk);
        known.journal = Some(journal);
        // What was cut off may have been answered for, and has no more changes than bytes: an etag that comes again
        // would be taken for the same state.
        known.revision += disk
            .cut_off()
            .map_err(|cause| failure("open blobs", cause))?;
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

    /// Learns what other processes have changed, while the lock is held.
    ///
    /// It is taken before what is known is locked, never the other way round: whoever leads takes both.
    pub(super) fn catch_up(&mut self, disk: &Disk, clock: &GuardedClock) -> Result<()> {
        let is_same = match &self.journal {
            Some(journal) if !self.is_doubtful => journal.has_news(disk)?.is_some(),
            _ => false,
        };
        let Some(journal) = self.journal.as_mut().filter(|_| is_same) else {
            let (leading, revision) = (self.is_leading, self.revision);
            *self = Self::load(disk, clock)?;
            self.is_leading = leading;
            // What was cut off, or restored over, was answered for: its numbers do not come again.
            self.revision = self.revision.max(revision);
            return Ok(());
        };
        // Where it fails on the way, what was read and not learned is read anew.
        self.is_doubtful = true;
        let mut frames = Vec::new();
        let cut = journal.read_on(disk, clock, |frame| frames.push(frame))?;
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
        self.revision += cut;
        self.is_doubtful = false;
        Ok(())
    }

    /// Takes over what a frame says.
    pub(super) fn learn(&mut self, frame: Frame) {
        // What it has told is not forgotten, also where a part of the journal was lost.
        self.revision = self.revision.max(frame.revision);
        self.events += frame.events.len() as u64;
        for event in frame.events {
            note_folder(&mut self.unsynced, &event);
            apply(&mut self.shelf, event);
        }
    }

    /// Gives up the room that is kept for the record of deletions.
    pub(super) fn give_up_reserve(&mut self, disk: &Disk) {
        self.has_reserve = false;
        // Where it stays, there is as little room as before.
        let _ = disk.give_up_reserve();
    }

    /// Keeps that room again, if there is any.
    pub(super) fn keep_reserve(&mut self, disk: &Disk) {
        if !self.has_reserve {
            self.has_reserve = disk.keep_reserve().is_ok();
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

    /// Writes a shorter journal where most of what it tells is over, while the lock is held.
    pub(super) fn compact_if_long(&mut self, disk: &Disk, clock: &GuardedClock) -> Result<()> {
        let live = self.shelf.len() as u64;
        // What waits to be done again is told by the journal as it is.
        if self.is_doubtful || self.events < self.long || self.events < 4 * live {
            return Ok(());
        }
        // Where it fails, as for want of room, it is not tried again with each change.
        self.long = self.events + LONG;
        self.compact(disk, clock)
    }

    /// Writes a journal of what is there and of nothing else, while the lock is held.
    pub(super) fn compact(&mut self, disk: &Disk, clock: &GuardedClock) -> Result<()> {
        disk.sync_places(self.unsynced.iter().map(String::as_str))
            .and_then(|()| write_new(disk, self.snapshot(clock)))
            .map_err(|cause| failure("compact journal of blobs", cause))?;
        let mut journal = Journal::open(disk)?;
        journal.read_on(disk, clock, |_| {})?;
        self.journal = Some(journal);
        self.events = self.shelf.len() as u64;
        self.long = LONG;
        self.unsynced.clear();
        for name in self.undone.unplaced() {
            self.unsynced.insert(folder_of(name).to_owned());
        }
        Ok(())
    }

    /// Returns frames of all that is there; one at least, for the time and the number of changes are not
    /// forgotten.
    fn snapshot(&self, clock: &GuardedClock) -> impl Iterator<Item = Frame> {
        // Where bytes wait, whoever reads it must know.
        let put = |record: &BlobRecord| Event::Put {
            record: record.clone(),
            file: self.undone.file_of(&record.name).unwrap_or_default(),
        };
        let deleted = |name: &BlobName| Event::Deleted {
            name: name.clone(),
            act: None,
        };
        let (at, revision) = (clock.now(), self.revision);
        let records = self.shelf.records().map(put);
        let mut all = self.undone.deleted().map(deleted).chain(records);
        let mut is_first = true;
        std::iter::from_fn(move || {
            let events: Vec<_> = all.by_ref().take(SNAPSHOT).collect();
            let frame = (is_first || !events.is_empty()).then_some(Frame {
                at,
                revision,
                events,
            });
            is_first = false;
            frame
        })
    }
}

/// Takes note of the folder that bytes come into; those of a snapshot are in theirs, unless it says which file
/// they are in.
fn note_folder(unsynced: &mut BTreeSet<String>, event: &Event) {
    if let Event::Put { record, file } = event
        && !file.is_nil()
        && !unsynced.contains(folder_of(&record.name))
    {
        unsynced.insert(folder_of(&record.name).to_owned());
    }
}

fn folder_of(name: &BlobName) -> &str {
    name.as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
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
/// one looks, when it is locked, whether it was removed here.
fn remove_what_nobody_writes(disk: &Disk, staged: &HashSet<String>) {
    for name in staged {
        let path = disk.staged(name);
        if let Ok(file) = open_file(&path)
            && file.try_lock().is_ok()
        {
            // What stays is removed by the next who opens the store.
            let _ = remove(&path);
        }
    }
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
