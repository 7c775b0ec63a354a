//! What has happened to blobs and is not done in the folder yet: bytes that could not be moved into their
//! place, and bytes that could not be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::ops::Bound;

use tenantry_core::ErrorKind;
use uuid::Uuid;

use super::disk::{Disk, Step, failure, remove};
use super::journal::Event;
use crate::name::{BlobName, BlobPrefix};

/// What is to be done again: one blob whose bytes stay where they are closes the store to nobody.
#[derive(Default)]
pub(super) struct Undone {
    /// The files that the bytes of blobs are in until they are in their place: they are read from there.
    unplaced: BTreeMap<BlobName, Unplaced>,
    /// Blobs that were deleted, and whose bytes are still there.
    deleted: BTreeMap<BlobName, Remaining>,
    /// The folders that bytes came into or went from since the journal was made: that may not be on the disk, and
    /// until it is the journal must tell of it. They are named as the names of blobs begin.
    unsynced: BTreeSet<String>,
    /// How many changes have come since it was tried.
    waited: u64,
}

struct Unplaced {
    file: Uuid,
    is_told: bool,
}

struct Remaining {
    /// The file of bytes that never came into their place.
    file: Option<Uuid>,
    /// Why they are there, once that was tried.
    kind: Option<ErrorKind>,
}

impl Undone {
    /// Goes on by an event; `is_staged` says whether the bytes of a put are not in their place yet.
    ///
    /// All events of a journal, or of what others wrote since, are followed before anything is done: what
    /// was deleted may have been put anew, and then its place is that of the new bytes.
    pub(super) fn follow(&mut self, event: &Event, is_staged: impl FnOnce(Uuid) -> bool) {
        match event {
            Event::Put { record, file } => {
                self.deleted.remove(&record.name);
                // In a snapshot what is in its place is there for certain.
                if !file.is_nil() {
                    self.has_touched(&record.name);
                }
                if is_staged(*file) {
                    self.waits_for_its_place(record.name.clone(), *file);
                }
            }
            Event::Changed { .. } => {}
            Event::Deleted { name, .. } => {
                let file = self.unplaced.remove(name).map(|it| it.file);
                let remaining = Remaining { file, kind: None };
                self.deleted.insert(name.clone(), remaining);
            }
        }
    }

    fn has_touched(&mut self, name: &BlobName) {
        let folder = folder_of(name);
        if !self.unsynced.contains(folder) {
            self.unsynced.insert(folder.to_owned());
        }
    }

    /// Takes the folders whose state may not be on the disk.
    pub(super) fn take_unsynced(&mut self) -> BTreeSet<String> {
        mem::take(&mut self.unsynced)
    }

    /// Gives them back, where it is not.
    pub(super) fn are_unsynced(&mut self, folders: BTreeSet<String>) {
        self.unsynced.extend(folders);
    }

    fn waits_for_its_place(&mut self, name: BlobName, file: Uuid) {
        let is_told = false;
        self.unplaced.insert(name, Unplaced { file, is_told });
    }

    /// Takes note of a put whose bytes could not be moved into their place.
    pub(super) fn is_not_placed(&mut self, name: BlobName, file: Uuid, cause: &io::Error) {
        warn_of_unplaced(&name, cause);
        // What comes into this place from now on is not what is to be removed.
        self.deleted.remove(&name);
        self.has_touched(&name);
        let is_told = true;
        self.unplaced.insert(name, Unplaced { file, is_told });
    }

    /// Returns the file that the bytes of a blob are in, where they are not in their place.
    pub(super) fn file_of(&self, name: &BlobName) -> Option<Uuid> {
        self.unplaced.get(name).map(|it| it.file)
    }

    /// Returns the files that they are in.
    pub(super) fn files(&self) -> impl Iterator<Item = Uuid> {
        let unplaced = self.unplaced.values().map(|it| it.file);
        unplaced.chain(self.deleted.values().filter_map(|it| it.file))
    }

    /// Returns the deleted blobs whose bytes are still there.
    pub(super) fn deleted(&self) -> impl Iterator<Item = &BlobName> {
        self.deleted.keys()
    }

