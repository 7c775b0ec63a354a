//! The journal: what has happened to blobs, one frame for each batch of changes.
//!
//! A frame is written and synced before the next begins, and counts as a whole: a crash leaves at most
//! one broken frame, and that at the end. Any other is damage. A disk that alters the last frame leaves the
//! same as a crash: what is cut off is kept beside the journal.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tenantry_core::{Error, ErrorKind, Result};
use uuid::Uuid;

use super::disk::{Disk, Step, failure, identity_of, remove, sync_folder};
use super::own::open_own;
use crate::backend::GuardedClock;
use crate::integrity::Crc64;
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::retention::RetentionAct;

const READ: &str = "read journal of blobs";
const WRITE: &str = "write journal of blobs";

/// What a journal begins with; the number is that of its format.
const HEADER: &[u8; 18] = b"tenantry-blobs 1\r\n";
const MAGIC: &[u8; 4] = b"\xf1TBJ";
/// The magic, the length of the payload, and its checksum.
const FRAME_HEAD: usize = 16;
/// No batch is longer: a length beyond is none.
const LONGEST_FRAME: usize = 256 * 1024 * 1024;
/// How much a compacted frame holds, in records.
pub(super) const SNAPSHOT: usize = 1_000;

/// A batch of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// When it was written, by a clock that does not go back.
    pub(super) at: DateTime<Utc>,
    /// How many changes there have been in all.
    pub(super) revision: u64,
    /// Of the first frame of a snapshot: how many events the frames of the snapshot have in all. They were on
    /// the disk together, so that none of them is what a crash has left half written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<u64>,
    pub(super) events: Vec<Event>,
}

/// What has happened to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// It was put, or was there when the journal was compacted.
    Put {
        record: BlobRecord,
        /// The file its bytes came in.
        file: Uuid,
    },
    /// What is known of it changed, by an act if its retention did.
    Changed {
        record: BlobRecord,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        act: Option<RetentionAct>,
    },
    /// It was deleted, by an act if its time had not come.
    Deleted {
        name: BlobName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        act: Option<RetentionAct>,
    },
}

impl Event {
    /// Returns the blob that it is about.
    pub(super) const fn name(&self) -> &BlobName {
        match self {
            Self::Put { record, .. } | Self::Changed { record, .. } => &record.name,
            Self::Deleted { name, .. } => name,
        }
    }

