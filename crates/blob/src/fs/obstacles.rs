//! What stands in the way of bytes: it closes the store to nobody, and nothing is told as done that is not.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tenantry_core::Service;

use super::disk::{AtStep, Step};
use super::scene::{Scene, bytes_of, files_in, name, put};
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
    // Nor is it by another process, which finds nothing to erase.
    for report in [
        report,
        scene.blobs(3).await.erase("they left").await.unwrap(),
    ] {
        let left: Vec<_> = report.failed.iter().map(|(name, _)| name).collect();
        assert_eq!(
            (left, report.is_complete()),
            (vec![&name], false),
            "{report}"
        );
    }
    let other = scene.blobs(4).await;
    put_over(&other, 2).await;
    assert!(other.erase("they left").await.unwrap().is_complete());
    // The shorter journal tells of it as well, also to whoever opens the store anew.
    drop(blobs);
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "over").unwrap();
    let anew = scene.blobs(3).await;
    put_over(&anew, 4).await;
    assert!(!place.exists());
    assert!(anew.erase("they left").await.unwrap().is_complete());
}

/// What is to be removed is the blob that was deleted, and not the one that has its name now.
#[tokio::test]
async fn a_blob_that_takes_the_name_of_one_whose_bytes_stayed_keeps_its_own() {
    let scene = Scene::new().await;
    let is_failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&is_failing);
    let at_step: AtStep = Box::new(move |step| match step {
        Step::Unlinked if fails.load(Ordering::Relaxed) => Err(io::ErrorKind::Other.into()),
        _ => Ok(()),
    });
    let blobs = scene.blobs_with(at_step).await;
    let name = put_over(&blobs, 2).await;
    blobs.delete(&name).await.unwrap();
    put_over(&blobs, 2).await;
    is_failing.store(false, Ordering::Relaxed);
    for number in 4..8 {
        put(&blobs, number, "later").await.unwrap();
    }
    for blobs in [&blobs, &scene.blobs(1).await] {
        assert_eq!(blobs.get(&name).await.unwrap().bytes, "over");
    }
    scene.assert_tidy().await;
}

/// No record tells whose they are, so that they are the tenant's who leaves.
#[tokio::test]
async fn an_erasure_removes_bytes_of_puts_that_died() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(3).await;
    let incoming = scene.folder.path().join("incoming");
    let [died, lives] = [1, 2].map(|number| incoming.join(Uuid::from_u128(number).to_string()));
    fs::write(&died, "half of it").unwrap();
    let file = fs::File::create(&lives).unwrap();
    file.lock().unwrap();
    assert!(blobs.erase("they left").await.unwrap().is_complete());
    assert!(!died.exists() && lives.exists());
    drop(file);
    fs::remove_file(&lives).unwrap();
    scene.assert_tidy().await;
}

/// They tell who was a tenant, and in which months it had what kinds of files.
#[tokio::test]
async fn an_erased_tenant_leaves_no_folder() {
    let scene = Scene::new().await;
    let [leaving, kept] = [3, 1].map(|tenant| scene.blobs(tenant));
    let (leaving, kept) = (leaving.await, kept.await);
    let swept = put_over(&leaving, 2).await;
    leaving.delete(&swept).await.unwrap();
    put_over(&leaving, 4).await;
    let of = |blobs: &TenantBlobs| {
        let tenant = blobs.tenant().to_string();
        scene.folder.path().join("blobs").join(tenant)
    };
    assert!(of(&leaving).is_dir());
    for _ in 0..2 {
        assert!(leaving.erase("they left").await.unwrap().is_complete());
        assert!(!of(&leaving).exists());
        // Nor does one that had swept all of it.
        let swept = put_over(&leaving, 6).await;
        leaving.delete(&swept).await.unwrap();
    }
    // What is locked is where it was.
    assert!(!kept.erase("they left").await.unwrap().is_complete());
    assert_eq!(bytes_of(&kept, 1).await.unwrap(), "old");
}

#[tokio::test]
async fn the_last_blob_of_a_month_that_is_over_leaves_no_folder() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(3).await;
    let now = put_over(&blobs, 2).await;
    let kind = crate::BlobKind::new("exports").unwrap();
    let before = "2025-12-01T00:00:00Z".parse().unwrap();
    let id = crate::BlobId::new(Uuid::from_u128(3));
    let old = BlobName::new(blobs.tenant(), &kind, before, id).unwrap();
    blobs.put_bytes(&old, over(), "over").await.unwrap();
    for name in [&now, &old] {
        blobs.delete(name).await.unwrap();
    }
    let folder = |name| scene.place(name).parent().unwrap().to_owned();
    assert!(folder(&now).is_dir(), "more comes this month");
    assert!(!folder(&old).parent().unwrap().exists());
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_keeps_nobody_waiting() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    put(&blobs, 2, "two").await.unwrap();
    put(&blobs, 3, "three").await.unwrap();
    let [pipe, device] = [2, 3].map(|number| scene.place(&name(&blobs, number)));
    let incoming = scene.folder.path().join("incoming/pipe");
    fs::remove_file(&pipe).unwrap();
    for path in [&pipe, &incoming] {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }
    fs::remove_file(&device).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
    for blobs in [&blobs, &scene.blobs(1).await] {
        for number in [2, 3] {
            let error = blobs.get(&name(blobs, number)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        }
        assert_eq!(bytes_of(blobs, 1).await.unwrap(), "old");
    }
}

/// It is in the way of one tenant, and of no journal that is to be made shorter.
#[tokio::test]
async fn a_file_in_the_place_of_a_folder_keeps_no_erasure_from_its_end() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(3).await;
    let name = put_over(&blobs, 2).await;
    let place = scene.place(&name);
    let folder = place.parent().unwrap();
    fs::remove_dir_all(folder).unwrap();
    fs::write(folder, "something else").unwrap();
    let other = scene.blobs(4).await;
    put_over(&other, 2).await;
    for blobs in [&other, &blobs] {
        assert!(blobs.erase("they left").await.unwrap().is_complete());
    }
}

/// A cleaner of empty files may do so at any time.
#[cfg(unix)]
#[tokio::test]
async fn a_lock_whose_file_was_removed_is_still_one() {
    let scene = Scene::new().await;
    let [first, mut second] = [(); 2].map(|()| Disk::new(scene.folder.path().to_owned()));
    second.patience = Duration::from_millis(50);
    let lock = first.lock().unwrap();
    let path = scene.folder.path().join("journal.lock");
    fs::remove_file(&path).unwrap();
    let refused = second.lock().err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Locked));
    drop(lock);
    second.lock().unwrap();
    assert!(path.exists());
}
