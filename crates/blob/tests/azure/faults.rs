//! What goes wrong on the way: each is a kind, and nothing is half visible.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::TimeDelta;
use tenantry_blob::{
    AzureBlobs, AzureSettings, BlobKind, BlobName, BlobRecord, BlobStore, HoldTag, LockMode,
    PutOptions, Retention, StoredBlob, TenantBlobs,
};
use tenantry_core::{Clock as _, ErrorKind, Result, Service, SystemClock, TenantId};
use tenantry_testkit::{AzuriteServer, BlobFault, WormFront};

use super::{layouts, settings};

const BLOCK: &str = "blockid=";
const LIST: &str = "comp=blocklist";

/// A front of a test's own, and the blobs of a tenant behind it.
struct Scene {
    front: WormFront,
    blobs: TenantBlobs,
    name: BlobName,
    long: Bytes,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    async fn with(change: impl FnOnce(AzureSettings) -> AzureSettings) -> Self {
        let server = AzuriteServer::shared().await.unwrap();
        let front = WormFront::start(server).await.unwrap();
        let [layout, _] = layouts();
        let settings = change(settings(front.url(), server, layout));
        let store = BlobStore::new(std::sync::Arc::new(AzureBlobs::new(settings).unwrap()));
        let blobs = store.tenant(TenantId::generate());
        let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
        let long: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        Self {
            front,
            blobs,
            name,
            long: long.into(),
        }
    }

    async fn put(&self, bytes: impl Into<Bytes>) -> Result<StoredBlob> {
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        self.blobs.put_bytes(&self.name, options, bytes).await
    }

    async fn put_with(&self, retention: Retention) -> Result<StoredBlob> {
        let options = PutOptions::new(Service::Reporting, retention);
        self.blobs.put_bytes(&self.name, options, "bytes").await
    }

    async fn act(&self, act: &str) -> Result<BlobRecord> {
        let (blobs, name) = (&self.blobs, &self.name);
        let is_locked = blobs.head(name).await?.retention.lock.is_some();
        let tag = HoldTag::new(if is_locked { "azure" } else { "case1" })?;
        let in_days = |days| SystemClock.now() + TimeDelta::days(days);
        match act {
            "place" => blobs.place_hold(name, &tag, "they sue").await,
            "clear" => blobs.clear_hold(name, &tag, "settled").await,
            "extend" => blobs.extend_retention(name, in_days(90), "longer").await,
            "shorten" => blobs.shorten_retention(name, in_days(2), "sooner").await,
            "lock" => blobs.lock_retention(name, "for good").await,
            _ => blobs.report_event(name, in_days(0), "it came").await,
        }
    }

    /// Has the tenant's container made, so that the next request is not the one that finds it missing.
    async fn with_container(&self) {
        let name = self.blobs.name(&BlobKind::new("others").unwrap()).unwrap();
        let options = PutOptions::new(Service::Reporting, Retention::days(0));
        self.blobs.put_bytes(&name, options, "other").await.unwrap();
        self.blobs.delete(&name).await.unwrap();
    }

    async fn assert_nothing(&self) {
        let seen = self.blobs.head(&self.name).await;
        assert_eq!(seen.unwrap_err().kind(), ErrorKind::NotFound);
        let page = self
            .blobs
            .list(tenantry_blob::ListOptions::new())
            .await
            .unwrap();
        assert!(page.records.is_empty());
    }

    async fn assert_whole(&self, bytes: &[u8]) {
        assert!(self.blobs.get(&self.name).await.unwrap().bytes == bytes);
    }
}

fn busy(retry_after: u64) -> BlobFault {
    BlobFault::Refused {
        status: 503,
        code: "ServerBusy",
        retry_after: Some(retry_after),
    }
}

#[tokio::test]
async fn who_is_busy_for_a_second_is_asked_again() {
    let scene = Scene::new().await;
    scene.front.inject(busy(1), ("PUT", ""));
    let began = Instant::now();
    scene.put("bytes").await.unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "it waited as it was told"
    );
    scene.assert_whole(b"bytes").await;
}

