//! A folder with blobs, as the tests of its inside see it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};

use bytes::Bytes;
use tempfile::TempDir;
use tenantry_core::{ManualClock, Service, TenantId};

use super::disk::{AtStep, Step};
use super::*;
use crate::name::{BlobId, BlobKind};
use crate::retention::Retention;
use crate::store::{BlobStore, ListOptions, PutOptions, TenantBlobs};

/// Where a child process works, and the step at which it dies.
pub(super) const FOLDER: &str = "TENANTRY_TEST_BLOBS";
pub(super) const DIE_AT: &str = "TENANTRY_TEST_DIE_AT";
pub(super) const CHILDREN: usize = 2;
pub(super) const PUTS: usize = 40;

pub(super) const PUT_STEPS: [Step; 7] = [
    Step::Staged,
    Step::Written,
    Step::Sealed,
    Step::Listed,
    Step::Appended,
    Step::Recorded,
    Step::Placed,
];

/// What is in the folder of a store beside its blobs.
pub(super) const OWN_FILES: [&str; 3] = ["journal", "journal.lock", "journal.reserve"];

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

    pub(super) fn journal(&self) -> PathBuf {
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
        expected.extend(OWN_FILES.map(PathBuf::from));
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

pub(super) fn clock() -> ManualClock {
    ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap())
}

pub(super) async fn open_in(
    folder: &Path,
    clock: ManualClock,
    at_step: Option<AtStep>,
) -> Result<FsBlobs> {
    let mut disk = Disk::new(folder.to_owned());
    disk.at_step = at_step;
    let settings = FsSettings::new(folder).with_clock(Arc::new(clock));
    FsBlobs::open_on(disk, settings).await
}

pub(super) async fn blobs_in(
    folder: &Path,
    tenant: u128,
    at_step: Option<AtStep>,
) -> Result<TenantBlobs> {
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
pub(super) fn child(test: &str, folder: &Path, die_at: impl AsRef<OsStr>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(DIE_AT, die_at)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

pub(super) fn folder_of_child() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

pub(super) fn fails_at(failing: Step, kind: io::ErrorKind) -> AtStep {
    Box::new(move |step| match step == failing {
        true => Err(kind.into()),
        false => Ok(()),
    })
}

/// Checks that a process of its own dies in a test at this step.
pub(super) fn assert_dies_at(step: Step, test: &str, folder: &Path) {
    let mut process = child(test, folder, format!("{step:?}"));
    assert!(!process.wait().unwrap().success(), "{step:?}: it has died");
}

/// Opens the store in such a process.
pub(super) async fn blobs_that_die() -> TenantBlobs {
    let last = std::env::var_os(DIE_AT).unwrap();
    let at_step: AtStep = Box::new(move |step| {
        if OsStr::new(&format!("{step:?}")) == last {
            std::process::abort();
        }
        Ok(())
    });
    blobs_in(&folder_of_child(), 1, Some(at_step))
        .await
        .unwrap()
}

/// Has the journal made shorter, as by an erasure: of a blob that was deleted it tells no more.
pub(super) async fn compact_now(blobs: &TenantBlobs) {
    let over = name(blobs, 900);
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    blobs.put_bytes(&over, options, "over").await.unwrap();
    blobs.delete(&over).await.unwrap();
    blobs
        .backend()
        .forget_deleted(blobs.tenant())
        .await
        .unwrap();
}