    /// Returns those under a prefix, in the order of their names, each with why its bytes are there.
    pub(super) fn remaining(
        &self,
        prefix: &BlobPrefix,
    ) -> impl Iterator<Item = (&BlobName, ErrorKind)> {
        let under = self
            .deleted
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        under
            .map(|(name, it)| (name, it.kind.unwrap_or(ErrorKind::Unavailable)))
            .take_while(|(name, _)| prefix.includes(name))
    }

    /// Takes note of a put whose bytes came into their place: what was there of one that was deleted is gone.
    pub(super) fn is_placed(&mut self, name: &BlobName) {
        self.deleted.remove(name);
        self.has_touched(name);
    }

    /// Takes up what is to be removed of a blob that was deleted.
    pub(super) fn take(&mut self, name: &BlobName) -> Removal {
        match self.deleted.remove(name) {
            Some(before) => Removal {
                file: before.file,
                is_told: before.kind.is_some(),
            },
            None => Removal {
                file: self.unplaced.remove(name).map(|it| it.file),
                is_told: false,
            },
        }
    }

    /// Takes note of bytes that could not be removed: it is tried again with later changes.
    pub(super) fn is_not_removed(&mut self, name: BlobName, removal: &Removal, cause: io::Error) {
        if !removal.is_told {
            tracing::warn!(error = %cause, blob = %name, "the bytes of a deleted blob wait to be removed");
        }
        let remaining = Remaining {
            file: removal.file,
            kind: Some(failure(REMOVE, cause).kind()),
        };
        self.deleted.insert(name, remaining);
    }

    /// Does what is to be done, as far as that is possible, while the lock is held.
    pub(super) fn end(&mut self, disk: &Disk) {
        self.waited = 0;
        self.end_some(disk, true);
    }

    /// Does so with what was not tried before, and with all when as many changes have come as there is to do:
    /// whatever is in the way is there a moment later, and much that waits must not make each change slow.
    pub(super) fn end_after(&mut self, disk: &Disk, changes: u64) {
        self.waited = self.waited.saturating_add(changes);
        let count = (self.unplaced.len() + self.deleted.len()) as u64;
        match count {
            0 => self.waited = 0,
            _ if self.waited > count => self.end(disk),
            _ => self.end_some(disk, false),
        }
    }

    fn end_some(&mut self, disk: &Disk, all: bool) {
        let mut touched = Vec::new();
        self.unplaced.retain(|name, it| {
            if it.is_told && !all {
                return true;
            }
            touched.push(name.clone());
            let placed = disk.put_in_place(&disk.staged(it.file.to_string()), name);
            placed.is_err_and(|cause| {
                if !std::mem::replace(&mut it.is_told, true) {
                    warn_of_unplaced(name, &cause);
                }
                // Another process has moved it, or somebody has removed it.
                cause.kind() != io::ErrorKind::NotFound
            })
        });
        let deleted = self.deleted.iter();
        let deleted = deleted.filter(|(_, it)| all || it.kind.is_none());
        let names: Vec<_> = deleted.map(|(name, _)| name.clone()).collect();
        for name in touched.iter().chain(&names) {
            self.has_touched(name);
        }
        for name in names {
            let removal = self.take(&name);
            if let Err(cause) = removal.run(disk, &name) {
                self.is_not_removed(name, &removal, cause);
            }
        }
    }
}

/// What is removed of a blob that was deleted.
pub(super) struct Removal {
    /// The file of bytes that never came into their place.
    file: Option<Uuid>,
    /// Whether it has failed before.
    is_told: bool,
}

impl Removal {
    /// Removes it. It may take a while: what is known needs no lock meanwhile.
    pub(super) fn run(&self, disk: &Disk, name: &BlobName) -> io::Result<()> {
        disk.check_way(name)?;
        remove(&disk.place(name))?;
        if let Some(file) = self.file {
            remove(&disk.staged(file.to_string()))?;
        }
        disk.reached(Step::Unlinked)
    }
}

pub(super) const REMOVE: &str = "remove bytes of deleted blob";

/// Returns what the name of a blob begins with, up to its own part.
fn folder_of(name: &BlobName) -> &str {
    name.as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
}

fn warn_of_unplaced(name: &BlobName, cause: &io::Error) {
    tracing::warn!(error = %cause, blob = %name, "the bytes of a blob wait to be moved into place");
}
