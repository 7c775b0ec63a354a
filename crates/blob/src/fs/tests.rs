//! What can be seen from the inside alone: steps of a change, crashes, two processes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tenantry_core::{Clock as _, ManualClock, Service, TenantId};
use uuid::Uuid;

use super::disk::{AtStep, Step, options_of_owner};
use super::*;
use crate::name::{BlobId, BlobKind};
use crate::retention::{HoldTag, Retention};
use crate::store::{BlobStore, ListOptions, PutOptions, TenantBlobs};

/// Where a child process works, and the step at which it dies.
const FOLDER: &str = "TENANTRY_TEST_BLOBS";
const DIE_AT: &str = "TENANTRY_TEST_DIE_AT";
const CHILDREN: usize = 2;
const PUTS: usize = 40;

const PUT_STEPS: [Step; 7] = [
    Step::Staged,
    Step::Written,
    Step::Sealed,
    Step::Listed,
    Step::Appended,
    Step::Recorded,
    Step::Placed,
];

/// A folder with one blob of each of two tenants.
pub(super) struct Scene {
    pub(super) folder: TempDir,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for tenant in [1, 2] {
            put(&scene.blobs(tenant).await, 1, "old").await.unwrap();
        }
        scene
    }

    pub(super) async fn blobs(&self, tenant: u128) -> TenantBlobs {
        blobs_in(self.folder.path(), tenant, None).await.unwrap()
    }

    pub(super) async fn blobs_with(&self, at_step: AtStep) -> TenantBlobs {
        blobs_in(self.folder.path(), 1, Some(at_step))
            .await
            .unwrap()
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// Checks that there is no file that no blob has, and none missing.
    pub(super) async fn assert_tidy(&self) {
        let mut expected = BTreeSet::new();
        for tenant in [1, 2] {
            let page = self
                .blobs(tenant)
                .await
                .list(ListOptions::new().with_limit(5_000))
                .await;
            for record in page.unwrap().records {
                expected.insert(Path::new("blobs").join(record.name.as_str()));
            }
        }
        let others = ["journal", "journal.lock"].map(PathBuf::from);
        expected.extend(others);
        assert_eq!(files_in(self.folder.path()), expected);
    }
}

pub(super) fn files_in(root: &Path) -> BTreeSet<PathBuf> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    files
}

/// Whether a file is what was cut off from a journal.
pub(super) fn is_cut(file: &Path) -> bool {
    let name = file.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with("journal.cut-"))
}

fn clock() -> ManualClock {
    ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap())
}

async fn open_in(folder: &Path, clock: ManualClock, at_step: Option<AtStep>) -> Result<FsBlobs> {
    let mut disk = Disk::new(folder.to_owned());
    disk.at_step = at_step;
    let settings = FsSettings::new(folder).with_clock(Arc::new(clock));
    FsBlobs::open_on(disk, settings).await
}

async fn blobs_in(folder: &Path, tenant: u128, at_step: Option<AtStep>) -> Result<TenantBlobs> {
    let backend = open_in(folder, clock(), at_step).await?;
    Ok(BlobStore::new(Arc::new(backend)).tenant(TenantId::from_u128(tenant).unwrap()))
}

pub(super) fn name(blobs: &TenantBlobs, number: u128) -> BlobName {
    let kind = BlobKind::new("exports").unwrap();
    blobs
        .name_of(&kind, BlobId::new(Uuid::from_u128(number)))
        .unwrap()
}

pub(super) async fn put(blobs: &TenantBlobs, number: u128, bytes: &'static str) -> Result<()> {
    let options = PutOptions::new(Service::Reporting, Retention::days(7).locked());
    let put = blobs
        .put_bytes(&name(blobs, number), options, bytes)
        .await?;
    assert!(put.receipt.is_some());
    Ok(())
}

pub(super) async fn bytes_of(blobs: &TenantBlobs, number: u128) -> Option<Bytes> {
    match blobs.get(&name(blobs, number)).await {
        Ok(read) => {
            assert!(
                read.record.retention.lock.is_some(),
                "it is kept from the first moment on"
            );
            Some(read.bytes)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
            None
        }
    }
}

