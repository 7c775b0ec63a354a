use ::bytes::Bytes;
use futures_util::TryStreamExt as _;
use tenantry_core::{Actor, Error, ErrorKind, RequestContext, Service};

use super::{Scene, assert_fails, body, kind_of_failure, new_name, options, put};
use crate::backend::NewBlob;
use crate::integrity::{Block, Sha256};
use crate::record::{ContentType, Metadata, Tags, Tier};
use crate::retention::Retention;
use crate::store::PutOptions;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(super) async fn what_was_put_comes_back(scene: &Scene) {
    let context = RequestContext::new(Actor::new("user:1").expect("an actor"))
        .with_trace(TRACE.parse().expect("a trace"));
    let blobs = scene.one.clone().with_context(context);
    let name = new_name(&blobs);
    let metadata = Metadata::new()
        .with("file_name", "März & Co 100%.csv")
        .and_then(|it| it.with("_rows", "2"))
        .expect("metadata");
    let tags = Tags::new().with("report", "a:b/c=d").expect("tags");
    let options = PutOptions::new(
        Service::Reporting,
        Retention::days(30).archived_after_days(9),
    )
    .with_content_type("text/csv; charset=utf-8")
    .expect("a content type")
    .with_metadata(metadata.clone())
    .with_tags(tags.clone())
    .with_tier(Tier::Cool)
    .with_length(6)
    .with_sha256(Sha256::of(b"a,b\n1\n"));
    let before = scene.backend.now();
    let put = blobs
        .put_bytes(&name, options, "a,b\n1\n")
        .await
        .expect("it is put");
    assert!(put.receipt.is_none(), "there is no lock to prove");
    let record = blobs.head(&name).await.expect("a record");
    assert_eq!(put.record, record, "the put tells what is stored");
    assert_eq!((&record.name, record.length), (&name, 6));
    assert_eq!(record.sha256, Sha256::of(b"a,b\n1\n"));
    assert_eq!(record.content_type.as_str(), "text/csv; charset=utf-8");
    assert_eq!((&record.metadata, &record.tags), (&metadata, &tags));
    assert_eq!(
        (record.owner, record.tier),
        (Service::Reporting, Tier::Cool)
    );
    assert_eq!(
        record.trace.map(|it| it.to_string()).as_deref(),
        Some(TRACE)
    );
    assert!(record.created_at >= before && record.created_at <= scene.backend.now());
    let days = |days| Some(record.created_at + chrono::TimeDelta::days(days));
    assert_eq!(
        (record.retention.until, record.retention.archive_at),
        (days(30), days(9))
    );
    let read = blobs.get(&name).await.expect("its bytes");
    assert_eq!(
        (read.record, read.bytes.as_ref()),
        (record, b"a,b\n1\n".as_slice())
    );
}

pub(super) async fn every_length_comes_back_whole_and_in_ranges(scene: &Scene) {
    let block = scene.backend.block_length(None);
    for length in [0, 1, block - 1, block, block + 1, 2 * block + 777] {
        let whole: Bytes = bytes_of(length);
        let name = new_name(&scene.one);
        // In pieces that fit no block.
        let pieces: Vec<_> = whole
            .chunks(100_003)
            .map(|it| Ok(Bytes::copy_from_slice(it)))
            .collect();
        let put = scene
            .one
            .put(&name, options(Retention::days(1)), body(pieces))
            .await;
        let put = put.expect("it is put");
        assert_eq!(put.record.length, number(length), "{length}");
        let read = scene.one.get(&name).await.expect("its bytes");
        assert!(read.bytes == whole, "all {length} bytes come back");
        let reader = scene.one.stream(&name).await.expect("a stream");
        let streamed: Vec<Bytes> = reader.try_collect().await.expect("its bytes");
        assert!(
            streamed.concat() == whole,
            "all {length} bytes come back in a stream"
        );
        let ranges = [
            (0, 0),
            (0, 1),
            (length / 3, length / 2),
            (length.min(block - 1), length.min(block + 1)),
            (0, length),
            (length, length),
        ];
        for (start, end) in ranges {
            let (start, end) = (start, end.min(length).max(start));
            if end > length {
                continue;
            }
            let part = scene.one.range(&name, number(start)..number(end)).await;
            assert!(
                part.expect("a range") == whole[start..end],
                "{start}..{end} of {length}"
            );
        }
        #[expect(clippy::reversed_empty_ranges, reason = "it is to be refused")]
        let outside = [
            0..number(length) + 1,
            number(length) + 1..number(length) + 1,
            1..0,
        ];
        for range in outside {
            let read = scene.one.range(&name, range).await;
            assert_fails(read, ErrorKind::InvalidInput, "a range outside");
        }
    }
}

