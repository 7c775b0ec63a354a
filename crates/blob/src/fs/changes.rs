//! Changes, gathered: whoever comes while others wait for the disk goes with the next batch, and a batch
//! waits for the disk once.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::Inner;
use super::disk::{Step, failure, folder_of, sync_folder};
use super::journal::{Event, Frame};
use super::known::{Known, Overlay, compact};
use super::upload::Staged;
use crate::backend::{Deletion, NewBlob, Seal, shelf};
use crate::name::BlobName;
use crate::record::{BlobEncryption, BlobRecord, ETag, RehydratePriority, Tier};
use crate::retention::{RetentionAct, RetentionState};
use crate::store::{about, not_found, taken};

/// How many changes are one batch at most, of which a deletion of several blobs is one.
const MOST: usize = 256;

/// The changes that wait for their turn.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    is_led: bool,
}

struct Request {
    change: Change,
    answer: oneshot::Sender<Answers>,
}

type Answers = Vec<Result<Option<BlobRecord>>>;

/// A change.
pub(super) enum Change {
    /// None yet: the folder that the bytes of a put will be in.
    Place(BlobName),
    Put {
        blob: Box<NewBlob>,
        seal: Seal,
        staged: Staged,
        /// Keeps the lock of the file until it is in its place.
        file: File,
    },
    Retention(Box<Retained>),
    Tier {
        name: BlobName,
        etag: ETag,
        tier: Tier,
        priority: RehydratePriority,
    },
    Encryption {
        name: BlobName,
        etag: ETag,
        next: Box<BlobEncryption>,
    },
    Delete(Vec<Deletion>),
}

/// Another retention of a blob.
pub(super) struct Retained {
    pub(super) name: BlobName,
    pub(super) etag: ETag,
    pub(super) next: RetentionState,
    pub(super) act: RetentionAct,
}

impl Change {
    fn count(&self) -> usize {
        match self {
            Self::Delete(deletions) => deletions.len(),
            _ => 1,
        }
    }

    /// Returns the blobs that it is about, one for each answer.
    fn names(&self) -> Vec<BlobName> {
        match self {
            Self::Place(name) => vec![name.clone()],
            Self::Put { blob, .. } => vec![blob.name.clone()],
            Self::Retention(retained) => vec![retained.name.clone()],
            Self::Tier { name, .. } | Self::Encryption { name, .. } => vec![name.clone()],
            Self::Delete(deletions) => deletions.iter().map(|it| it.name.clone()).collect(),
        }
    }
}

/// Makes a change, and answers for each blob of it.
///
/// Dropped, it is made or it is not.
pub(super) async fn change(inner: &Arc<Inner>, change: Change) -> Answers {
    let count = change.count();
    let (answer, answered) = oneshot::channel();
    let is_led = {
        let mut waiting = inner.queue.waiting.lock();
        waiting.requests.push(Request { change, answer });
        std::mem::replace(&mut waiting.is_led, true)
    };
    if !is_led {
        let leader = Leader {
            inner: Arc::clone(inner),
            has_ended: false,
        };
        // A runtime that shuts down drops it on the spot, and then it locks the queue.
        spawn_blocking(move || leader.lead());
    }
    answered.await.unwrap_or_else(|_| {
        let unknown = || {
            Err(Error::new(ErrorKind::CommitUnknown, "change blobs")
                .with_detail("the runtime shut down in its midst: read what is there"))
        };
        (0..count).map(|_| unknown()).collect()
    })
}

/// Makes the changes that wait, batch by batch. Where it never runs, for the runtime shuts down, another
/// may lead.
struct Leader {
    inner: Arc<Inner>,
    has_ended: bool,
}

