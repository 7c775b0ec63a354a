//! Bytes that were stored by this format, which later releases must read: they are never changed; a new format
//! gets new ones.

use std::fs;

use chrono::{DateTime, Utc};
use tenantry_core::{Actor, Service, TraceParent};
use uuid::Uuid;

use super::journal::{Event, Frame, encoded};
use super::layout::{Checksums, Found, Identity};
use super::*;
use crate::integrity::{Crc64, Sha256};
use crate::record::{ContentType, Metadata, Rehydration, Tags};
use crate::retention::{HoldTag, LegalHold, LockMode, RetentionAction};

const JOURNAL: &[u8] = include_bytes!("fixtures/journal-1");
const FILE: &[u8] = include_bytes!("fixtures/file-2");
/// As it was written before a file told whose it is.
const FILE_1: &[u8] = include_bytes!("fixtures/file-1");
const TENANT: &str = "00000000-0000-0000-0000-000000000001";

fn time(day: u32) -> DateTime<Utc> {
    format!("2026-03-{day:02}T12:00:00.000001Z")
        .parse()
        .unwrap()
}

fn name(number: u32) -> BlobName {
    let id = format!("00000000-0000-0000-0000-{number:012}");
    format!("{TENANT}/exports/2026/03/{id}").parse().unwrap()
}

fn hold() -> LegalHold {
    LegalHold {
        tag: HoldTag::new("case17").unwrap(),
        reason: "they sue".to_owned(),
        by: Actor::new("user:ada").unwrap(),
        at: time(2),
    }
}

/// A record of which every part says something.
fn full(number: u32) -> BlobRecord {
    BlobRecord {
        name: name(number),
        length: 5,
        sha256: Sha256::of(b"bytes"),
        content_type: ContentType::new("text/csv; charset=utf-8").unwrap(),
        metadata: Metadata::new().with("file_name", "März.csv").unwrap(),
        tags: Tags::new().with("kind", "report").unwrap(),
        owner: Service::Reporting,
        trace: Some(TraceParent::new([1; 16], [2; 8], 1).unwrap()),
        created_at: time(1),
        tier: Tier::Archive,
        tier_changed_at: Some(time(2)),
        brought_back_at: None,
        rehydration: Some(Rehydration {
            to: Tier::Hot,
            priority: RehydratePriority::High,
            ready_at: Some(time(9)),
        }),
        retention: RetentionState {
            class: "audit".to_owned(),
            until: Some(time(20)),
            after_event: Some(Duration::from_secs(86_400)),
            lock: Some(LockMode::Locked),
            archive_at: Some(time(5)),
            floor: Some(time(6)),
            ceiling: Some(time(30)),
            locked_by_others: None,
            holds: vec![hold()],
        },
        encryption: None,
        etag: ETag::new("3"),
    }
}

/// A record of which only what must be said is.
fn bare(number: u32) -> BlobRecord {
    BlobRecord {
        metadata: Metadata::new(),
        tags: Tags::new(),
        trace: None,
        tier: Tier::Hot,
        tier_changed_at: None,
        rehydration: None,
        retention: RetentionState {
            class: "until-event".to_owned(),
            until: None,
            after_event: None,
            lock: None,
            archive_at: None,
            floor: None,
            ceiling: None,
            locked_by_others: None,
            holds: Vec::new(),
        },
        etag: ETag::new("2"),
        ..full(number)
    }
}

fn act(number: u32, action: RetentionAction) -> RetentionAct {
    RetentionAct {
        name: name(number),
        action,
        actor: Actor::new("user:ada").unwrap(),
        reason: "they sue".to_owned(),
        at: time(2),
        trace: None,
        until_before: Some(time(20)),
        until_after: None,
    }
}

fn frames() -> [Frame; 2] {
    let put = |record| Event::Put {
        record,
        file: Uuid::from_u128(7),
    };
    [
        Frame {
            at: time(1),
            revision: 3,
            snapshot: None,
            events: vec![put(bare(1)), put(bare(2)), put(bare(3))],
        },
        Frame {
            at: time(2),
            revision: 5,
            snapshot: None,
            events: vec![
                Event::Changed {
                    record: full(1),
                    act: Some(act(1, RetentionAction::HoldPlaced)),
                },
                Event::Deleted {
                    name: name(3),
                    act: Some(act(3, RetentionAction::Erased)),
                },
            ],
        },
    ]
}

#[test]
fn a_journal_is_written_as_ever() {
    let mut written = b"tenantry-blobs 1\r\n".to_vec();
    for frame in frames() {
        written.extend(encoded(&frame).unwrap());
    }
    assert!(
        written == JOURNAL,
        "another format needs another number and a fixture of its own"
    );
}