/// Runs a test of this program in a process of its own.
fn child(test: &str, folder: &Path, die_at: impl AsRef<OsStr>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(DIE_AT, die_at)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn folder_of_child() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

fn fails_at(failing: Step, kind: io::ErrorKind) -> AtStep {
    Box::new(move |step| match step == failing {
        true => Err(kind.into()),
        false => Ok(()),
    })
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
            "fs::tests::child_puts_more_than_fits",
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

#[tokio::test]
async fn bytes_that_cannot_be_moved_into_place_are_by_the_next_who_opens() {
    let scene = Scene::new().await;
    let failing = AtomicBool::new(true);
    let at_step: AtStep = Box::new(move |step| match step {
        Step::Placed if failing.swap(false, Ordering::Relaxed) => Err(io::Error::other("once")),
        _ => Ok(()),
    });
    put(&scene.blobs_with(at_step).await, 2, "new")
        .await
        .unwrap();
    assert_eq!(bytes_of(&scene.blobs(1).await, 2).await.unwrap(), "new");
    scene.assert_tidy().await;
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_put_leaves_all_of_it_or_nothing() {
    for step in PUT_STEPS {
        let scene = Scene::new().await;
        // One that has it open all the time, and one that opens it afterwards.
        let witness = scene.blobs(1).await;
        let mut process = child(
            "fs::tests::child_dies_in_a_put",
            scene.folder.path(),
            format!("{step:?}"),
        );
        assert!(!process.wait().unwrap().success(), "{step:?}: it has died");
        // What stands in the journal has happened, synced or not: the process died, not the machine.
        let has_happened = matches!(step, Step::Appended | Step::Recorded | Step::Placed);
        let expected = has_happened.then(|| Bytes::from("new"));
        assert_eq!(bytes_of(&witness, 2).await, expected, "{step:?}");
        let after = scene.blobs(1).await;
        assert_eq!(bytes_of(&after, 2).await, expected, "{step:?}");
        assert_eq!(bytes_of(&after, 1).await.unwrap(), "old", "{step:?}");
        if has_happened {
            let error = put(&after, 2, "again").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{step:?}");
        } else {
            put(&after, 2, "again").await.unwrap();
        }
        scene.assert_tidy().await;
    }
}

#[tokio::test]
#[ignore = "the child of a_crash_at_any_step_of_a_put_leaves_all_of_it_or_nothing"]
async fn child_dies_in_a_put() {
    let last = std::env::var_os(DIE_AT).unwrap();
    let at_step: AtStep = Box::new(move |step| {
        if OsStr::new(&format!("{step:?}")) == last {
            std::process::abort();
        }
        Ok(())
    });
    let blobs = blobs_in(&folder_of_child(), 1, Some(at_step))
        .await
        .unwrap();
    put(&blobs, 2, "new").await.unwrap();
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_deletion_deletes_all_of_it_or_nothing() {
    for step in [Step::Appended, Step::Recorded, Step::Unlinked] {
        let scene = Scene::new().await;
        let witness = scene.blobs(1).await;
        let options = PutOptions::new(Service::Reporting, Retention::days(0));
        let over = name(&witness, 3);
        witness
            .put_bytes(&over, options.clone(), "over")
            .await
            .unwrap();
        let mut process = child(
            "fs::tests::child_dies_in_a_deletion",
            scene.folder.path(),
            format!("{step:?}"),
        );
        assert!(!process.wait().unwrap().success(), "{step:?}: it has died");
        for blobs in [&witness, &scene.blobs(1).await] {
            let error = blobs.get(&over).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{step:?}");
        }
        scene.assert_tidy().await;
        witness.put_bytes(&over, options, "anew").await.unwrap();
        assert_eq!(scene.blobs(1).await.get(&over).await.unwrap().bytes, "anew");
        scene.assert_tidy().await;
    }
}

#[tokio::test]
#[ignore = "the child of a_crash_at_any_step_of_a_deletion_deletes_all_of_it_or_nothing"]
async fn child_dies_in_a_deletion() {
    let last = std::env::var_os(DIE_AT).unwrap();
    let at_step: AtStep = Box::new(move |step| {
        if OsStr::new(&format!("{step:?}")) == last {
            std::process::abort();
        }
        Ok(())
    });
    let blobs = blobs_in(&folder_of_child(), 1, Some(at_step))
        .await
        .unwrap();
    blobs.delete(&name(&blobs, 3)).await.unwrap();
}

#[tokio::test]
async fn a_frame_that_was_half_written_is_cut_off_and_one_in_the_midst_is_damage() {
    let scene = Scene::new().await;
    let whole = fs::read(scene.journal()).unwrap();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let longer = fs::read(scene.journal()).unwrap();
    for length in (whole.len()..longer.len()).step_by(13) {
        fs::write(scene.journal(), &longer[..length]).unwrap();
        let known = open_in(scene.folder.path(), clock(), None).await.unwrap();
        drop(known);
        assert_eq!(fs::read(scene.journal()).unwrap(), whole, "cut at {length}");
    }
    // A loss of power may leave anything where a frame was to be.
    for at in (whole.len()..longer.len()).step_by(13) {
        let mut torn = longer.clone();
        torn[at] ^= 0x20;
        fs::write(scene.journal(), &torn).unwrap();
        open_in(scene.folder.path(), clock(), None).await.unwrap();
        assert_eq!(fs::read(scene.journal()).unwrap(), whole, "torn at {at}");
    }
    for at in (18..whole.len()).step_by(13) {
        let mut damaged = longer.clone();
        damaged[at] ^= 0x20;
        fs::write(scene.journal(), &damaged).unwrap();
        let error = open_in(scene.folder.path(), clock(), None)
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "damaged at {at}: {error:?}"
        );
        assert_eq!(
            fs::read(scene.journal()).unwrap(),
            damaged,
            "nothing is lost by looking"
        );
    }
}

/// A crash and a disk that alters the last frame leave the same: who looks later can tell them apart.
#[tokio::test]
async fn what_is_cut_off_from_a_journal_is_kept_beside_it() {
    let scene = Scene::new().await;
    let whole = fs::read(scene.journal()).unwrap();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let longer = fs::read(scene.journal()).unwrap();
    let kept = |folder: &Path| -> Vec<_> {
        let files = files_in(folder).into_iter().filter(|file| is_cut(file));
        files
            .map(|file| fs::read(folder.join(file)).unwrap())
            .collect()
    };
    assert!(kept(scene.folder.path()).is_empty());
    let mut expected = Vec::new();
    for at in (whole.len()..longer.len()).step_by(29) {
        let mut altered = longer.clone();
        altered[at] ^= 0x10;
        fs::write(scene.journal(), &altered).unwrap();
        let blobs = scene.blobs(1).await;
        assert_eq!(bytes_of(&blobs, 2).await, None, "altered at {at}");
        assert_eq!(bytes_of(&blobs, 1).await.unwrap(), "old");
        assert_eq!(fs::read(scene.journal()).unwrap(), whole, "altered at {at}");
        expected.push(altered[whole.len()..].to_vec());
        assert_eq!(kept(scene.folder.path()), expected, "altered at {at}");
    }
    // One that has the store open follows; with the byte set right, all of it is there again.
    let witness = scene.blobs(1).await;
    fs::write(scene.journal(), &longer).unwrap();
    for blobs in [witness, scene.blobs(1).await] {
        assert_eq!(bytes_of(&blobs, 2).await.unwrap(), "new");
    }
    assert_eq!(kept(scene.folder.path()), expected, "nothing was cut off");
}

/// A crash on a full disk is the usual one, and only deletions make room.
#[tokio::test]
async fn a_journal_that_is_cut_off_on_a_full_disk_does_not_close_the_store() {
    let scene = Scene::new().await;
    let mut journal = options_of_owner()
        .append(true)
        .open(scene.journal())
        .unwrap();
    journal.write_all(b"\xf1TBJ half a frame").unwrap();
    let full = fails_at(Step::Cutting, io::ErrorKind::StorageFull);
    let blobs = scene.blobs_with(full).await;
    assert_eq!(bytes_of(&blobs, 1).await.as_deref(), Some(&b"old"[..]));
    assert!(
        !files_in(scene.folder.path())
            .iter()
            .any(|file| is_cut(file))
    );
    journal.write_all(b"\xf1TBJ half a frame").unwrap();
    let broken = fails_at(Step::Cutting, io::ErrorKind::PermissionDenied);
    let error = blobs_in(scene.folder.path(), 1, Some(broken)).await;
    assert!(error.is_err(), "for another reason nothing is thrown away");
    scene.blobs(1).await;
    let files = files_in(scene.folder.path());
    assert_eq!(files.iter().filter(|file| is_cut(file)).count(), 1);
}

#[tokio::test]
async fn a_file_that_was_altered_cut_or_lost_is_corrupt() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let place = scene
        .folder
        .path()
        .join("blobs")
        .join(name(&blobs, 1).as_str());
    let whole = fs::read(&place).unwrap();
    let read = async || blobs.get(&name(&blobs, 1)).await.map(|read| read.bytes);
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&place, &altered).unwrap();
        assert_eq!(
            read().await.unwrap_err().kind(),
            ErrorKind::Corrupt,
            "altered at {at}"
        );
        fs::write(&place, &whole[..at]).unwrap();
        assert_eq!(
            read().await.unwrap_err().kind(),
            ErrorKind::Corrupt,
            "cut at {at}"
        );
    }
    let mut longer = fs::File::options().append(true).open(&place).unwrap();
    longer.write_all(&whole).unwrap();
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::Corrupt);
    fs::remove_file(&place).unwrap();
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::Corrupt);
    fs::write(&place, &whole).unwrap();
    assert_eq!(read().await.unwrap(), "old");
}

