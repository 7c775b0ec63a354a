//! A store of a service, and an administrator who runs a command in its folder.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use tenantry_core::Service;

use super::scene::{DIE_AT, FOLDER, Scene, blobs_in, files_in, folder_of_child, name, put};
use super::*;
use crate::retention::Retention;
use crate::store::{PutOptions, TenantBlobs};

const SERVICE: u32 = 65_534;
const GROUP: u32 = 65_533;

/// Nobody else may give anything away, and no test tells of it.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn all_in(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

fn owner_of(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

async fn put_over(blobs: &TenantBlobs, number: u128) {
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let name = name(blobs, number);
    blobs.put_bytes(&name, options, "over").await.unwrap();
}

/// As a volume of Kubernetes with `fsGroup`, or one that anybody may write to.
#[tokio::test]
async fn a_command_in_a_folder_of_an_administrator_leaves_the_store_to_its_service() {
    for (group, mode) in [(GROUP, 0o2775), (0, 0o777)] {
        let scene = Scene::new().await;
        let root = scene.folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
        let lock = root.join("journal.lock");
        fs::set_permissions(scene.journal(), fs::Permissions::from_mode(0o660)).unwrap();
        if is_root() {
            chown(root, Some(0), Some(group)).unwrap();
            for path in all_in(root) {
                chown(path, Some(SERVICE), Some(GROUP)).unwrap();
            }
            // Whoever has done so may have had reasons.
            chown(&lock, Some(SERVICE - 2), Some(GROUP)).unwrap();
        }
        let before = owner_of(&lock);
        let blobs = scene.blobs(3).await;
        put_over(&blobs, 1).await;
        put_over(&blobs, 2).await;
        blobs.delete(&name(&blobs, 1)).await.unwrap();
        assert!(blobs.erase("they left").await.unwrap().is_complete());
        fs::remove_file(root.join("journal.reserve")).unwrap();
        put_over(&scene.blobs(4).await, 1).await;
        assert_eq!(owner_of(&lock), before, "what is there stays as it is");
        if is_root() {
            for path in all_in(root).iter().filter(|path| **path != lock) {
                assert_eq!(owner_of(path), (SERVICE, GROUP), "{}", path.display());
            }
            assert_eq!(mode_of(&scene.journal()), 0o660, "of the one it replaces");
        }
    }
}

/// As in a container without capabilities, or on a file system over the network that trusts no root.
#[tokio::test]
async fn an_administrator_who_may_give_nothing_away_can_open_the_store() {
    if !is_root() {
        return;
    }
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("store");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&folder, Some(SERVICE), Some(GROUP)).unwrap();
    let ended = Command::new("setpriv")
        .args(["--bounding-set=-chown", "--inh-caps=-chown"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "fs::owners::child_puts", "--ignored"])
        .env(FOLDER, &folder)
        .env(DIE_AT, "")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(owner_of(&folder.join("journal")), (0, 0), "it could not");
    assert_eq!(files_in(&folder.join("blobs")).len(), 1);
}

#[tokio::test]
#[ignore = "the child of an_administrator_who_may_give_nothing_away_can_open_the_store"]
async fn child_puts() {
    let blobs = blobs_in(&folder_of_child(), 1, None).await.unwrap();
    put(&blobs, 1, "new").await.unwrap();
}

/// The user of a service may have no right to what it leads to, and an administrator who opens the store has.
#[tokio::test]
async fn no_link_leads_out_of_the_folder() {
    let own = ["journal", "journal.lock", "journal.reserve", "journal.new"];
    for link in own.into_iter().chain(["incoming", "blobs"]) {
        let scene = Scene::new().await;
        let elsewhere = tempfile::tempdir().unwrap();
        let file = elsewhere.path().join(Uuid::nil().to_string());
        fs::write(&file, "not of the store").unwrap();
        let place = scene.folder.path().join(link);
        match place.is_dir() {
            true => {
                fs::remove_dir_all(&place).unwrap();
                symlink(elsewhere.path(), &place).unwrap();
            }
            false => {
                let _ = fs::remove_file(&place);
                symlink(&file, &place).unwrap();
            }
        }
        let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
        let kind = opened.as_ref().err().map(Error::kind);
        match link {
            // What a crash has left is removed, and so is a link in its place.
            "journal.new" => assert_eq!(kind, None),
            // It is told where something is put.
            "journal.reserve" => {
                let error = put(&scene.blobs(1).await, 2, "new").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
            }
            _ => assert_eq!(kind, Some(ErrorKind::InvalidSettings), "{link}"),
        }
        let left: Vec<_> = files_in(elsewhere.path()).into_iter().collect();
        assert_eq!(left, [PathBuf::from(Uuid::nil().to_string())], "{link}");
        assert_eq!(fs::read(&file).unwrap(), b"not of the store", "{link}");
    }
}

#[tokio::test]
async fn what_is_not_named_as_bytes_that_come_is_left_alone() {
    let scene = Scene::new().await;
    let incoming = scene.folder.path().join("incoming");
    let [died, other] = [Uuid::nil().to_string(), "notes".to_owned()].map(|it| incoming.join(it));
    for file in [&died, &other] {
        fs::write(file, "something").unwrap();
    }
    scene.blobs(1).await;
    assert!(!died.exists() && other.exists());
}

/// As to the blobs of another store, which have the same names.
#[tokio::test]
async fn an_administrator_erases_nothing_that_a_link_leads_to() {
    if !is_root() {
        return;
    }
    let [scene, other] = [Scene::new().await, Scene::new().await];
    let [blobs, others] = [scene.blobs(3).await, other.blobs(3).await];
    put_over(&blobs, 2).await;
    put_over(&others, 2).await;
    let of = |scene: &Scene| {
        let tenant = blobs.tenant().to_string();
        scene.folder.path().join("blobs").join(tenant)
    };
    fs::remove_dir_all(of(&scene)).unwrap();
    symlink(of(&other), of(&scene)).unwrap();
    let report = blobs.erase("they left").await.unwrap();
    let failed = report.failed.iter().map(|(_, kind)| *kind);
    assert!(failed.eq([ErrorKind::InvalidSettings]), "{report}");
    let found = others.get(&name(&others, 2)).await.unwrap();
    assert_eq!(found.bytes, "over");
    // Nor is anything put there.
    let error = put(&blobs, 4, "new").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
}