#[tokio::test]
async fn a_journal_that_was_stored_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journal"), JOURNAL).unwrap();
    let clock = Arc::new(tenantry_core::ManualClock::new(time(3)));
    let settings = FsSettings::new(folder.path()).with_clock(clock);
    let blobs = FsBlobs::open(settings).await.unwrap();
    assert_eq!(blobs.head(&name(1)).await.unwrap(), full(1));
    assert_eq!(blobs.head(&name(2)).await.unwrap(), bare(2));
    let gone = blobs.head(&name(3)).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(blobs.inner.known.lock().revision, 5);
}

#[test]
fn a_file_is_written_as_ever() {
    let bytes = b"ten bytes.";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    let file = fs::File::options().append(true).open(&path).unwrap();
    let mut checksums = Checksums::new(4);
    for block in bytes.chunks(4) {
        checksums.push(block.len(), Crc64::of(block));
    }
    let identity = Identity::of(&name(1), &Sha256::of(bytes));
    checksums.write(&file, identity).unwrap();
    assert!(
        fs::read(&path).unwrap() == FILE,
        "another format needs another number and a fixture of its own"
    );
}

/// Reads what is behind the ten bytes of a file.
fn found(stored: &[u8]) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, stored).unwrap();
    Checksums::read(&fs::File::open(&path).unwrap(), 10).unwrap()
}

#[test]
fn files_of_all_formats_are_read() {
    let identity = Identity::of(&name(1), &Sha256::of(b"ten bytes."));
    for (stored, expected) in [(FILE, Some(identity)), (FILE_1, None)] {
        let Found::Checksums(read) = found(stored) else {
            panic!("it is as it was written");
        };
        assert_eq!((read.block(), read.identity()), (4, expected));
        let found = [0, 1, 2, 3].map(|number| read.of_block(number));
        let of = |block: &[u8]| Some(Crc64::of(block));
        assert_eq!(found, [of(b"ten "), of(b"byte"), of(b"s."), None]);
    }
}

#[test]
fn a_file_of_a_format_to_come_is_told_from_a_damaged_one() {
    let mut newer = FILE.to_vec();
    let end = newer.len() - 8;
    newer[end - 1] = b'3';
    assert!(matches!(found(&newer), Found::Damage), "not its checksum");
    let own = Crc64::of(&newer[10..end]).0;
    newer[end..].copy_from_slice(&own.to_le_bytes());
    assert!(matches!(found(&newer), Found::Newer));
}

/// Writes a file for a blob that is there, as a release before wrote it.
fn write_as_before(folder: &std::path::Path, name: &BlobName, bytes: &[u8]) {
    let path = folder.join("blobs").join(name.as_str());
    let mut checked = Vec::new();
    for block in bytes.chunks(BLOCK) {
        checked.extend_from_slice(&Crc64::of(block).0.to_le_bytes());
    }
    checked.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    checked.extend_from_slice(&u32::try_from(BLOCK).unwrap().to_le_bytes());
    checked.extend_from_slice(b"TBF1");
    let own = Crc64::of(&checked).0.to_le_bytes();
    fs::write(path, [bytes, &checked, &own].concat()).unwrap();
}

#[tokio::test]
async fn a_part_of_a_file_of_the_first_format_is_read_where_the_whole_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FsBlobs::open(FsSettings::new(folder.path())).await.unwrap();
    let blobs = crate::BlobStore::new(Arc::new(blobs)).tenant(TENANT.parse().unwrap());
    let bytes: Vec<u8> = (0..=255).cycle().take(BLOCK * 2 + 7).collect();
    let options = crate::PutOptions::new(Service::Reporting, crate::Retention::days(1));
    blobs
        .put_bytes(&name(1), options, bytes.clone())
        .await
        .unwrap();
    write_as_before(folder.path(), &name(1), &bytes);
    assert_eq!(blobs.get(&name(1)).await.unwrap().bytes, bytes);
    for range in [0..1, 5..9, BLOCK - 1..BLOCK + 1, BLOCK * 2..bytes.len()] {
        let wide = range.start as u64..range.end as u64;
        let read = blobs.range(&name(1), wide).await.unwrap();
        assert_eq!(read, bytes[range]);
    }
    // Whole by its own checksums, and another's.
    let others: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    write_as_before(folder.path(), &name(1), &others);
    for range in [5..9, 0..bytes.len() as u64] {
        let error = blobs.range(&name(1), range).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}
