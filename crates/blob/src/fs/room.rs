//! Deletions where the disk is full: they are what makes room, so that they must not want any.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use tenantry_core::{Service, TenantId};

use super::disk::{AtStep, Step};
use super::scene::{
    FOLDER, PUT_STEPS, Scene, blobs_in, bytes_of, clock, fails_at, files_in, folder_of_child, name,
    open_in, put,
};
use super::*;
use crate::retention::{HoldTag, Retention};
use crate::store::{BlobStore, PutOptions, TenantBlobs};
use crate::sweep::{SweepPolicy, Sweeper};

const COUNT: u64 = 70;

/// Returns how much room the files of a store take.
fn taken_by(folder: &Path) -> u64 {
    let files = files_in(folder).into_iter();
    files
        .map(|file| fs::metadata(folder.join(file)).unwrap().len())
        .sum()
}

/// A disk of this size, as the journal sees it.
fn on_a_disk_of(size: Arc<AtomicU64>, folder: PathBuf) -> AtStep {
    Box::new(move |step| match step {
        Step::Appended if taken_by(&folder) > size.load(Ordering::Relaxed) => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    })
}

async fn put_over(blobs: &TenantBlobs, number: u128) -> Result<()> {
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    blobs
        .put_bytes(&name(blobs, number), options, vec![7; 2_000])
        .await
        .map(drop)
}

#[tokio::test]
async fn deletions_make_room_on_a_full_disk() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    let reserve = folder.join("journal.reserve");
    let length = fs::metadata(&reserve).unwrap().len();
    // With all of the reserve to use, and with a little of it.
    for lost in [0, length - 900] {
        let size = Arc::new(AtomicU64::new(u64::MAX));
        let at_step = on_a_disk_of(Arc::clone(&size), folder.to_owned());
        let backend = open_in(folder, clock(), Some(at_step)).await.unwrap();
        let store = BlobStore::new(Arc::new(backend));
        let blobs = store.tenant(TenantId::from_u128(1).unwrap());
        for number in 0..COUNT {
            put_over(&blobs, u128::from(number) + 100).await.unwrap();
        }
        size.store(taken_by(folder) - lost, Ordering::Relaxed);
        let error = put_over(&blobs, 1_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert!(reserve.exists(), "it is for deletions alone");

        let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
        let report = sweeper.run().await.unwrap();
        assert_eq!((report.deleted, report.failed), (COUNT, 0), "{report:?}");
        assert_eq!(
            fs::metadata(&reserve).unwrap().len(),
            length,
            "it is kept again"
        );
        scene.assert_tidy().await;
        put_over(&blobs, 1_000).await.unwrap();
        blobs.delete(&name(&blobs, 1_000)).await.unwrap();
    }
}