    /// Returns the blob that it has deleted.
    pub(super) fn deleted(&self) -> Option<BlobName> {
        match self {
            Self::Deleted { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    /// Returns whether there is more room when it has happened.
    pub(super) const fn makes_room(&self) -> bool {
        matches!(self, Self::Deleted { .. })
    }

    /// Returns whether it is an act on the retention of a blob, as the placing of a hold.
    pub(super) const fn is_act(&self) -> bool {
        matches!(self, Self::Changed { act: Some(_), .. })
    }
}

/// A journal that was opened, and how far it was read.
pub(super) struct Journal {
    file: File,
    identity: Option<(u64, u64)>,
    read: Progress,
}

/// How far a journal was read.
struct Progress {
    position: u64,
    /// The revision of the first frame: all frames of a snapshot have the same.
    first: Option<u64>,
    last: Option<Last>,
    /// How many events of a snapshot are still to come.
    missing: u64,
}

/// The frame that was read last.
struct Last {
    revision: u64,
    start: u64,
    head: [u8; FRAME_HEAD],
}

impl Progress {
    const fn new() -> Self {
        Self {
            position: HEADER.len() as u64,
            first: None,
            last: None,
            missing: 0,
        }
    }

    /// Returns whether a frame may follow those before: each has a higher revision, but that those of a snapshot,
    /// which are the first, have one.
    fn goes_on_by(&self, revision: u64) -> bool {
        self.last.as_ref().is_none_or(|last| {
            revision > last.revision || revision == last.revision && self.first == Some(revision)
        })
    }

    fn has_frame(&mut self, frame: &Frame, head: [u8; FRAME_HEAD], length: u64) {
        let revision = frame.revision;
        if self.first.is_none() {
            self.missing = frame.snapshot.unwrap_or_default();
        }
        self.missing = self.missing.saturating_sub(frame.events.len() as u64);
        self.first.get_or_insert(revision);
        self.last = Some(Last {
            revision,
            start: self.position,
            head,
        });
        self.position += length;
    }
}

impl Journal {
    /// Opens the journal of a store, while its lock is held; makes an empty one if there is none.
    pub(super) fn open(disk: &Disk) -> Result<Self> {
        let path = disk.journal();
        let opened = match open_own(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                // A new store has nothing that a journal could tell of.
                if disk.has_bytes().map_err(|cause| failure(READ, cause))? {
                    return Err(Error::new(ErrorKind::Corrupt, READ)
                        .with_detail("it is gone, and blobs are there: restore the folder"));
                }
                write_new(disk, std::iter::empty()).map_err(|cause| failure(WRITE, cause))?;
                open_own(&path)
            }
            opened => opened,
        };
        let mut file = opened.map_err(|cause| failure(READ, cause))?;
        let metadata = file.metadata().map_err(|cause| failure(READ, cause))?;
        // The bytes of a blob come into their place when it stands in the journal.
        if metadata.len() == HEADER.len() as u64
            && disk.has_blobs().map_err(|cause| failure(READ, cause))?
        {
            return Err(Error::new(ErrorKind::Corrupt, READ)
                .with_detail("it is empty, and blobs are there: restore the folder"));
        }
        let mut header = [0; HEADER.len()];
        let is_read = metadata.is_file() && file.read_exact(&mut header).is_ok();
        if !is_read || header != *HEADER {
            let is_newer = header.starts_with(&HEADER[..15]);
            let kind = if is_newer {
                ErrorKind::SchemaMismatch
            } else {
                ErrorKind::Corrupt
            };
            return Err(
                Error::new(kind, READ).with_detail("it is none that this release has written")
            );
        }
        Ok(Self {
            file,
            identity: identity_of(&metadata),
            read: Progress::new(),
        })
    }

    /// Returns whether another process has written since it was read: `None` where another journal has
    /// taken its place, or it was cut off, be it written on since or not.
    pub(super) fn has_news(&self, disk: &Disk) -> Result<Option<bool>> {
        let metadata = fs::metadata(disk.journal()).map_err(|cause| failure(READ, cause))?;
        let is_same = identity_of(&metadata) == self.identity
            && metadata.len() >= self.read.position
            && self.has_last().map_err(|cause| failure(READ, cause))?;
        Ok(is_same.then_some(metadata.len() != self.read.position))
    }

    /// Returns whether its last frame is where it was.
    fn has_last(&self) -> io::Result<bool> {
        let Some(Last { start, head, .. }) = &self.read.last else {
            return Ok(true);
        };
        let mut found = [0; FRAME_HEAD];
        (&self.file).seek(SeekFrom::Start(*start))?;
        match (&self.file).read_exact(&mut found) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| found == *head),
        }
    }

    /// Reads what was written since, while the lock is held; what a crash has left half written is cut
    /// off, and kept beside it.
    pub(super) fn read_on(
        &mut self,
        disk: &Disk,
        clock: &GuardedClock,
        mut each: impl FnMut(Frame),
    ) -> Result<()> {
        let length = self
            .file
            .metadata()
            .map_err(|cause| failure(READ, cause))?
            .len();
        if length == self.read.position {
            return self.check_whole();
        }
        // Whoever wrote it may have ended before it was on the disk.
        self.file
            .sync_data()
            .map_err(|cause| failure(READ, cause))?;
        let seek = (&self.file).seek(SeekFrom::Start(self.read.position));
        seek.map_err(|cause| failure(READ, cause))?;
        let mut reader = BufReader::with_capacity(256 * 1024, &self.file);
        while self.read.position < length {
            let Some(ReadFrame {
                frame,
                head,
                length: taken,
            }) = read_frame(&mut reader, length - self.read.position)?
            else {
                self.check_whole()?;
                // A crash tears the first frame before the bytes of its blobs have come into their place.
                let is_first = self.read.first.is_none();
                if is_first && disk.has_blobs().map_err(|cause| failure(READ, cause))? {
                    return Err(damaged());
                }
                return self.cut_off(disk, clock.now(), length);
            };
            if !self.read.goes_on_by(frame.revision) {
                return Err(Error::new(ErrorKind::Corrupt, READ)
                    .with_detail("a part of it comes again: restore the folder"));
            }
            self.read.has_frame(&frame, head, taken);
            each(frame);
        }
        self.check_whole()
    }

