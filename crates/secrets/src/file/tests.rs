//! What can be seen from the inside alone: steps of a write, crashes, two processes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;
use tenantry_core::ManualClock;

use super::disk::{AtStep, Step};
use super::*;

const STEPS: [Step; 4] = [Step::Created, Step::Written, Step::Synced, Step::Renamed];
/// Where a child process works, and the step at which it dies.
const FOLDER: &str = "TENANTRY_TEST_VAULT";
const DIE_AT: &str = "TENANTRY_TEST_DIE_AT";
const CHILDREN: usize = 2;
const PUTS: usize = 40;

/// A folder with a key, and a vault of one secret with one version.
struct Scene {
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        FileVault::create_key(folder.path().join("key"))
            .await
            .unwrap();
        let scene = Self { folder };
        put(&scene.vault(), "old").await.unwrap();
        scene
    }

    fn vault(&self) -> FileVault {
        vault_in(self.folder.path())
    }

    fn vault_with(&self, at_step: AtStep) -> FileVault {
        vault_with(self.folder.path(), |disk| disk.at_step = Some(at_step))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn assert_tidy(&self) {
        let expected = ["key", "vault", "vault.lock"].map(str::to_owned);
        assert_eq!(self.names(), BTreeSet::from(expected));
    }
}

fn vault_in(folder: &Path) -> FileVault {
    vault_with(folder, |_| {})
}

fn vault_with(folder: &Path, set: impl FnOnce(&mut Disk)) -> FileVault {
    let mut disk = Disk::new(folder.join("vault"));
    set(&mut disk);
    FileVault::open_now(disk, FileVaultKey::file(folder.join("key"))).unwrap()
}

async fn put(vault: &FileVault, value: &str) -> Result<SecretVersion> {
    let attributes = SecretAttributes::default();
    vault.put("name", &Secret::new(value), &attributes).await
}