impl Leader {
    fn lead(mut self) {
        loop {
            let requests = {
                let mut waiting = self.inner.queue.waiting.lock();
                let count = together(&waiting.requests);
                let requests: Vec<_> = waiting.requests.drain(..count).collect();
                if requests.is_empty() {
                    waiting.is_led = false;
                    self.has_ended = true;
                    return;
                }
                requests
            };
            let Err(error) = make(&self.inner, requests) else {
                continue;
            };
            // They have waited as long, and would wait as long again.
            let requests = std::mem::take(&mut self.inner.queue.waiting.lock().requests);
            for request in requests {
                let refused = refused(&request.change, &error);
                let _ = request.answer.send(refused);
            }
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // Whoever waits is told that nobody knows.
        self.inner.queue.waiting.lock().requests.clear();
        let mut known = self.inner.known.lock();
        known.is_leading = false;
        known.is_doubtful = true;
        drop(known);
        self.inner.queue.waiting.lock().is_led = false;
    }
}

/// Returns how many of the changes that wait go together: what is put under a name that one of them deletes
/// waits for the next batch, for both have the same place.
fn together(waiting: &[Request]) -> usize {
    let mut deleted = HashSet::new();
    let waiting = waiting.iter().take(MOST);
    let apart = waiting.clone().position(|request| match &request.change {
        Change::Put { blob, .. } => deleted.contains(&blob.name),
        Change::Delete(deletions) => {
            deleted.extend(deletions.iter().map(|deletion| &deletion.name));
            false
        }
        _ => false,
    });
    apart.unwrap_or(waiting.len())
}

/// What a batch comes to before it has happened.
#[derive(Default)]
struct Batch {
    overlay: Overlay,
    events: Vec<Event>,
    revision: u64,
    epoch: u32,
    placed: Vec<(Staged, BlobName, File)>,
    deleted: Vec<BlobName>,
}

impl Batch {
    fn next_etag(&mut self) -> ETag {
        self.revision += 1;
        ETag::new(format!("{}-{:08x}", self.revision, self.epoch))
    }

    fn changed(&mut self, record: BlobRecord, act: Option<RetentionAct>) -> BlobRecord {
        let record = BlobRecord {
            etag: self.next_etag(),
            ..record
        };
        self.overlay.set(record.name.clone(), Some(record.clone()));
        self.events.push(Event::Changed {
            record: record.clone(),
            act,
        });
        record
    }
}

/// Makes a batch of changes: all that may be made are, or none is.
///
/// # Errors
///
/// Why the store could not be locked, which those who have asked are told as well.
fn make(inner: &Inner, requests: Vec<Request>) -> Result<()> {
    let lock = inner.disk.lock().and_then(|lock| {
        let mut known = inner.known.lock();
        known.is_leading = true;
        inner.follow(&mut known)?;
        Ok(lock)
    });
    let (places, requests): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|it| matches!(it.change, Change::Place(_)));
    for Request { change, answer } in places {
        let made = match &lock {
            Ok(_) => change
                .names()
                .iter()
                .map(|name| make_place(inner, name))
                .collect(),
            Err(error) => refused(&change, error),
        };
        let _ = answer.send(made);
    }
    let (changes, answers): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .map(|it| (it.change, it.answer))
        .unzip();
    let outcomes = match &lock {
        Ok(_) => make_locked(inner, changes),
        Err(error) => changes.iter().map(|it| refused(it, error)).collect(),
    };
    inner.known.lock().is_leading = false;
    let locked = lock.map(drop);
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // Whoever does not wait any longer has no need of it.
        let _ = answer.send(outcome);
    }
    locked
}

/// Makes the folder of a put, while all of the room is there that is kept for deletions.
fn make_place(inner: &Inner, name: &BlobName) -> Result<Option<BlobRecord>> {
    let made = inner
        .disk
        .keep_reserve()
        .and_then(|()| inner.disk.make_place(name));
    made.map(|()| None)
        .map_err(|cause| failure("put blob", cause))
}

fn refused(change: &Change, error: &Error) -> Answers {
    (0..change.count()).map(|_| Err(same(error))).collect()
}