/// Both come to the disk together; the put alone is refused.
#[tokio::test]
async fn a_put_that_has_no_room_does_not_hold_up_a_deletion() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    let size = Arc::new(AtomicU64::new(u64::MAX));
    let at_step = on_a_disk_of(Arc::clone(&size), folder.to_owned());
    let blobs = scene.blobs_with(at_step).await;
    for number in 10..14 {
        put_over(&blobs, number).await.unwrap();
    }
    // Room for the bytes that come and for nothing of their record.
    size.store(taken_by(folder) + 2_100, Ordering::Relaxed);
    let lock = Disk::new(folder.to_owned()).lock().unwrap();
    let deleting = [10, 11].map(|number| {
        let (blobs, name) = (blobs.clone(), name(&blobs, number));
        tokio::spawn(async move { blobs.delete(&name).await })
    });
    let putting = tokio::spawn({
        let blobs = blobs.clone();
        async move { put_over(&blobs, 20).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(lock);
    for deleted in deleting {
        deleted.await.unwrap().unwrap();
    }
    if let Err(error) = putting.await.unwrap() {
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
    }
    put_over(&blobs, 21).await.unwrap();
    scene.assert_tidy().await;
}

/// Or the next deletion would find none, for good.
#[tokio::test]
async fn nothing_is_put_while_no_room_is_kept_for_what_is_urgent() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    let reserve = folder.join("journal.reserve");
    let blobs = scene.blobs(1).await;
    for number in [10, 11] {
        put_over(&blobs, number).await.unwrap();
    }
    // Given up by another process, which has died.
    fs::remove_file(&reserve).unwrap();
    put_over(&blobs, 12).await.unwrap();
    assert!(reserve.is_file(), "it is kept again");
    // As where there is no room for it.
    fs::remove_file(&reserve).unwrap();
    fs::create_dir(&reserve).unwrap();
    put_over(&blobs, 13).await.unwrap_err();
    let tag = HoldTag::new("case17").unwrap();
    let held = name(&blobs, 10);
    let hold = || blobs.place_hold(&held, &tag, "they sue");
    hold().await.unwrap_err();
    blobs.delete(&name(&blobs, 11)).await.unwrap();
    fs::remove_dir(&reserve).unwrap();
    hold().await.unwrap();
    put_over(&blobs, 13).await.unwrap();
    assert!(reserve.is_file());
    scene.assert_tidy().await;
}

/// What keeps a blob is recorded, or a deletion that has room would come before it.
#[tokio::test]
async fn a_hold_is_placed_on_a_full_disk() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    let size = Arc::new(AtomicU64::new(u64::MAX));
    let at_step = on_a_disk_of(Arc::clone(&size), folder.to_owned());
    let blobs = scene.blobs_with(at_step).await;
    put_over(&blobs, 10).await.unwrap();
    size.store(taken_by(folder), Ordering::Relaxed);
    let (held, tag) = (name(&blobs, 10), HoldTag::new("case17").unwrap());
    blobs.place_hold(&held, &tag, "they sue").await.unwrap();
    let error = blobs.delete(&held).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retained, "{error:?}");
}

/// They come to the disk together, the hold before the deletions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_has_no_room_does_not_hold_up_deletions_behind_it() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    let reserve = folder.join("journal.reserve");
    let length = fs::metadata(&reserve).unwrap().len();
    let size = Arc::new(AtomicU64::new(u64::MAX));
    let at_step = on_a_disk_of(Arc::clone(&size), folder.to_owned());
    let blobs = scene.blobs_with(at_step).await;
    for number in 10..15 {
        put_over(&blobs, number).await.unwrap();
    }
    // With the half that acts leave to deletions, all of it is taken.
    size.store(taken_by(folder) - length / 2, Ordering::Relaxed);
    let lock = Disk::new(folder.to_owned()).lock().unwrap();
    let mut tasks = Vec::new();
    // The first may make a batch of its own.
    for number in [14, 10, 11, 12, 13] {
        let (blobs, name) = (blobs.clone(), name(&blobs, number));
        tasks.push(tokio::spawn(async move {
            let tag = HoldTag::new("case17").unwrap();
            match number {
                14 => blobs.set_tier(&name, Tier::Cool).await.map(drop),
                10 => blobs.place_hold(&name, &tag, "they sue").await.map(drop),
                _ => blobs.delete(&name).await,
            }
        }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(lock);
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap().map_err(|error| error.kind()));
    }
    assert_eq!(answers[0], Err(ErrorKind::StorageFull));
    assert_eq!(answers[2..], [Ok(()); 3], "{answers:?}");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), length);
}

#[cfg(unix)]
#[tokio::test]
async fn a_copy_of_the_reserve_that_takes_no_room_is_none() {
    use std::os::unix::fs::MetadataExt as _;

    let scene = Scene::new().await;
    let reserve = scene.folder.path().join("journal.reserve");
    let length = fs::metadata(&reserve).unwrap().len();
    let blocks = || fs::metadata(&reserve).unwrap().blocks();
    let file = fs::File::create(&reserve).unwrap();
    file.set_len(length).unwrap();
    assert_eq!(blocks(), 0);
    scene.blobs(1).await;
    assert!(blocks() * 512 >= length);
}