#[tokio::test]
async fn who_is_busy_for_a_day_is_told_of_at_once() {
    let scene = Scene::new().await;
    scene.front.inject_at(busy(86_400), ("PUT", ""), 0, 100);
    let put = tokio::time::timeout(Duration::from_secs(30), scene.put("bytes")).await;
    let error = put.expect("it does not wait").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error:?}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3_600)));
    scene.assert_nothing().await;
}

#[tokio::test]
async fn a_block_that_is_cut_in_its_middle_is_sent_again() {
    let scene = Scene::new().await;
    // The third block.
    scene
        .front
        .inject_at(BlobFault::CutWithin(1_000_000), ("PUT", BLOCK), 2, 1);
    scene.put(scene.long.clone()).await.unwrap();
    assert!(!scene.front.is_armed());
    scene.assert_whole(&scene.long).await;
}

#[tokio::test]
async fn a_block_that_is_cut_again_and_again_leaves_nothing() {
    let scene = Scene::new().await;
    scene
        .front
        .inject_at(BlobFault::CutWithin(1_000_000), ("PUT", BLOCK), 2, 100);
    let error = scene.put(scene.long.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.subject(), scene.name.as_str());
    scene.assert_nothing().await;
}

#[tokio::test]
async fn what_is_altered_on_its_way_is_refused() {
    for bytes in [Bytes::from_static(b"bytes"), Scene::new().await.long] {
        let scene = Scene::new().await;
        scene.with_container().await;
        let within = if bytes.len() > 9 { BLOCK } else { "" };
        scene.front.inject(BlobFault::BodyAltered, ("PUT", within));
        let error = scene.put(bytes.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        scene.assert_nothing().await;
        scene.put(bytes).await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_to_be_ones_own() {
    for bytes in [Bytes::from_static(b"bytes"), Scene::new().await.long] {
        let scene = Scene::new().await;
        scene.with_container().await;
        let within = if bytes.len() > 9 { LIST } else { "" };
        scene.front.inject(BlobFault::AnswerLost, ("PUT", within));
        let put = scene.put(bytes.clone()).await.unwrap();
        assert!(!scene.front.is_armed());
        assert_eq!(put.record, scene.blobs.head(&scene.name).await.unwrap());
        scene.assert_whole(&bytes).await;
        let again = scene.put(bytes.clone()).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again:?}");
    }
}

#[tokio::test]
async fn a_commit_of_which_nothing_more_is_heard_is_unknown() {
    let scene = Scene::new().await;
    scene
        .front
        .inject_at(BlobFault::AnswerLost, ("PUT", LIST), 0, 100);
    scene
        .front
        .inject_at(BlobFault::CutWithin(0), ("HEAD", ""), 1, 100);
    let error = scene.put(scene.long.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error:?}");
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_done() {
    let scene = Scene::new().await;
    scene.put("bytes").await.unwrap();
    scene.front.inject(BlobFault::AnswerLost, ("DELETE", ""));
    scene
        .blobs
        .delete_early(&scene.name, "a request")
        .await
        .unwrap();
    scene.assert_nothing().await;
}

/// Of each act one answer after the other is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_of_which_an_answer_is_lost_is_done_once() {
    let days = || Retention::days(10);
    for (act, retention) in [
        ("place", days()),
        ("clear", days()),
        ("clear", days().unlocked()),
        ("extend", days()),
        ("extend", days().unlocked()),
        ("shorten", days()),
        ("shorten", days().unlocked()),
        ("lock", days().unlocked()),
        ("report", Retention::until_event_then_days(5)),
    ] {
        for method in ["PUT", "DELETE"] {
            for after in 0.. {
                let scene = Scene::new().await;
                scene.put_with(retention.clone()).await.unwrap();
                if act == "clear" {
                    scene.act("place").await.unwrap();
                }
                let before = scene.blobs.head(&scene.name).await.unwrap().retention;
                scene
                    .front
                    .inject_at(BlobFault::AnswerLost, (method, ""), after, 1);
                let done = scene.act(act).await;
                if scene.front.is_armed() {
                    break;
                }
                let shown = format!("{act} {before:?} {method} {after}");
                let done = done.unwrap_or_else(|error| panic!("{shown}: {error:?}"));
                let kept = scene.blobs.head(&scene.name).await.unwrap().retention;
                assert_eq!(done.retention, kept, "{shown}");
                let is_done = match act {
                    "place" => kept.is_held(),
                    "clear" => !kept.is_held() && kept.until == before.until,
                    "extend" => kept.until > before.until,
                    "shorten" => kept.until < before.until,
                    "lock" => kept.lock == Some(LockMode::Locked),
                    _ => kept.until.is_some(),
                };
                let is_locked = kept.lock.is_some() == before.lock.is_some();
                assert!(is_done && is_locked, "{shown}: {kept:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_altered_is_asked_for_again() {
    let scene = Scene::new().await;
    scene.put(scene.long.clone()).await.unwrap();
    for fault in [
        BlobFault::AnswerCutAfter(1_000_000),
        BlobFault::AnswerAltered,
    ] {
        for after in [0, 1, 2] {
            scene.front.inject_at(fault, ("GET", "exports"), after, 1);
            scene.assert_whole(&scene.long).await;
            assert!(!scene.front.is_armed());
        }
    }
}

#[tokio::test]
async fn an_answer_that_always_breaks_off_or_is_altered_gives_out_nothing() {
    let scene = Scene::new().await;
    scene.put(scene.long.clone()).await.unwrap();
    for (fault, kind) in [
        (BlobFault::AnswerCutAfter(1_000_000), ErrorKind::Unavailable),
        (BlobFault::AnswerAltered, ErrorKind::Corrupt),
    ] {
        let scene = &scene;
        scene.front.inject_at(fault, ("GET", "exports"), 1, 9);
        let error = scene.blobs.get(&scene.name).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        // What is left of the faults.
        while scene.front.is_armed() {
            let _ = scene.blobs.range(&scene.name, 0..1).await;
        }
        scene.assert_whole(&scene.long).await;
    }
}

#[tokio::test]
async fn without_checksums_of_ranges_the_digest_of_the_whole_tells() {
    let scene = Scene::with(AzureSettings::without_range_checksums).await;
    scene.put(scene.long.clone()).await.unwrap();
    scene
        .front
        .inject(BlobFault::AnswerAltered, ("GET", "exports"));
    let error = scene.blobs.get(&scene.name).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}

#[tokio::test]
async fn who_never_answers_is_waited_for_until_the_deadline() {
    let scene = Scene::with(|settings| {
        settings
            .with_try_timeout(Duration::from_millis(300))
            .with_deadline(Duration::from_secs(1))
    })
    .await;
    scene
        .front
        .inject_at(BlobFault::Silence, ("PUT", ""), 0, 100);
    let put = tokio::time::timeout(Duration::from_secs(30), scene.put("bytes")).await;
    let error = put.expect("it does not wait").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error:?}");
    scene.assert_nothing().await;
}

#[tokio::test]
async fn who_answers_too_slowly_is_given_up() {
    let scene = Scene::with(|settings| {
        settings
            .with_try_timeout(Duration::from_millis(500))
            .with_deadline(Duration::from_secs(2))
    })
    .await;
    scene.put("bytes").await.unwrap();
    let slow = BlobFault::SlowAnswer(Duration::from_secs(5));
    scene.front.inject_at(slow, ("GET", "exports"), 0, 100);
    let read = tokio::time::timeout(Duration::from_secs(30), scene.blobs.get(&scene.name)).await;
    let error = read.expect("it does not wait").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_time_without_end_is_one() {
    let changes: [fn(AzureSettings) -> AzureSettings; 2] = [
        |settings| settings.with_deadline(Duration::MAX),
        |settings| settings.with_try_timeout(Duration::MAX),
    ];
    for change in changes {
        let scene = Scene::with(change).await;
        scene.put("bytes").await.unwrap();
        scene.assert_whole(b"bytes").await;
    }
}