/// Each file is whole, so that its own checksums tell nothing.
#[tokio::test]
async fn no_part_of_a_file_in_the_place_of_another_is_given_out() {
    let scene = Scene::new().await;
    let (mine, theirs) = (scene.blobs(1).await, scene.blobs(2).await);
    let place = |name: &BlobName| scene.folder.path().join("blobs").join(name.as_str());
    let [a, b] = [name(&mine, 1), name(&theirs, 1)];
    // Of the same length; and of the same bytes.
    put(&theirs, 2, "new").await.unwrap();
    for foreign in [name(&theirs, 2), b.clone()] {
        let own = fs::read(place(&a)).unwrap();
        fs::copy(place(&foreign), place(&a)).unwrap();
        for read in [
            mine.get(&a).await.map(|read| read.bytes),
            mine.range(&a, 0..2).await,
            mine.range(&a, 3..3).await,
        ] {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{foreign}: {error:?}");
        }
        fs::write(place(&a), own).unwrap();
        assert_eq!(mine.range(&a, 1..3).await.unwrap(), "ld");
    }
    // One's own of before, under the same name.
    let own = fs::read(place(&a)).unwrap();
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let again = name(&mine, 3);
    mine.put_bytes(&again, options.clone(), "one")
        .await
        .unwrap();
    let before = fs::read(place(&again)).unwrap();
    mine.delete(&again).await.unwrap();
    mine.put_bytes(&again, options, "two").await.unwrap();
    fs::write(place(&again), before).unwrap();
    let error = mine.range(&again, 0..1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(fs::read(place(&a)).unwrap(), own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_blob() {
    let scene = Scene::new().await;
    let children: Vec<_> = (0..CHILDREN)
        .map(|number| {
            child(
                "fs::tests::child_puts_blobs",
                scene.folder.path(),
                number.to_string(),
            )
        })
        .collect();
    // A third that only reads sees no half blob.
    let reader = scene.blobs(1).await;
    let total = CHILDREN * PUTS + 1;
    let mut seen = 0;
    for mut process in children {
        while process.try_wait().unwrap().is_none() {
            let page = reader
                .list(ListOptions::new().with_limit(5_000))
                .await
                .unwrap();
            assert!((seen..=total).contains(&page.records.len()), "{seen}");
            seen = page.records.len();
            if let Some(record) = page.records.last() {
                reader.get(&record.name).await.unwrap();
            }
        }
        assert!(process.wait().unwrap().success());
    }
    let page = reader
        .list(ListOptions::new().with_limit(5_000))
        .await
        .unwrap();
    assert_eq!(page.records.len(), total);
    scene.assert_tidy().await;
}

#[tokio::test]
#[ignore = "the child of two_processes_lose_no_blob"]
async fn child_puts_blobs() {
    let child: u128 = std::env::var_os(DIE_AT)
        .unwrap()
        .into_string()
        .unwrap()
        .parse()
        .unwrap();
    let blobs = blobs_in(&folder_of_child(), 1, None).await.unwrap();
    for number in 0..PUTS as u128 {
        put(&blobs, 1_000 * (child + 1) + number, "new")
            .await
            .unwrap();
    }
}

/// Whoever leads must not wait for a thread that waits for it.
#[test]
fn one_thread_for_the_disk_is_enough() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let scene = Scene::new().await;
        let (one, two) = (scene.blobs(1).await, scene.blobs(1).await);
        let tasks = (0..40).map(|number| {
            let blobs = if number % 2 == 0 {
                one.clone()
            } else {
                two.clone()
            };
            tokio::spawn(async move {
                put(&blobs, 100 + number, "new").await.unwrap();
                assert_eq!(bytes_of(&blobs, 100 + number).await.unwrap(), "new");
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        scene.assert_tidy().await;
    });
}

#[tokio::test]
async fn a_change_in_a_runtime_that_has_shut_down_is_told_so() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let (other, old) = (blobs.clone(), name(&blobs, 1));
    let told = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _inside = handle.enter();
        futures_util::FutureExt::now_or_never(other.set_tier(&old, Tier::Cool)).unwrap()
    });
    let error = told.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown);
    // Whoever comes next leads.
    put(&blobs, 2, "new").await.unwrap();
    scene.assert_tidy().await;
}