#[tokio::test]
async fn a_full_disk_at_any_step_of_a_put_leaves_nothing() {
    for failing in &PUT_STEPS[..6] {
        let scene = Scene::new().await;
        let before = fs::read(scene.journal()).unwrap();
        let full = scene
            .blobs_with(fails_at(*failing, io::ErrorKind::StorageFull))
            .await;
        let error = put(&full, 2, "new").await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::StorageFull,
            "{failing:?}: {error:?}"
        );
        assert!(error.subject().contains("/exports/"), "it names the blob");
        assert_eq!(fs::read(scene.journal()).unwrap(), before, "{failing:?}");
        assert_eq!(bytes_of(&full, 2).await, None, "{failing:?}");
        assert_eq!(bytes_of(&full, 1).await.unwrap(), "old", "{failing:?}");
        // With room it goes on where it is.
        let roomy = scene.blobs(1).await;
        put(&roomy, 2, "new").await.unwrap();
        assert_eq!(bytes_of(&full, 2).await.unwrap(), "new", "{failing:?}");
        scene.assert_tidy().await;
    }
}

/// They take room that a deletion needs for its record, and nobody else would ever remove them.
#[tokio::test]
async fn a_put_that_fails_leaves_no_folders() {
    for failing in &PUT_STEPS[..6] {
        let scene = Scene::new().await;
        let at_step = fails_at(*failing, io::ErrorKind::StorageFull);
        let backend = open_in(scene.folder.path(), clock(), Some(at_step)).await;
        let store = BlobStore::new(Arc::new(backend.unwrap()));
        let blobs = store.tenant(TenantId::from_u128(3).unwrap());
        put(&blobs, 1, "new").await.unwrap_err();
        let of_tenant = scene
            .folder
            .path()
            .join("blobs")
            .join(blobs.tenant().to_string());
        // Bytes whose put has failed go when there is time.
        for _ in 0..100 {
            if !of_tenant.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!of_tenant.exists(), "{failing:?}");
        let old = scene.blobs(1).await;
        assert_eq!(bytes_of(&old, 1).await.unwrap(), "old", "{failing:?}");
        put(&scene.blobs(3).await, 1, "new").await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_made_for_a_put_while_the_room_for_deletions_is_given_up() {
    let scene = Scene::new().await;
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let at_step: AtStep = Box::new(move |step| {
        if step == Step::Created {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    let blobs = scene.blobs_with(at_step).await;
    let reserve = scene.folder.path().join("journal.reserve");
    fs::remove_file(&reserve).unwrap();
    // As where there is no room for it.
    fs::create_dir(&reserve).unwrap();
    put_over(&blobs, 2).await.unwrap_err();
    assert_eq!(made.load(Ordering::Relaxed), 0);
    fs::remove_dir(&reserve).unwrap();
    put_over(&blobs, 2).await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

/// A limit on the length of files is what a shell can set; the disk answers alike when it is full.
#[cfg(unix)]
#[tokio::test]
async fn a_put_that_does_not_fit_leaves_nothing() {
    let scene = Scene::new().await;
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 3000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "fs::room::child_puts_more_than_fits",
            "--ignored",
        ])
        .env(FOLDER, scene.folder.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    scene.assert_tidy().await;
}

#[tokio::test]
#[ignore = "the child of a_put_that_does_not_fit_leaves_nothing"]
async fn child_puts_more_than_fits() {
    let blobs = blobs_in(&folder_of_child(), 1, None).await.unwrap();
    let options = || PutOptions::new(Service::Reporting, Retention::days(7));
    let long = blobs
        .put_bytes(&name(&blobs, 2), options(), vec![7; 4 * BLOCK])
        .await;
    let error = long.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert!(
        files_in(&folder_of_child().join("incoming")).is_empty(),
        "its room is free again"
    );
    let short = blobs
        .put_bytes(&name(&blobs, 2), options(), vec![7; BLOCK])
        .await;
    assert_eq!(short.unwrap().record.length, BLOCK as u64);
}