/// Returns an error once more, for another who waits.
fn same(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.operation())
        .with_subject(error.subject().to_owned())
        .with_detail(error.detail().to_owned());
    match std::error::Error::source(error) {
        Some(source) => copy.with_source(source.to_string()),
        None => copy,
    }
}

fn make_locked(inner: &Inner, changes: Vec<Change>) -> Vec<Answers> {
    let mut batch = Batch::default();
    let names: Vec<_> = changes.iter().flat_map(Change::names).collect();
    let mut answers: Vec<Answers> = {
        let known = inner.known.lock();
        batch.revision = known.revision;
        batch.epoch = known.epoch;
        changes
            .into_iter()
            .map(|change| prepare(inner, &known, &mut batch, change))
            .collect()
    };
    if batch.events.is_empty() {
        return answers;
    }
    let Err(error) = record(inner, &mut batch) else {
        return answers;
    };
    let urgent = match error.kind() {
        ErrorKind::StorageFull => urgent_of(&batch.events, inner.disk.has_room_for_acts()),
        _ => Vec::new(),
    };
    let (made, error) = record_urgent(inner, &batch, urgent, error);
    let undone = (0..batch.events.len()).filter(|number| !made.contains(number));
    let undone: HashSet<_> = undone.map(|number| batch.events[number].name()).collect();
    // Each change that may be made is an event, in the same order.
    let mut number = 0;
    for (answer, name) in answers.iter_mut().flatten().zip(&names) {
        let is_told = match answer {
            Ok(_) => {
                number += 1;
                made.contains(&(number - 1))
            }
            // It was judged by what has not happened.
            Err(_) => !undone.contains(name),
        };
        if !is_told {
            *answer = Err(same(&error));
        }
    }
    answers
}

/// Returns which of the events are recorded though the disk is full: what makes room, and while there is some for
/// them acts on what keeps a blob from being deleted. What rests on one that is not recorded does not happen either.
fn urgent_of(events: &[Event], has_room: bool) -> Vec<usize> {
    let mut others = HashSet::new();
    let mut urgent = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let is_urgent = event.makes_room() || has_room && event.is_act();
        if is_urgent && !others.contains(event.name()) {
            urgent.push(number);
        } else {
            others.insert(event.name());
        }
    }
    urgent
}

/// Judges a change, as those before it in the batch have left things.
fn prepare(inner: &Inner, known: &Known, batch: &mut Batch, change: Change) -> Answers {
    let found = |batch: &Batch, operation, name: &BlobName| {
        let record = batch.overlay.get(&known.shelf, name);
        record.cloned().ok_or_else(|| not_found(operation, name))
    };
    match change {
        // It was made before.
        Change::Place(_) => vec![Ok(None)],
        Change::Put {
            blob,
            seal,
            staged,
            file,
        } => {
            let name = blob.name.clone();
            if batch.overlay.get(&known.shelf, &name).is_some() {
                return vec![Err(taken(&name))];
            }
            let record = blob.into_record(seal, batch.next_etag());
            batch.overlay.set(name.clone(), Some(record.clone()));
            batch.events.push(Event::Put {
                record: record.clone(),
                file: staged.file(),
            });
            batch.placed.push((staged, name, file));
            vec![Ok(Some(record))]
        }
        Change::Retention(retained) => {
            let Retained {
                name,
                etag,
                next,
                act,
            } = *retained;
            let changed = found(batch, shelf::RETENTION, &name).and_then(|record| {
                shelf::with_retention(&record, &etag, &next, &act, &inner.clock)
            });
            vec![changed.map(|record| Some(batch.changed(record, Some(act))))]
        }
        Change::Tier {
            name,
            etag,
            tier,
            priority,
        } => {
            let time = (inner.clock.now(), inner.rehydration);
            let changed = found(batch, shelf::TIER, &name)
                .and_then(|record| shelf::with_tier(&record, &etag, (tier, priority), time));
            vec![changed.map(|record| Some(batch.changed(record, None)))]
        }
        Change::Encryption { name, etag, next } => {
            let changed = found(batch, shelf::ENCRYPTION, &name)
                .and_then(|record| shelf::with_encryption(&record, &etag, &next, &inner.clock));
            vec![changed.map(|record| Some(batch.changed(record, None)))]
        }
        Change::Delete(deletions) => {
            let delete = |deletion: Deletion| {
                let record = found(batch, shelf::DELETE, &deletion.name)?;
                shelf::check_deletion(&record, &deletion, &inner.clock)?;
                let Deletion { name, act, .. } = deletion;
                batch.revision += 1;
                batch.overlay.set(name.clone(), None);
                batch.deleted.push(name.clone());
                batch.events.push(Event::Deleted { name, act });
                Ok(None)
            };
            deletions.into_iter().map(delete).collect()
        }
    }
}

