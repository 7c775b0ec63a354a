//! What other programs do to blobs: they lease, lock, copy and alter them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use azure_storage_blob::models::{
    BlobClientGetPropertiesResultHeaders as _, ImmutabilityPolicyMode,
};
use chrono::{SubsecRound as _, TimeDelta};
use futures_util::StreamExt as _;
use tenantry_blob::{
    AzureLayout, BlobBackend, BlobKind, BlobName, BlobPrefix, BlobStore, HoldTag, ListOptions,
    PutOptions, RetainedBy, Retention, RetentionAct, RetentionAudit, SweepPolicy, Sweeper,
    TenantBlobs,
};
use tenantry_core::{Clock as _, ErrorKind, ManualClock, Result, Service, SystemClock, TenantId};
use tenantry_testkit::{AzuriteServer, WormFront};

use super::{layouts, official, open, set_policy, set_policy_of, settings};

fn layout() -> AzureLayout {
    let [_, layout] = layouts();
    layout
}

async fn put(
    blobs: &TenantBlobs,
    retention: Retention,
    bytes: impl Into<bytes::Bytes>,
) -> BlobName {
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    let options = PutOptions::new(Service::Reporting, retention);
    blobs.put_bytes(&name, options, bytes).await.unwrap();
    name
}

#[tokio::test]
async fn a_leased_blob_is_neither_swept_nor_erased_and_is_told_of() {
    let server = AzuriteServer::shared().await.unwrap();
    let layout = layout();
    let store = BlobStore::new(open(settings(server.url(), server, layout.clone())));
    let blobs = store.tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(0), "personal").await;
    let official = official(server.url(), server, &layout, &name);
    official.acquire_lease(-1, None).await.unwrap();
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    let swept = sweeper.run().await.unwrap();
    assert_eq!((swept.failed, swept.skipped), (1, 0), "{swept:?}");
    let report = blobs.erase("they left").await.unwrap();
    assert!(!report.is_complete() && !report.is_unreadable());
    assert_eq!(report.failed, [(name, ErrorKind::Locked)]);
}

#[tokio::test]
async fn a_blob_is_erased_with_the_snapshots_of_others() {
    let server = AzuriteServer::shared().await.unwrap();
    let layout = layout();
    let store = BlobStore::new(open(settings(server.url(), server, layout.clone())));
    let blobs = store.tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(1), "personal").await;
    let official = official(server.url(), server, &layout, &name);
    official.create_snapshot(None).await.unwrap();
    let report = blobs.erase("they left").await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.erased.len(), 1);
    let read = blobs.get(&name).await.unwrap_err();
    assert_eq!(read.kind(), ErrorKind::NotFound);
}