#[tokio::test]
async fn what_is_still_coming_in_is_not_removed_by_another_who_opens() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let (send, mut come) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let body = stream::poll_fn(move |context| come.poll_recv(context)).map(Ok::<_, io::Error>);
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    let coming = name(&blobs, 9);
    let putting = tokio::spawn({
        let (blobs, coming) = (blobs.clone(), coming.clone());
        async move { blobs.put(&coming, options, body).await }
    });
    send.send(Bytes::from(vec![7; BLOCK])).unwrap();
    while files_in(&scene.folder.path().join("incoming")).is_empty() {
        tokio::task::yield_now().await;
    }
    scene.blobs(2).await;
    assert_eq!(files_in(&scene.folder.path().join("incoming")).len(), 1);
    drop(send);
    putting.await.unwrap().unwrap();
    assert_eq!(blobs.get(&coming).await.unwrap().bytes.len(), BLOCK);
    // One whose process has ended is.
    let left = scene
        .folder
        .path()
        .join("incoming")
        .join(Uuid::nil().to_string());
    drop(options_of_owner().create_new(true).open(&left).unwrap());
    scene.assert_tidy().await;
}

/// As another does who opens the store in the moment between the making of the file and its lock; a storm of
/// processes has found it.
#[tokio::test]
async fn a_file_that_is_removed_before_it_is_locked_is_made_again() {
    let scene = Scene::new().await;
    let (incoming, is_first) = (scene.folder.path().join("incoming"), AtomicBool::new(true));
    let at_step: AtStep = Box::new(move |step| {
        if step == Step::Created && is_first.swap(false, Ordering::Relaxed) {
            for file in files_in(&incoming) {
                fs::remove_file(incoming.join(file))?;
            }
        }
        Ok(())
    });
    let blobs = scene.blobs_with(at_step).await;
    put(&blobs, 2, "new").await.unwrap();
    assert_eq!(bytes_of(&blobs, 2).await.unwrap(), "new");
    scene.assert_tidy().await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_while_the_store_was_closed_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let right = clock();
    let tenant = TenantId::from_u128(1).unwrap();
    let open = async |clock: &ManualClock| {
        let backend = open_in(folder.path(), clock.clone(), None).await.unwrap();
        BlobStore::new(Arc::new(backend)).tenant(tenant)
    };
    let blobs = open(&right).await;
    let options = PutOptions::new(Service::Reporting, Retention::days(9));
    let kept = name(&blobs, 1);
    blobs
        .put_bytes(&kept, options.clone(), "kept")
        .await
        .unwrap();
    drop(blobs);
    // Ahead by mistake, and something is written; then set right.
    let ahead = ManualClock::new(right.now() + TimeDelta::days(10));
    let other = open(&ahead).await;
    other
        .put_bytes(&name(&other, 2), options, "new")
        .await
        .unwrap();
    let blobs = open(&right).await;
    assert_eq!(
        blobs.delete(&kept).await.unwrap_err().kind(),
        ErrorKind::Retained
    );
    let early = blobs.delete_early(&kept, "a whim").await;
    assert_eq!(early.unwrap_err().kind(), ErrorKind::Retained);
}