/// Has a batch happen: first on the disk, then in what this process knows. Where that fails, the events are in the
/// batch still.
fn record(inner: &Inner, batch: &mut Batch) -> Result<()> {
    let disk = &inner.disk;
    if !batch.events.iter().all(Event::makes_room) {
        // What is kept for deletions is no room, or all else would take it while one has given it up.
        disk.keep_reserve()
            .map_err(|cause| failure("change blobs", cause))?;
    }
    if !batch.placed.is_empty() {
        // Who fails removes the folders that nothing is in yet.
        for (_, name, _) in batch.placed.iter().filter(|it| !disk.has_folder(&it.1)) {
            disk.make_place(name)
                .map_err(|cause| failure("put blob", cause))?;
        }
        // That the bytes are there is on the disk before it is said that they are.
        sync_folder(&disk.incoming())
            .and_then(|()| disk.reached(Step::Listed))
            .map_err(|cause| failure("put blob", cause))?;
    }
    let frame = Frame {
        at: inner.clock.now(),
        revision: batch.revision,
        snapshot: None,
        events: std::mem::take(&mut batch.events),
    };
    if let Err(error) = append(inner, &frame) {
        if error.kind() == ErrorKind::CommitUnknown {
            // If it has happened, their bytes are needed; if not, the next who opens the store finds them.
            for (staged, ..) in batch.placed.drain(..) {
                staged.keep();
            }
        }
        batch.events = frame.events;
        return Err(error);
    }
    // It has happened. What fails from here on, the next who opens the store does again.
    for (staged, name, file) in batch.placed.drain(..) {
        let placed = disk.put_in_place(&staged.path(), &name);
        let mut known = inner.known.lock();
        match placed {
            Ok(()) => known.undone.is_placed(&name),
            Err(cause) => known.undone.is_not_placed(name, staged.file(), &cause),
        }
        drop(known);
        staged.keep();
        drop(file);
    }
    let count = frame.events.len() as u64;
    inner.known.lock().learn(frame);
    unlink(inner, &batch.deleted);
    tidy(inner, count);
    Ok(())
}

/// Writes a frame to the journal: when this returns, it has happened.
fn append(inner: &Inner, frame: &Frame) -> Result<()> {
    let journal = inner.known.lock().journal.take();
    let mut journal = journal.ok_or_else(|| {
        Error::new(ErrorKind::Unexpected, "change blobs").with_detail("the journal is not open")
    })?;
    let appended = journal.append(&inner.disk, frame);
    let mut known = inner.known.lock();
    known.journal = Some(journal);
    appended.inspect_err(|error| known.is_doubtful |= error.kind() == ErrorKind::CommitUnknown)
}