/// A container puts its default policy on each new blob, whatever the blob itself is put with.
#[tokio::test]
async fn a_policy_of_others_ends_no_blob_early() {
    let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
    let server = AzuriteServer::shared().await.unwrap();
    let front = WormFront::start_with_clock(server, Arc::new(clock.clone()))
        .await
        .unwrap();
    let layout = layout();
    let settings =
        settings(front.url(), server, layout.clone()).with_clock(Arc::new(clock.clone()));
    let store = BlobStore::new(open(settings));
    let blobs = store.tenant(TenantId::generate());
    let put_at = clock.now();
    let day = put(&blobs, Retention::days(1), "a day").await;
    let years = put(&blobs, Retention::days(3_650), "ten years").await;
    let event = put(&blobs, Retention::until_event_then_days(365), "an event").await;
    for name in [&day, &years, &event] {
        let official = official(front.url(), server, &layout, name);
        set_policy(&official, put_at + TimeDelta::days(7)).await;
    }
    let ends = |days| Some(put_at + TimeDelta::days(days));
    for (name, end, is_locked) in [
        // The later counts, and is a lock where it is the policy's.
        (&day, ends(7), true),
        (&years, ends(3_650), false),
        (&event, None, false),
    ] {
        let retention = blobs.head(name).await.unwrap().retention;
        assert_eq!(
            (retention.until, retention.lock.is_some()),
            (end, is_locked)
        );
    }
    // Under the policy nobody writes the end of the blob; the policy itself can go further.
    let sooner = put_at + TimeDelta::days(30);
    let refused = [
        blobs.shorten_retention(&years, sooner, "sooner").await,
        blobs
            .extend_retention(&years, put_at + TimeDelta::days(4_000), "")
            .await,
        blobs.report_event(&event, put_at, "it came").await,
        blobs.shorten_retention(&day, put_at, "sooner").await,
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Retained);
    }
    let later = put_at + TimeDelta::days(9);
    let extended = blobs.extend_retention(&day, later, "later").await.unwrap();
    assert_eq!(extended.retention.until, Some(later));
    // A hold can be placed all the same.
    let case = HoldTag::new("case1").unwrap();
    for name in [&years, &event] {
        let held = blobs.place_hold(name, &case, "they sue").await.unwrap();
        assert!(held.retention.is_held());
    }
    clock.advance(Duration::from_secs(8 * 86_400));
    let azure = HoldTag::new("azure").unwrap();
    for name in [&years, &event] {
        let cleared = blobs.clear_hold(name, &azure, "settled").await.unwrap();
        assert!(!cleared.retention.is_held());
    }
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    let swept = sweeper.run().await.unwrap();
    assert_eq!((swept.examined, swept.deleted), (0, 0), "{swept:?}");
    clock.advance(Duration::from_secs(2 * 86_400));
    let swept = sweeper.run().await.unwrap();
    assert_eq!((swept.deleted, swept.failed), (1, 0), "{swept:?}");
    // What is to go early goes, though a policy of others is on it.
    blobs.delete_early(&years, "a request").await.unwrap();
}

/// An act ends the blob's own end, and never such a policy.
#[tokio::test]
async fn a_locked_policy_of_others_is_told_as_what_keeps_a_blob() {
    let server = AzuriteServer::shared().await.unwrap();
    let front = WormFront::start(server).await.unwrap();
    let layout = layout();
    let audit = Arc::new(Counted::default());
    let store = BlobStore::new(open(settings(front.url(), server, layout.clone())));
    let blobs = store
        .with_audit(Arc::clone(&audit) as _)
        .tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(3_650), "ten years").await;
    let end = (SystemClock.now() + TimeDelta::days(7)).trunc_subsecs(0);
    let official = official(front.url(), server, &layout, &name);
    set_policy(&official, end).await;
    let unlocked = blobs.why_retained(&name).await.unwrap();
    assert_eq!(unlocked.reasons.len(), 1, "{unlocked}");
    set_policy_of(ImmutabilityPolicyMode::Locked, &official, end).await;
    let why = blobs.why_retained(&name).await.unwrap();
    let lock = RetainedBy::LockOfOthers { until: end };
    assert!(why.reasons.contains(&lock), "{why}");
    assert!(why.to_string().contains("others"), "{why}");
    let refused = blobs.delete_early(&name, "a request").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Retained);
    assert!(refused.detail().contains("others"), "{refused}");
    let report = blobs.erase("they left").await.unwrap();
    assert_eq!((report.kept.len(), report.failed.len()), (1, 0), "{report}");
    assert_eq!(report.kept[0].reasons, why.reasons);
    assert_eq!(audit.0.load(Ordering::SeqCst), 0, "nothing was ordered");
}

/// Counts acts.
#[derive(Debug, Default)]
struct Counted(AtomicUsize);