    /// Checks whether nothing of a snapshot is missing: all of it was on the disk before it took its place.
    fn check_whole(&self) -> Result<()> {
        match self.read.missing {
            0 => Ok(()),
            _ => Err(damaged()),
        }
    }

    /// Adds a frame, on the disk when it returns, while the lock is held.
    pub(super) fn append(&mut self, disk: &Disk, frame: &Frame) -> Result<()> {
        let bytes = encoded(frame)?;
        let appended = (&self.file)
            .seek(SeekFrom::Start(self.read.position))
            .and_then(|_| (&self.file).write_all(&bytes))
            .and_then(|()| disk.reached(Step::Appended));
        let synced = appended.and_then(|()| {
            self.file.sync_data()?;
            disk.reached(Step::Recorded)
        });
        if let Err(cause) = synced {
            // Where that fails as well, nobody knows what the next reader will find.
            let undone = self
                .file
                .set_len(self.read.position)
                .and_then(|()| self.file.sync_data());
            let error = failure(WRITE, cause);
            return Err(match undone {
                Ok(()) => error,
                Err(cause) => Error::new(ErrorKind::CommitUnknown, WRITE)
                    .with_detail("the disk failed in its midst: read what is there")
                    .with_source(cause),
            });
        }
        self.read
            .has_frame(frame, head_of(&bytes), bytes.len() as u64);
        Ok(())
    }

    /// Cuts off a frame that a crash has left half written, which was answered to nobody; it is kept, for it may
    /// be one that was altered since.
    fn cut_off(&self, disk: &Disk, now: DateTime<Utc>, length: u64) -> Result<()> {
        let failed = |cause| failure(READ, cause);
        (&self.file)
            .seek(SeekFrom::Start(self.read.position))
            .map_err(failed)?;
        let mut rest = Vec::new();
        let most = LONGEST_FRAME as u64 + 1;
        (&self.file)
            .take(most)
            .read_to_end(&mut rest)
            .map_err(failed)?;
        // A whole frame behind a broken one was written after that was on the disk.
        let has_whole_behind = (1..rest.len()).any(|start| {
            rest[start..].starts_with(MAGIC)
                && matches!(
                    read_frame(&mut &rest[start..], (rest.len() - start) as u64),
                    Ok(Some(_))
                )
        });
        if has_whole_behind || length - self.read.position >= most {
            return Err(damaged());
        }
        let kept = disk
            .reached(Step::Cutting)
            .and_then(|()| keep_cut(disk, now, &rest));
        let (at, bytes) = (self.read.position, rest.len());
        match kept.map_err(failed) {
            Ok(kept) => tracing::warn!(
                at,
                bytes,
                kept = %kept.display(),
                "the journal of blobs did not end with a whole frame, as after a crash: what was there is cut off"
            ),
            // A crash on a full disk is the usual one, and only deletions make room.
            Err(error) if error.kind() == ErrorKind::StorageFull => tracing::error!(
                at,
                bytes,
                %error,
                "the journal of blobs did not end with a whole frame, as after a crash: what was there is cut \
                 off, and could not be kept"
            ),
            Err(error) => return Err(error),
        }
        let cut = self.file.set_len(self.read.position);
        cut.and_then(|()| self.file.sync_data()).map_err(failed)
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, READ).with_detail("a part of it is damaged: restore the folder")
}

