//! What stands in the way of bytes: it closes the store to nobody, and nothing is told as done that is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tenantry_core::Service;

use super::disk::{AtStep, Step};
use super::tests::{Scene, bytes_of, files_in, name, put};
use super::*;
use crate::retention::Retention;
use crate::store::{PutOptions, TenantBlobs};

impl Scene {
    fn place(&self, name: &BlobName) -> PathBuf {
        self.folder.path().join("blobs").join(name.as_str())
    }

    /// Opens the store for one tenant, and makes a folder in the place of the blob of this number before its
    /// put is recorded.
    async fn blobs_in_the_way_of(&self, number: u128) -> (TenantBlobs, PathBuf) {
        let place = self.place(&name(&self.blobs(1).await, number));
        let (at, is_first) = (place.clone(), AtomicBool::new(true));
        let at_step: AtStep = Box::new(move |step| {
            if step == Step::Listed && is_first.swap(false, Ordering::Relaxed) {
                fs::create_dir_all(at.join("something else"))?;
            }
            Ok(())
        });
        (self.blobs_with(at_step).await, place)
    }
}

fn over() -> PutOptions {
    PutOptions::new(Service::Reporting, Retention::days(0))
}

fn incoming(folder: &Path) -> usize {
    files_in(&folder.join("incoming")).len()
}

#[tokio::test]
async fn bytes_that_cannot_be_moved_into_place_close_the_store_to_nobody() {
    let scene = Scene::new().await;
    let witness = scene.blobs(1).await;
    let (blobs, place) = scene.blobs_in_the_way_of(2).await;
    put(&blobs, 2, "new").await.unwrap();
    assert_eq!(incoming(scene.folder.path()), 1);
    for blobs in [&blobs, &witness, &scene.blobs(1).await] {
        assert_eq!(bytes_of(blobs, 2).await.unwrap(), "new");
        assert_eq!(bytes_of(blobs, 1).await.unwrap(), "old");
        let swept = name(blobs, 3);
        blobs.put_bytes(&swept, over(), "x").await.unwrap();
        blobs.delete(&swept).await.unwrap();
    }
    // A shorter journal tells of them as well.
    let other = scene.blobs(3).await;
    put_over(&other, 1).await;
    assert!(other.erase("they left").await.unwrap().is_complete());
    for blobs in [&blobs, &witness, &scene.blobs(1).await] {
        assert_eq!(bytes_of(blobs, 2).await.unwrap(), "new");
    }
    // When nothing is in the way any longer, later changes bring them into their place.
    fs::remove_dir_all(&place).unwrap();
    put(&witness, 4, "later").await.unwrap();
    put(&witness, 5, "later").await.unwrap();
    assert!(place.is_file() && incoming(scene.folder.path()) == 0);
    for blobs in [&blobs, &witness, &scene.blobs(1).await] {
        assert_eq!(bytes_of(blobs, 2).await.unwrap(), "new");
    }
    scene.assert_tidy().await;
}

async fn put_over(blobs: &TenantBlobs, number: u128) -> BlobName {
    let name = name(blobs, number);
    blobs.put_bytes(&name, over(), "over").await.unwrap();
    name
}

/// It was answered for, so that nobody may lose it; and it can be deleted as any other.
#[tokio::test]
async fn bytes_that_never_came_into_their_place_are_deleted_where_they_are() {
    let scene = Scene::new().await;
    let (blobs, place) = scene.blobs_in_the_way_of(2).await;
    let waiting = put_over(&blobs, 2).await;
    assert_eq!(incoming(scene.folder.path()), 1);
    fs::remove_dir_all(&place).unwrap();
    blobs.delete(&waiting).await.unwrap();
    assert_eq!(incoming(scene.folder.path()), 0);
    put_over(&blobs, 2).await;
    assert_eq!(blobs.get(&waiting).await.unwrap().bytes, "over");
    scene.assert_tidy().await;
}

