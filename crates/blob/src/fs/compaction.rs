//! Journals that are made shorter.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tenantry_core::Service;

use super::disk::{AtStep, Step};
use super::scene::{Scene, assert_dies_at, blobs_that_die, bytes_of, compact_now, name, put};
use super::*;
use crate::retention::{HoldTag, Retention};
use crate::store::{PutOptions, TenantBlobs};

#[tokio::test]
async fn a_journal_of_what_is_over_is_compacted_and_others_follow() {
    let scene = Scene::new().await;
    let (blobs, other) = (scene.blobs(1).await, scene.blobs(1).await);
    let tag = HoldTag::new("case17").unwrap();
    let held = name(&blobs, 1);
    blobs.place_hold(&held, &tag, "they sue").await.unwrap();
    let before = blobs.head(&held).await.unwrap();
    let mut longest = 0;
    for _ in 0..60 {
        put_and_delete(&blobs).await;
        let length = fs::metadata(scene.journal()).unwrap().len();
        if length < longest {
            break;
        }
        longest = length;
    }
    assert!(
        fs::metadata(scene.journal()).unwrap().len() < longest / 2,
        "it is shorter"
    );
    for blobs in [&blobs, &other, &scene.blobs(1).await] {
        assert_eq!(blobs.head(&held).await.unwrap(), before);
        put(blobs, Uuid::new_v4().as_u128(), "new").await.unwrap();
    }
    scene.assert_tidy().await;
}

/// Puts twenty blobs and deletes them.
async fn put_and_delete(blobs: &TenantBlobs) {
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let many: Vec<_> = (0..20_u128)
        .map(|number| name(blobs, 1_000 + number))
        .collect();
    let puts = many
        .iter()
        .map(|name| blobs.put_bytes(name, options.clone(), "x"));
    join_all(puts)
        .await
        .into_iter()
        .for_each(|put| drop(put.unwrap()));
    let deletions = many.iter().map(|name| blobs.delete(name));
    join_all(deletions)
        .await
        .into_iter()
        .for_each(|it| it.unwrap());
}

/// Puts and deletes until the journal is compacted, or would be.
async fn until_compacted(blobs: &TenantBlobs) {
    for _ in 0..11 {
        put_and_delete(blobs).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_compaction_loses_nothing() {
    for step in [Step::Compacting, Step::Compacted, Step::Replaced] {
        let scene = Scene::new().await;
        let witness = scene.blobs(1).await;
        assert_dies_at(
            step,
            "fs::compaction::child_dies_in_a_compaction",
            scene.folder.path(),
        );
        for blobs in [&witness, &scene.blobs(1).await] {
            assert_eq!(bytes_of(blobs, 1).await.unwrap(), "old", "{step:?}");
            put(blobs, Uuid::new_v4().as_u128(), "new").await.unwrap();
        }
        // What the process had answered for before it died.
        let deleted = name(&witness, 1_000);
        let error = witness.get(&deleted).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{step:?}");
        scene.assert_tidy().await;
    }
}

#[tokio::test]
#[ignore = "the child of a_crash_at_any_step_of_a_compaction_loses_nothing"]
async fn child_dies_in_a_compaction() {
    let blobs = blobs_that_die().await;
    until_compacted(&blobs).await;
}

#[tokio::test]
async fn a_full_disk_at_a_compaction_leaves_the_journal_long_and_stops_nothing() {
    for failing in [Step::Settled, Step::Compacting, Step::Compacted] {
        let scene = Scene::new().await;
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let at_step: AtStep = Box::new(move |step| match step == failing {
            true => {
                counted.fetch_add(1, Ordering::Relaxed);
                Err(io::ErrorKind::StorageFull.into())
            }
            false => Ok(()),
        });
        let full = scene.blobs_with(at_step).await;
        until_compacted(&full).await;
        assert!(
            !scene.folder.path().join("journal.new").exists(),
            "its room is free again"
        );
        // It is not tried with each change: whoever has no room has none a moment later.
        assert_eq!(tries.load(Ordering::Relaxed), 1, "{failing:?}");
        let long = fs::metadata(scene.journal()).unwrap().len();
        put(&full, 2, "new").await.unwrap();
        assert_eq!(bytes_of(&full, 1).await.unwrap(), "old");
        // With room another makes it shorter, and this one follows.
        until_compacted(&scene.blobs(1).await).await;
        assert!(fs::metadata(scene.journal()).unwrap().len() < long);
        assert_eq!(bytes_of(&full, 2).await.unwrap(), "new");
        put(&full, 3, "new").await.unwrap();
        scene.assert_tidy().await;
    }
}

/// However long the disk takes to have all folders on it, and the shorter journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_compaction_that_waits_for_the_disk() {
    for waits_at in [Step::Settled, Step::Compacting, Step::Compacted] {
        let scene = Scene::new().await;
        let (settling, settles) = std::sync::mpsc::channel();
        let (looked, has_looked) = std::sync::mpsc::channel();
        let has_looked = Mutex::new(has_looked);
        let at_step: AtStep = Box::new(move |step| {
            if step == waits_at {
                settling.send(()).unwrap();
                has_looked.lock().recv().unwrap();
            }
            Ok(())
        });
        let blobs = scene.blobs_with(at_step).await;
        let erasing = tokio::spawn({
            let blobs = blobs.clone();
            async move { compact_now(&blobs).await }
        });
        tokio::task::spawn_blocking(move || settles.recv().unwrap())
            .await
            .unwrap();
        assert_eq!(bytes_of(&blobs, 1).await.unwrap(), "old", "{waits_at:?}");
        looked.send(()).unwrap();
        erasing.await.unwrap();
        // It is taken over as it was written.
        put(&blobs, 2, "new").await.unwrap();
        for blobs in [&blobs, &scene.blobs(1).await] {
            assert_eq!(bytes_of(blobs, 2).await.unwrap(), "new", "{waits_at:?}");
        }
        scene.assert_tidy().await;
    }
}

/// All others would read a shorter journal anew.
#[tokio::test]
async fn an_erasure_of_a_tenant_that_had_nothing_writes_no_journal() {
    let scene = Scene::new().await;
    let journal = || fs::read(scene.journal()).unwrap();
    let before = journal();
    let nobody = scene.blobs(3).await;
    assert!(nobody.erase("they left").await.unwrap().is_complete());
    assert!(journal() == before);
    // Nor does it where another's blobs were deleted.
    let [deleting, mine] = [scene.blobs(1).await, scene.blobs(2).await];
    put_and_delete(&deleting).await;
    let before = journal();
    assert!(nobody.erase("they left").await.unwrap().is_complete());
    assert!(journal() == before);
    // What was deleted before, by another process, is erased with the rest.
    put_and_delete(&mine).await;
    let tenant = mine.tenant().to_string();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches(&tenant).count();
    let before = told(&journal());
    mine.erase("they left").await.unwrap();
    assert!(told(&journal()) < before / 10);
}