#[tokio::test]
async fn any_end_that_there_is_is_read_again() {
    let ends = [
        DateTime::<Utc>::MIN_UTC,
        "-0001-01-01T00:00:00Z".parse().unwrap(),
        "2027-06-30T23:59:60Z".parse().unwrap(),
        "+12345-01-01T00:00:00.000000001Z".parse().unwrap(),
        DateTime::<Utc>::MAX_UTC,
    ];
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    for (number, end) in (10..).zip(ends) {
        let options = PutOptions::new(Service::Reporting, Retention::until(end));
        let put = blobs.put_bytes(&name(&blobs, number), options, "x").await;
        let again = scene.blobs(1).await.head(&name(&blobs, number)).await;
        assert_eq!(again.unwrap(), put.unwrap().record);
        let why = blobs.why_retained(&name(&blobs, number)).await.unwrap();
        assert!(why.to_string().contains("it may be deleted"), "{why}");
    }
}

/// One sweeps what the other places holds on, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_holds_is_not_swept() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = async || {
        let backend = open_in(folder.path(), clock.clone(), None).await.unwrap();
        BlobStore::new(Arc::new(backend))
    };
    let (one, two) = (open().await, open().await);
    let tenant = TenantId::from_u128(1).unwrap();
    let (blobs, tag) = (two.tenant(tenant), HoldTag::new("case17").unwrap());
    let names: Vec<_> = (0..60).map(|number| name(&blobs, number)).collect();
    for name in &names {
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        blobs.put_bytes(name, options, "x").await.unwrap();
    }
    clock.advance(Duration::from_secs(2 * 86_400));
    let sweep = async |store: &BlobStore, batch| {
        let policy = crate::SweepPolicy::default().with_batch(batch);
        crate::Sweeper::new(store, policy).unwrap().run().await
    };
    let hold = async {
        let mut held = Vec::new();
        for name in names.iter().rev() {
            match blobs.place_hold(name, &tag, "they sue").await {
                Ok(_) => held.push(name),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
            }
        }
        held
    };
    let (held, first, second) = futures_util::join!(hold, sweep(&one, 7), sweep(&two, 3));
    for name in &held {
        assert_eq!(one.tenant(tenant).get(name).await.unwrap().bytes, "x");
    }
    let deleted = first.unwrap().deleted + second.unwrap().deleted;
    assert_eq!(held.len() as u64 + deleted, 60);
}