#[async_trait]
impl RetentionAudit for Counted {
    async fn record(&self, _: &RetentionAct) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Returns a backend of an account, and one that encrypts what it puts there.
fn plain_and_encrypted(
    server: &AzuriteServer,
    layout: &AzureLayout,
) -> impl Iterator<Item = Arc<dyn BlobBackend>> {
    let plain = open(settings(server.url(), server, layout.clone())) as Arc<dyn BlobBackend>;
    #[cfg(feature = "encryption")]
    let encrypted = {
        let (keys, secrets) = super::support::tenant_keys();
        let inner = Arc::clone(&plain);
        Some(Arc::new(tenantry_blob::EncryptedBlobs::new(inner, keys, secrets)) as _)
    };
    #[cfg(not(feature = "encryption"))]
    let encrypted = None;
    std::iter::once(plain).chain(encrypted)
}

#[tokio::test]
async fn a_record_that_others_altered_is_told_of_by_itself() {
    let server = AzuriteServer::shared().await.unwrap();
    let layout = layout();
    for backend in plain_and_encrypted(server, &layout) {
        let blobs = BlobStore::new(Arc::clone(&backend)).tenant(TenantId::generate());
        let intact = put(&blobs, Retention::days(1), "one").await;
        let altered = put(&blobs, Retention::days(1), "two").await;
        official(server.url(), server, &layout, &altered)
            .set_metadata(&HashMap::new(), None)
            .await
            .unwrap();
        let listed = blobs.list(ListOptions::new()).await.unwrap_err();
        assert_eq!(listed.kind(), ErrorKind::Corrupt);
        assert_eq!(listed.subject(), altered.as_str());
        let prefix = BlobPrefix::of(blobs.tenant());
        let page = backend.list_each(&prefix, None, 9).await.unwrap();
        let mut told: Vec<_> = page
            .items
            .into_iter()
            .map(|it| (it.name, it.record.map(drop).map_err(|error| error.kind())))
            .collect();
        let mut expected = [
            (intact.clone(), Ok(())),
            (altered.clone(), Err(ErrorKind::Corrupt)),
        ];
        told.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(told, expected);
        // It may be due, and nobody knows.
        let store = BlobStore::new(Arc::clone(&backend));
        let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
        for swept in [sweeper.plan().await.unwrap(), sweeper.run().await.unwrap()] {
            let failed: Vec<_> = swept
                .failures
                .iter()
                .map(|it| (&it.name, it.kind))
                .collect();
            assert!(
                failed.contains(&(&altered, ErrorKind::Corrupt)),
                "{swept:?}"
            );
            assert_eq!((swept.deleted, swept.examined), (0, swept.failed));
        }
        let report = blobs.erase("they left").await.unwrap();
        assert_eq!(report.erased.len(), 1);
        assert_eq!(report.erased[0].name, intact);
        assert_eq!(report.failed, [(altered, ErrorKind::Corrupt)]);
        assert!(!report.is_complete() && !report.is_unreadable());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_keeps_a_blob_whose_record_changes() {
    const LENGTH: usize = 48 * 1024 * 1024;
    let server = AzuriteServer::shared().await.unwrap();
    let settings = settings(server.url(), server, layout()).without_range_checksums();
    let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(1), vec![7; LENGTH]).await;
    let mut reader = blobs.stream(&name).await.unwrap();
    let mut came = reader.next().await.unwrap().unwrap().len();
    // As by a job that extends all that it goes through, again and again.
    let changing = tokio::spawn({
        let (blobs, name) = (blobs.clone(), name.clone());
        async move {
            for days in 2.. {
                let longer = SystemClock.now() + TimeDelta::days(days);
                let extended = blobs.extend_retention(&name, longer, "longer").await;
                extended.unwrap();
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    });
    while let Some(piece) = reader.next().await {
        came += piece.unwrap().len();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(came, LENGTH);
    assert!(!changing.is_finished(), "it was changed to the end");
    changing.abort();
    let kept = blobs.head(&name).await.unwrap().retention.until;
    assert!(kept > Some(SystemClock.now() + TimeDelta::days(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_does_not_go_on_in_another_blob() {
    const LENGTH: usize = 48 * 1024 * 1024;
    let server = AzuriteServer::shared().await.unwrap();
    let settings = settings(server.url(), server, layout()).without_range_checksums();
    let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(1), vec![7; LENGTH]).await;
    let mut reader = blobs.stream(&name).await.unwrap();
    reader.next().await.unwrap().unwrap();
    blobs.delete_early(&name, "a request").await.unwrap();
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    blobs
        .put_bytes(&name, options, vec![8; LENGTH])
        .await
        .unwrap();
    let mut failed = None;
    while let Some(piece) = reader.next().await {
        match piece {
            Ok(piece) => assert!(piece.iter().all(|byte| *byte == 7)),
            Err(error) => failed = Some(error.kind()),
        }
    }
    assert_eq!(failed, Some(ErrorKind::NotFound));
}

/// Lengths that no blob has, and such as this one does not have.
#[tokio::test]
async fn a_length_that_others_altered_is_an_error_and_no_panic() {
    let server = AzuriteServer::shared().await.unwrap();
    let layout = layout();
    let settings = settings(server.url(), server, layout.clone()).without_range_checksums();
    let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
    for length in [u64::MAX, u64::MAX - 15, 1 << 63, 1 << 40, 11, 0] {
        let name = put(&blobs, Retention::days(1), "0123456789").await;
        let official = official(server.url(), server, &layout, &name);
        let answer = official.get_properties(None).await.unwrap();
        let mut metadata = answer.metadata().unwrap();
        let record = metadata.get_mut("tenantry_record").unwrap();
        let before = record.clone();
        *record = record.replace("\"length\":10", &format!("\"length\":{length}"));
        assert_ne!(*record, before);
        official.set_metadata(&metadata, None).await.unwrap();
        let got = blobs.get(&name).await.unwrap_err();
        assert_eq!(got.kind(), ErrorKind::Corrupt, "{length}: {got:?}");
        let last = length.saturating_sub(3)..length;
        for range in [0..1, last, u64::MAX - 3..u64::MAX] {
            // What is there of it may come; nothing panics, and nothing is waited for without end.
            let read = blobs.range(&name, range);
            let _ = tokio::time::timeout(Duration::from_secs(30), read)
                .await
                .expect("it ends");
        }
    }
}

/// What a program writes over a record is told of, or is none of the bytes' concern.
#[tokio::test]
async fn an_altered_record_gives_out_no_other_bytes() {
    const MARKS: &[u8] = b"0-9:\"{}[],%9zZ";
    let server = AzuriteServer::shared().await.unwrap();
    let layout = layout();
    let settings = settings(server.url(), server, layout.clone()).without_range_checksums();
    let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(1), "0123456789").await;
    let official = official(server.url(), server, &layout, &name);
    let answer = official.get_properties(None).await.unwrap();
    let record = answer.metadata().unwrap()["tenantry_record"].clone();
    let mut seed = 99_u64;
    let mut corrupt = 0;
    for _ in 0..200 {
        let mut altered = record.clone().into_bytes();
        for _ in 0..=seed % 3 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed % 4_096).unwrap() % altered.len();
            let mark = MARKS[usize::try_from(seed >> 32).unwrap() % MARKS.len()];
            match seed >> 62 {
                0 => drop(altered.remove(at)),
                1 => altered.insert(at, mark),
                _ => altered[at] = mark,
            }
        }
        let text = String::from_utf8(altered).unwrap();
        let altered = HashMap::from([("tenantry_record".to_owned(), text.trim().to_owned())]);
        if official.set_metadata(&altered, None).await.is_err() {
            continue;
        }
        match blobs.get(&name).await {
            Ok(got) => assert_eq!(got.bytes, "0123456789"),
            Err(error) => corrupt += u32::from(error.kind() == ErrorKind::Corrupt),
        }
        let _ = blobs.range(&name, 0..3).await;
        let _ = blobs.list(ListOptions::new()).await;
    }
    assert!(corrupt > 100, "{corrupt}");
}