async fn values(vault: &FileVault) -> Vec<String> {
    let mut values = Vec::new();
    for version in vault.versions("name").await.unwrap() {
        let record = vault.read("name", Some(&version.version)).await.unwrap();
        values.push(record.secret.expose().to_owned());
    }
    values
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

#[tokio::test]
async fn a_write_that_fails_at_any_step_leaves_the_old_file() {
    for failing in [Step::Created, Step::Written, Step::Synced] {
        let scene = Scene::new().await;
        let before = fs::read(scene.path()).unwrap();
        let full = scene.vault_with(Box::new(move |step| match step == failing {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }));
        let error = put(&full, "new").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{failing:?}");
        assert_eq!(fs::read(scene.path()).unwrap(), before, "{failing:?}");
        assert_eq!(values(&full).await, ["old"], "{failing:?}");
        scene.assert_tidy();
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_synced_leaves_it_unknown_and_the_new_file() {
    let scene = Scene::new().await;
    let failing = scene.vault_with(Box::new(|step| match step {
        Step::Renamed => Err(io::Error::other("no sync")),
        _ => Ok(()),
    }));
    let error = put(&failing, "new").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown);
    assert_eq!(values(&failing).await, ["old", "new"]);
    assert_eq!(values(&scene.vault()).await, ["old", "new"]);
    scene.assert_tidy();
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_the_old_file_or_the_new() {
    for step in STEPS {
        let scene = Scene::new().await;
        let mut process = child(
            "file::tests::child_dies_in_a_write",
            scene.folder.path(),
            format!("{step:?}"),
        );
        let status = process.wait().unwrap();
        assert!(!status.success(), "{step:?}: it has died");
        let (mut expected, left_behind) = match step {
            Step::Renamed => (vec!["old", "new"], false),
            _ => (vec!["old"], true),
        };
        let is_left = scene.names().contains("vault.new");
        assert_eq!(is_left, left_behind, "{step:?}");
        let vault = scene.vault();
        assert_eq!(values(&vault).await, expected, "{step:?}");

        put(&vault, "after").await.unwrap();
        expected.push("after");
        assert_eq!(values(&scene.vault()).await, expected, "{step:?}");
        scene.assert_tidy();
    }
}

#[tokio::test]
#[ignore = "the child of a_crash_at_any_step_leaves_the_old_file_or_the_new"]
async fn child_dies_in_a_write() {
    let last = std::env::var_os(DIE_AT).unwrap();
    let at_step: AtStep = Box::new(move |step| {
        if OsStr::new(&format!("{step:?}")) == last {
            std::process::abort();
        }
        Ok(())
    });
    let vault = vault_with(&folder_of_child(), |disk| disk.at_step = Some(at_step));
    put(&vault, "new").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_version() {
    let scene = Scene::new().await;
    let children: Vec<_> = (0..CHILDREN)
        .map(|number| {
            child(
                "file::tests::child_stores_versions",
                scene.folder.path(),
                number.to_string(),
            )
        })
        .collect();
    // A third that only reads sees no half file.
    let reader = scene.vault();
    let mut seen = 0;
    let total = CHILDREN * PUTS + 1;
    for mut process in children {
        while process.try_wait().unwrap().is_none() {
            let count = reader.versions("name").await.unwrap().len();
            assert!((seen..=total).contains(&count), "{count} after {seen}");
            seen = count;
            tokio::task::yield_now().await;
        }
        assert!(process.wait().unwrap().success());
    }
    let values = values(&reader).await;
    assert_eq!(values.len(), total);
    let values: BTreeSet<_> = values.into_iter().collect();
    let expected = (0..CHILDREN).flat_map(|number| {
        let puts = 0..PUTS;
        puts.map(move |put| format!("{number}: {put}"))
    });
    assert_eq!(values, expected.chain(["old".to_owned()]).collect());
    scene.assert_tidy();
}

#[tokio::test]
#[ignore = "the child of two_processes_lose_no_version"]
async fn child_stores_versions() {
    let number = std::env::var_os(DIE_AT).unwrap().into_string().unwrap();
    let vault = vault_in(&folder_of_child());
    for count in 0..PUTS {
        put(&vault, &format!("{number}: {count}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_and_handles_lose_no_version() {
    let scene = Scene::new().await;
    let handles = [scene.vault(), scene.vault()].map(Arc::new);
    let tasks = (0..40).map(|number| {
        let vault = Arc::clone(&handles[number % 2]);
        tokio::spawn(async move { put(&vault, &number.to_string()).await })
    });
    for stored in join_all(tasks).await {
        stored.unwrap().unwrap();
    }
    for vault in handles {
        assert_eq!(values(&vault).await.len(), 41);
    }
}

/// A reader that waits for the one thread must not hold what a writer in it waits for.
#[test]
fn one_thread_for_the_disk_is_enough() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let scene = Scene::new().await;
        let vault = Arc::new(scene.vault());
        let tasks = (0..40).map(|number| {
            let vault = Arc::clone(&vault);
            tokio::spawn(async move {
                match number % 2 {
                    0 => drop(put(&vault, "new").await.unwrap()),
                    _ => drop(vault.read("name", None).await.unwrap()),
                }
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        assert_eq!(values(&vault).await.len(), 21);
    });
}

#[tokio::test]
async fn a_put_that_is_dropped_in_its_write_is_stored_before_the_next() {
    let scene = Scene::new().await;
    for (number, at) in STEPS.into_iter().enumerate() {
        let (arrived, has_arrived) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let may_go_on = parking_lot::Mutex::new(may_go_on);
        let vault = scene.vault_with(Box::new(move |step| {
            if step == at {
                let _ = arrived.send(());
                // Once it is told, and again when nobody is there to tell.
                let _ = may_go_on.lock().recv();
            }
            Ok(())
        }));
        let value = format!("dropped {number}");
        {
            let dropped = put(&vault, &value);
            futures_util::pin_mut!(dropped);
            assert!(dropped.as_mut().now_or_never().is_none());
            // The write began with the first poll; here it stands in the midst of it.
            has_arrived.recv().unwrap();
            assert!(dropped.as_mut().now_or_never().is_none());
        }
        drop(go_on);
        put(&vault, "next").await.unwrap();
        let values = values(&vault).await;
        assert_eq!(values[values.len() - 2..], [value, "next".to_owned()]);
    }
    scene.assert_tidy();
}

#[tokio::test]
async fn a_put_that_is_dropped_before_its_turn_stores_nothing() {
    let scene = Scene::new().await;
    let vault = scene.vault();
    let turn = vault.inner.write_turn.lock().await;
    {
        let dropped = put(&vault, "dropped");
        futures_util::pin_mut!(dropped);
        assert!(dropped.as_mut().now_or_never().is_none());
        assert!(dropped.as_mut().now_or_never().is_none());
    }
    drop(turn);
    put(&vault, "next").await.unwrap();
    assert_eq!(values(&vault).await, ["old", "next"]);
}

#[tokio::test]
async fn who_holds_the_lock_for_long_is_told_of_and_holds_up_no_reader() {
    let scene = Scene::new().await;
    let holder = Disk::new(scene.path());
    let lock = holder.lock(&holder.real_path().unwrap()).unwrap();
    let vault = vault_with(scene.folder.path(), |disk| {
        disk.patience = Duration::from_millis(30);
    });
    let error = put(&vault, "new").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.is_retryable());
    assert_eq!(values(&vault).await, ["old"]);
    drop(lock);
    put(&vault, "new").await.unwrap();
    assert_eq!(values(&vault).await, ["old", "new"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_lock_file_that_was_removed_locks_nobody_out_and_nobody_in() {
    let scene = Scene::new().await;
    let disk = Disk::new(scene.path());
    let path = disk.real_path().unwrap();
    let stale = disk.lock(&path).unwrap();
    fs::remove_file(scene.folder.path().join("vault.lock")).unwrap();
    let fresh = disk.lock(&path).unwrap();
    let mut impatient = Disk::new(scene.path());
    impatient.patience = Duration::ZERO;
    assert_eq!(
        impatient.lock(&path).unwrap_err().kind(),
        ErrorKind::Locked,
        "one holds the new file"
    );
    drop(fresh);
    drop(impatient.lock(&path).unwrap());
    drop(stale);
}

#[tokio::test]
async fn an_unchanged_file_is_decrypted_once() {
    let scene = Scene::new().await;
    let (vault, other) = (scene.vault(), scene.vault());
    let first = vault.read("name", None).await.unwrap().secret;
    let again = vault.read("name", None).await.unwrap().secret;
    assert!(Arc::ptr_eq(&first, &again));
    put(&other, "new").await.unwrap();
    let stored = other.read("name", None).await.unwrap().secret;
    let stored_again = other.read("name", None).await.unwrap().secret;
    assert!(Arc::ptr_eq(&stored, &stored_again), "what it wrote itself");
    let new = vault.read("name", None).await.unwrap().secret;
    assert_eq!(new.expose(), "new");
}

#[tokio::test]
async fn a_file_of_the_same_length_time_and_inode_is_told_from_another() {
    let scene = Scene::new().await;
    let vault = scene.vault();
    let metadata = fs::metadata(scene.path()).unwrap();
    let other = {
        let mut contents = Contents::clone(&*vault.contents().await.unwrap());
        let stored = &mut contents.secrets.get_mut("name").unwrap()[0];
        stored.value = Value(Arc::new(Secret::new("OLD")));
        contents.to_json().unwrap()
    };
    // Each writing has a head of its own, of another length.
    let mut written = (0..10_000).map(|_| vault.inner.key.encrypt(&other).unwrap());
    let bytes = written.find(|bytes| bytes.len() as u64 == metadata.len());
    fs::write(scene.path(), bytes.unwrap()).unwrap();
    let file = fs::File::options().write(true).open(scene.path()).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    let secret = vault.read("name", None).await.unwrap().secret;
    assert_eq!(secret.expose(), "OLD");
}

#[tokio::test]
async fn a_newer_format_is_told_and_left_alone() {
    let scene = Scene::new().await;
    let vault = scene.vault();
    for (json, kind) in [
        (
            r#"{"format":"tenantry-file-vault","version":2,"secrets":[],"more":1}"#,
            ErrorKind::SchemaMismatch,
        ),
        (
            r#"{"format":"tenantry-file-vault","version":0,"secrets":{}}"#,
            ErrorKind::Corrupt,
        ),
        (
            r#"{"format":"another","version":1,"secrets":{}}"#,
            ErrorKind::Corrupt,
        ),
        (
            r#"{"format":"tenantry-file-vault","version":1,"secrets":{},"more":1}"#,
            ErrorKind::Corrupt,
        ),
        (
            r#"{"format":"tenantry-file-vault","version":1,"secrets":{"name":[]}}"#,
            ErrorKind::Corrupt,
        ),
        (
            r#"{"format":"tenantry-file-vault","version":1,"secrets":{"NAME":[{"version":
            "00000000000000000000000000000000","created_at":"2026-01-01T00:00:00Z","enabled":true,
            "value":"Y2FuYXJ5"}]}}"#,
            ErrorKind::Corrupt,
        ),
        (
            r#"{"format":"tenantry-file-vault","version":1,"secrets":{"name":"hunter2"}}"#,
            ErrorKind::Corrupt,
        ),
        ("hunter2", ErrorKind::Corrupt),
        ("", ErrorKind::Corrupt),
    ] {
        let bytes = vault.inner.key.encrypt(json.as_bytes()).unwrap();
        fs::write(scene.path(), &bytes).unwrap();
        let error = vault.read("name", None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{json}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(put(&vault, "new").await.unwrap_err().kind(), kind);
        assert_eq!(fs::read(scene.path()).unwrap(), bytes, "{json}");
    }
}

#[tokio::test]
async fn a_secret_takes_a_thousand_versions_until_disabled_ones_are_deleted() {
    let scene = Scene::new().await;
    let vault = scene.vault();
    let many = vault.write(|contents| {
        let versions = contents.secrets.get_mut("name").unwrap();
        let first = versions[0].clone();
        versions.resize_with(MOST_VERSIONS, || Stored {
            version: Uuid::new_v4().simple().to_string(),
            enabled: false,
            ..first.clone()
        });
        Ok(())
    });
    many.await.unwrap();
    let error = put(&vault, "one too many").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.detail().contains("delete_disabled"));
    assert_eq!(vault.delete_disabled("NAME").await.unwrap(), 998);
    assert_eq!(vault.delete_disabled("name").await.unwrap(), 0);
    put(&vault, "new").await.unwrap();
    let enabled: Vec<_> = vault.versions("name").await.unwrap();
    let enabled: Vec<_> = enabled.iter().map(|one| one.validity.enabled).collect();
    assert_eq!(enabled, [true, false, true]);
    let error = vault.delete_disabled("other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_vault_grows_to_its_largest_and_no_further() {
    const LARGEST: usize = 128 * 1024;
    let scene = Scene::new().await;
    let small = || vault_with(scene.folder.path(), |disk| disk.largest = LARGEST);
    let vault = small();
    let value = "v".repeat(LARGEST_VALUE);
    let mut stored = 0;
    let error = loop {
        match put(&vault, &value).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(stored, 3);
    assert!(fs::metadata(scene.path()).unwrap().len() <= LARGEST as u64);
    assert_eq!(values(&small()).await.len(), 1 + stored);

    let file = fs::File::options().append(true).open(scene.path()).unwrap();
    file.set_len(LARGEST as u64 + 1).unwrap();
    let error = vault.read("name", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn failures_of_the_disk_have_kinds() {
    for (cause, kind) in [
        (io::ErrorKind::NotFound, ErrorKind::InvalidSettings),
        (io::ErrorKind::NotADirectory, ErrorKind::InvalidSettings),
        (io::ErrorKind::PermissionDenied, ErrorKind::PermissionDenied),
        (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::ReadOnly),
        (io::ErrorKind::StorageFull, ErrorKind::StorageFull),
        (io::ErrorKind::QuotaExceeded, ErrorKind::StorageFull),
        (io::ErrorKind::FileTooLarge, ErrorKind::StorageFull),
        (io::ErrorKind::Unsupported, ErrorKind::Unsupported),
        (io::ErrorKind::Other, ErrorKind::Unavailable),
    ] {
        let error = disk::failure(READ, cause.into());
        assert_eq!(error.kind(), kind, "{cause}");
        assert!(!error.detail().is_empty());
    }
}

#[tokio::test]
async fn time_is_the_clocks() {
    let scene = Scene::new().await;
    let at = "2031-05-06T07:08:09.123456Z".parse().unwrap();
    let vault = scene.vault().with_clock(Arc::new(ManualClock::new(at)));
    assert_eq!(put(&vault, "new").await.unwrap().created_at, at);
    let versions = scene.vault().versions("name").await.unwrap();
    assert_eq!(versions[1].created_at, at);
}