#[tokio::test]
async fn a_journal_of_what_is_over_is_compacted_and_others_follow() {
    let scene = Scene::new().await;
    let (blobs, other) = (scene.blobs(1).await, scene.blobs(1).await);
    let tag = HoldTag::new("case17").unwrap();
    let held = name(&blobs, 1);
    blobs.place_hold(&held, &tag, "they sue").await.unwrap();
    let before = blobs.head(&held).await.unwrap();
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let many: Vec<_> = (0..20_u128)
        .map(|number| name(&blobs, 1_000 + number))
        .collect();
    let mut longest = 0;
    for _ in 0..60 {
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

/// Puts and deletes until the journal is compacted, or would be.
async fn until_compacted(blobs: &TenantBlobs) {
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let many: Vec<_> = (0..20_u128)
        .map(|number| name(blobs, 1_000 + number))
        .collect();
    for _ in 0..11 {
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
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_compaction_loses_nothing() {
    for step in [Step::Compacting, Step::Compacted, Step::Replaced] {
        let scene = Scene::new().await;
        let witness = scene.blobs(1).await;
        let mut process = child(
            "fs::tests::child_dies_in_a_compaction",
            scene.folder.path(),
            format!("{step:?}"),
        );
        assert!(!process.wait().unwrap().success(), "{step:?}: it has died");
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
    let last = std::env::var_os(DIE_AT).unwrap();
    let at_step: AtStep = Box::new(move |step| {
        if OsStr::new(&format!("{step:?}")) == last {
            std::process::abort();
        }
        Ok(())
    });
    let blobs = blobs_in(&folder_of_child(), 1, Some(at_step))
        .await
        .unwrap();
    until_compacted(&blobs).await;
}

#[tokio::test]
async fn a_full_disk_at_a_compaction_leaves_the_journal_long_and_stops_nothing() {
    for failing in [Step::Compacting, Step::Compacted] {
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

#[tokio::test]
async fn another_file_in_the_place_of_a_journal_is_refused() {
    for (content, kind) in [
        ("", ErrorKind::Corrupt),
        ("something else entirely", ErrorKind::Corrupt),
        ("tenantry-blobs 2\r\n", ErrorKind::SchemaMismatch),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("journal"), content).unwrap();
        let error = open_in(folder.path(), clock(), None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{content:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open_in(&file, clock(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
}