/// Records what is urgent of a batch for which the disk has no room, as many at a time as there is room for.
///
/// Deletions come first, for they make room, but for those that rest on an act on their blob. An act without room
/// takes what rests on it along, and nothing else.
///
/// Returns which of them have happened, and why the rest has not.
fn record_urgent(
    inner: &Inner,
    batch: &Batch,
    urgent: Vec<usize>,
    full: Error,
) -> (HashSet<usize>, Error) {
    let (mut made, mut error) = (HashSet::new(), full);
    if urgent.is_empty() {
        return (made, error);
    }
    let event = |number: usize| &batch.events[number];
    let mut acted_on = HashSet::new();
    let (first, then): (Vec<_>, Vec<_>) = urgent.into_iter().partition(|number| {
        let event = event(*number);
        let is_first = event.makes_room() && !acted_on.contains(event.name());
        if !is_first {
            acted_on.insert(event.name());
        }
        is_first
    });
    let mut revision = batch.revision;
    'runs: for mut left in [first, then] {
        if !made.is_empty() {
            // What deletions have given up is theirs again before acts take any of it.
            let _ = inner.disk.keep_reserve();
        }
        let mut together = left.len();
        while !left.is_empty() {
            together = together.min(left.len());
            revision += 1;
            let frame = Frame {
                at: inner.clock.now(),
                revision,
                snapshot: None,
                events: left[..together]
                    .iter()
                    .map(|it| event(*it).clone())
                    .collect(),
            };
            match append(inner, &frame) {
                Ok(()) => {
                    let deleted: Vec<_> = frame.events.iter().filter_map(Event::deleted).collect();
                    inner.known.lock().learn(frame);
                    unlink(inner, &deleted);
                    made.extend(left.drain(..together));
                }
                Err(again) if again.kind() == ErrorKind::StorageFull => {
                    let to_deletions = frame.events.iter().all(Event::makes_room);
                    // Where that fails, there is as little room as before.
                    if inner.disk.give_up_reserve(to_deletions).unwrap_or_default() {
                        continue;
                    }
                    if together > 1 {
                        together /= 2;
                        continue;
                    }
                    error = again;
                    if to_deletions {
                        break 'runs;
                    }
                    let without_room = event(left[0]).name();
                    left.retain(|it| event(*it).name() != without_room);
                }
                Err(again) => {
                    error = again;
                    break 'runs;
                }
            }
        }
    }
    tidy(inner, made.len() as u64);
    (made, error)
}

/// Does what waits to be done in the folder, when so many changes have been made.
fn tidy(inner: &Inner, changes: u64) {
    let is_long = {
        let mut known = inner.known.lock();
        known.undone.end_after(&inner.disk, changes);
        known.is_long()
    };
    if is_long && let Err(error) = compact(&inner.known, &inner.disk, &inner.clock) {
        tracing::warn!(%error, "the journal of blobs stays long");
        // If it was replaced all the same, it is read anew, as one that another process has replaced.
    }
    // Where there is no room for it, it is kept when there is.
    let _ = inner.disk.keep_reserve();
}

/// Removes the bytes of what was deleted, and has that on the disk.
fn unlink(inner: &Inner, deleted: &[BlobName]) {
    let mut folders = BTreeSet::new();
    let this_month = inner.clock.now().format("%Y/%m").to_string();
    for name in deleted {
        let removal = inner.known.lock().undone.take(name);
        if let Err(cause) = removal.run(&inner.disk, name) {
            let mut known = inner.known.lock();
            known.undone.is_not_removed(name.clone(), &removal, cause);
        }
        let folder = folder_of(&inner.disk.place(name)).to_owned();
        // Nothing comes into that of a month that is over.
        folders.insert(match folder.ends_with(&this_month) {
            true => folder,
            false => inner.disk.remove_empty(name),
        });
    }
    for folder in folders {
        if let Err(cause) = sync_folder(&folder) {
            tracing::warn!(error = %cause, "a loss of power may bring back bytes of deleted blobs until the store is opened");
        }
    }
}

/// Names a file for bytes that come.
pub(super) fn new_file() -> Uuid {
    Uuid::new_v4()
}

/// Adds the blob that a failure is about.
pub(super) fn failed(name: &BlobName, operation: &'static str, cause: std::io::Error) -> Error {
    about(failure(operation, cause), name)
}