pub(super) async fn what_is_not_what_was_said_leaves_nothing(scene: &Scene) {
    let name = new_name(&scene.one);
    let usual = || options(Retention::days(1));
    let long = usual().with_length(3);
    let short = usual().with_length(5);
    let other = usual().with_sha256(Sha256::of(b"others"));
    let cases = [
        (long, ErrorKind::InvalidInput),
        (short, ErrorKind::InvalidInput),
        (other, ErrorKind::Corrupt),
        (options(Retention::days(146_001)), ErrorKind::InvalidInput),
        (
            options(Retention::until_event_then_days(1).locked()),
            ErrorKind::InvalidInput,
        ),
    ];
    for (options, kind) in cases {
        let put = scene.one.put_bytes(&name, options, "four").await;
        assert_fails(put, kind, "a put that is not what was said");
        assert_eq!(
            kind_of_failure(scene.one.head(&name).await),
            Some(ErrorKind::NotFound)
        );
    }
    let block = scene.backend.block_length(None);
    let cut = vec![
        Ok(bytes_of(2 * block + 1)),
        Err(Error::new(ErrorKind::Throttled, "read upload")),
    ];
    let put = scene.one.put(&name, usual(), body(cut)).await;
    let error = assert_fails(put, ErrorKind::Unavailable, "a body that fails");
    assert!(
        std::error::Error::source(&error).is_some(),
        "its cause is told"
    );
    assert_eq!(
        kind_of_failure(scene.one.head(&name).await),
        Some(ErrorKind::NotFound)
    );
    // The name is free all the same.
    scene
        .one
        .put_bytes(&name, usual(), "four")
        .await
        .expect("it is put");
}

pub(super) async fn a_block_that_was_altered_on_its_way_is_refused(scene: &Scene) {
    let name = new_name(&scene.one);
    let now = scene.backend.now();
    let blob = NewBlob {
        name: name.clone(),
        length: None,
        content_type: ContentType::default(),
        metadata: Metadata::new(),
        tags: Tags::new(),
        owner: Service::Reporting,
        trace: None,
        created_at: now,
        tier: Tier::Hot,
        retention: Retention::days(1).resolve(now).expect("a retention"),
        encryption: None,
    };
    let mut upload = scene.backend.create(blob).await.expect("an upload");
    let mut outcome = upload.write(Block::altered(b"four")).await;
    if outcome.is_ok() {
        // It may be told of it by what follows.
        let seal = crate::backend::Seal {
            length: 4,
            sha256: Sha256::of(b"four"),
        };
        outcome = upload.commit(seal).await.map(|_| ());
    } else {
        upload.abort().await;
    }
    assert_fails(outcome, ErrorKind::Corrupt, "a block that was altered");
    assert_eq!(
        kind_of_failure(scene.one.head(&name).await),
        Some(ErrorKind::NotFound)
    );
}

pub(super) async fn a_copy_is_another_blob_with_the_same_bytes(scene: &Scene) {
    let from = put(&scene.one, Retention::days(1), "copied").await;
    let to = new_name(&scene.one);
    let copied = scene
        .one
        .copy(&from, &to, Retention::days(9))
        .await
        .expect("a copy");
    let record = scene.one.head(&from).await.expect("a record");
    assert_eq!(
        (copied.record.sha256, copied.record.length),
        (record.sha256, 6)
    );
    assert!(copied.record.retention.until > record.retention.until);
    assert_eq!(scene.one.get(&to).await.expect("its bytes").bytes, "copied");
    let again = scene.one.copy(&from, &to, Retention::days(9)).await;
    assert_fails(again, ErrorKind::AlreadyExists, "a copy onto a blob");
}

/// Returns bytes that come again nowhere near.
pub(super) fn bytes_of(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub(super) fn number(length: usize) -> u64 {
    u64::try_from(length).expect("a length")
}