/// Keeps what is cut off in a file of its own.
fn keep_cut(disk: &Disk, now: DateTime<Utc>, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut time = now;
    loop {
        let path = disk.cut_journal(time);
        match disk.make(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                let next = time.checked_add_signed(TimeDelta::microseconds(1));
                time = next.unwrap_or(DateTime::<Utc>::MIN_UTC);
            }
            opened => {
                let mut file = opened?;
                let written = file.write_all(bytes).and_then(|()| file.sync_all());
                if let Err(cause) = written {
                    // Where there was no room for it, it takes none any longer.
                    let _ = remove(&path);
                    return Err(cause);
                }
                sync_folder(disk.root())?;
                return Ok(path);
            }
        }
    }
}

/// Writes a journal of these frames in place of the one that is there, while the lock is held, and returns it as one
/// that was read.
pub(super) fn write_new(disk: &Disk, frames: impl Iterator<Item = Frame>) -> io::Result<Journal> {
    let path = disk.new_journal();
    let written = || -> io::Result<Journal> {
        // What a crash has left there is not written on.
        remove(&path)?;
        let file = disk.make(&path)?;
        let mut read = Progress::new();
        (&file).write_all(HEADER)?;
        for frame in frames {
            let bytes = encoded(&frame).map_err(io::Error::other)?;
            (&file).write_all(&bytes)?;
            read.has_frame(&frame, head_of(&bytes), bytes.len() as u64);
        }
        disk.reached(Step::Compacting)?;
        file.sync_all()?;
        disk.reached(Step::Compacted)?;
        let identity = identity_of(&file.metadata()?);
        Ok(Journal {
            file,
            identity,
            read,
        })
    };
    let journal = written().inspect_err(|_| {
        // Where there was no room for it, it takes none any longer.
        let _ = remove(&path);
    })?;
    fs::rename(&path, disk.journal())?;
    disk.reached(Step::Replaced)?;
    sync_folder(disk.root())?;
    Ok(journal)
}

/// Returns the head of a frame.
fn head_of(frame: &[u8]) -> [u8; FRAME_HEAD] {
    let mut head = [0; FRAME_HEAD];
    head.copy_from_slice(&frame[..FRAME_HEAD]);
    head
}

pub(super) fn encoded(frame: &Frame) -> Result<Vec<u8>> {
    let unexpected = || Error::new(ErrorKind::Unexpected, WRITE);
    let mut bytes = vec![0; FRAME_HEAD];
    serde_json::to_writer(&mut bytes, frame).map_err(|cause| unexpected().with_source(cause))?;
    let (head, payload) = bytes.split_at_mut(FRAME_HEAD);
    let length = u32::try_from(payload.len()).map_err(|_| unexpected())?;
    if payload.len() > LONGEST_FRAME {
        return Err(unexpected().with_detail("too many changes at once"));
    }
    head[..4].copy_from_slice(MAGIC);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..].copy_from_slice(&Crc64::of(payload).0.to_le_bytes());
    Ok(bytes)
}

/// A frame as it was read.
struct ReadFrame {
    frame: Frame,
    head: [u8; FRAME_HEAD],
    /// How long it is, with its head.
    length: u64,
}

/// Reads a frame; nothing where there is no whole one.
fn read_frame(reader: &mut impl io::Read, left: u64) -> Result<Option<ReadFrame>> {
    if left < FRAME_HEAD as u64 {
        return Ok(None);
    }
    let failed = |cause| failure(READ, cause);
    let mut head = [0; FRAME_HEAD];
    reader.read_exact(&mut head).map_err(failed)?;
    let (magic, numbers) = head.split_at(4);
    let (length, checksum) = numbers.split_at(4);
    let length = length
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | usize::from(*byte));
    let checksum = checksum
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte));
    let is_whole = length <= LONGEST_FRAME && length as u64 <= left - FRAME_HEAD as u64;
    if magic != MAGIC || !is_whole {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).map_err(failed)?;
    if Crc64::of(&payload) != Crc64(checksum) {
        return Ok(None);
    }
    // What was written whole and cannot be read, a newer release has written.
    let frame = serde_json::from_slice(&payload).map_err(|cause| {
        Error::new(ErrorKind::SchemaMismatch, READ)
            .with_detail("a newer release has written it: deploy that one")
            .with_source(cause)
    })?;
    Ok(Some(ReadFrame {
        frame,
        head,
        length: (FRAME_HEAD + length) as u64,
    }))
}