#[tokio::test]
async fn a_put_for_which_there_is_no_place_fails_and_leaves_nothing() {
    let scene = Scene::new().await;
    let (mine, other) = (scene.blobs(1).await, scene.blobs(3).await);
    // In the place of the folder of a tenant, and in that of a blob.
    let tenant = scene
        .folder
        .path()
        .join("blobs")
        .join(other.tenant().to_string());
    fs::write(&tenant, "something else").unwrap();
    let blob = scene.place(&name(&mine, 2));
    fs::create_dir_all(blob.join("something else")).unwrap();
    let journal = fs::read(scene.folder.path().join("journal")).unwrap();
    for blobs in [&mine, &other] {
        let error = put(blobs, 2, "new").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.subject().contains("/exports/"), "it names the blob");
        assert_eq!(bytes_of(blobs, 2).await, None);
    }
    assert_eq!(
        fs::read(scene.folder.path().join("journal")).unwrap(),
        journal
    );
    assert_eq!(bytes_of(&scene.blobs(1).await, 1).await.unwrap(), "old");
    fs::remove_file(&tenant).unwrap();
    fs::remove_dir_all(&blob).unwrap();
    for blobs in [&mine, &other] {
        put(blobs, 2, "new").await.unwrap();
    }
}

/// A proof that is none: the bytes are there still. What an operator has in the way is told of until it is gone.
#[tokio::test]
async fn an_erasure_whose_bytes_stay_is_not_complete_and_is_ended_later() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(3).await;
    let name = put_over(&blobs, 2).await;
    // A folder with something in it cannot be removed as a file.
    let place = scene.place(&name);
    fs::remove_file(&place).unwrap();
    fs::create_dir_all(place.join("something else")).unwrap();
    let report = blobs.erase("they left").await.unwrap();
    assert_eq!(report.erased.len(), 1);
    assert!(
        !report.is_complete() && report.stopped_by.is_some(),
        "{report}"
    );
    // It may be another tenant's erasure that hears of it.
    let error = blobs.backend().forget_deleted().await.unwrap_err();
    assert_eq!(error.subject(), "");
    // The shorter journal tells of it as well, also to whoever opens the store anew.
    drop(blobs);
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "over").unwrap();
    let other = scene.blobs(3).await;
    put_over(&other, 4).await;
    assert!(!place.exists());
    assert!(other.erase("they left").await.unwrap().is_complete());
}

/// As where another process has cut a damaged end off, or a backup is copied over it.
#[tokio::test]
async fn a_journal_that_became_shorter_is_read_anew_and_not_written_behind_its_end() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let running = scene.blobs(1).await;
    let backup = fs::read(&journal).unwrap();
    put(&running, 2, "lost").await.unwrap();
    let etag = running.head(&name(&running, 2)).await.unwrap().etag;
    fs::write(&journal, &backup).unwrap();
    assert_eq!(bytes_of(&running, 2).await, None);
    put(&running, 2, "new").await.unwrap();
    for blobs in [&running, &scene.blobs(1).await] {
        assert_eq!(bytes_of(blobs, 1).await.unwrap(), "old");
        assert_eq!(bytes_of(blobs, 2).await.unwrap(), "new");
        let anew = blobs.head(&name(blobs, 2)).await.unwrap().etag;
        assert_ne!(anew, etag, "a state that is told apart by its etag");
    }
}

/// What has happened does not happen again, as the end of a hold would.
#[tokio::test]
async fn a_frame_that_comes_again_is_damage() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let header = fs::read(&journal).unwrap().len();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let before = fs::read(&journal).unwrap();
    put(&scene.blobs(1).await, 3, "newer").await.unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend_from_slice(&before[header..]);
    fs::write(&journal, &bytes).unwrap();
    let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
    assert_eq!(opened.err().map(|it| it.kind()), Some(ErrorKind::Corrupt));
}

/// Locked blobs are not forgotten for a file that somebody has removed.
#[tokio::test]
async fn a_lost_journal_beside_bytes_is_no_new_store() {
    let scene = Scene::new().await;
    let running = scene.blobs(1).await;
    fs::remove_file(scene.folder.path().join("journal")).unwrap();
    let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
    assert_eq!(opened.err().map(|it| it.kind()), Some(ErrorKind::Corrupt));
    assert!(running.head(&name(&running, 1)).await.is_err());
}
