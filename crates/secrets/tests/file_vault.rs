//! The file vault as its users see it.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tenantry_core::{Error, ErrorKind, Result, Secret, SecretResolver as _};
use tenantry_secrets::conformance::vault_conformance;
use tenantry_secrets::{
    CachePolicy, FileVault, FileVaultKey, SecretAttributes, Secrets, Validity, Vault,
};

const CANARY: &str = "canary-5up3r-53cr3t";
/// 2^10: as little work as can be, for tests run without optimisation.
const LITTLE_WORK: u8 = 10;

struct Folder(TempDir);

impl Folder {
    async fn with_key() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        FileVault::create_key(folder.key()).await.unwrap();
        folder
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key")
    }

    fn vault(&self) -> PathBuf {
        self.0.path().join("vault")
    }

    async fn open(&self) -> Result<FileVault> {
        FileVault::open(self.vault(), FileVaultKey::file(self.key())).await
    }

    async fn open_with(&self, passphrase: &str) -> Result<FileVault> {
        FileVault::open(self.vault(), by_passphrase(passphrase)).await
    }

    async fn refusal(&self) -> Error {
        self.open().await.unwrap_err()
    }
}

fn by_passphrase(passphrase: &str) -> FileVaultKey {
    FileVaultKey::passphrase(Secret::new(passphrase)).with_work_factor(LITTLE_WORK)
}

async fn put(vault: &FileVault, name: &str, value: &str) {
    let attributes = SecretAttributes::default();
    vault
        .put(name, &Secret::new(value), &attributes)
        .await
        .unwrap();
}

async fn value(vault: &FileVault, name: &str) -> String {
    let record = vault.read(name, None).await.unwrap();
    record.secret.expose().to_owned()
}

#[tokio::test]
async fn conforms_with_a_key_and_keeps_it_all() {
    let folder = Folder::with_key().await;
    let vault = folder.open().await.unwrap();
    vault_conformance(&vault).await;
    let reopened = folder.open().await.unwrap();
    assert_eq!(
        vault.newest().await.unwrap(),
        reopened.newest().await.unwrap()
    );
    vault_conformance(&reopened).await;
}

#[tokio::test]
async fn conforms_with_a_passphrase() {
    let folder = Folder(tempfile::tempdir().unwrap());
    vault_conformance(&folder.open_with("horse").await.unwrap()).await;
    folder.open_with("horse").await.unwrap();
}

#[tokio::test]
async fn is_a_vault_of_secrets() {
    let folder = Folder::with_key().await;
    let vault = Arc::new(folder.open().await.unwrap());
    let policy = CachePolicy::default();
    let secrets = Secrets::builder()
        .with_policy(policy)
        .with_vault("local", vault)
        .unwrap()
        .build()
        .unwrap();
    let reference = "kv://local/Smtp".parse().unwrap();
    let stored = secrets
        .put_new_version(&reference, Secret::new("hunter2"), Default::default())
        .await
        .unwrap();
    let secret = secrets.resolve(&stored).await.unwrap();
    assert_eq!(secret.expose(), "hunter2");
}

#[tokio::test]
async fn a_vault_that_was_never_written_is_empty_and_reading_makes_no_file() {
    let folder = Folder::with_key().await;
    let vault = folder.open().await.unwrap();
    let error = vault.read("name", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(vault.newest().await.unwrap().is_empty());
    let error = vault.set_enabled("name", "x", true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!folder.vault().exists());
}

#[tokio::test]
async fn a_vault_that_has_gone_is_not_an_empty_one() {
    let folder = Folder::with_key().await;
    let vault = folder.open().await.unwrap();
    put(&vault, "name", "value").await;
    let aside = folder.0.path().join("aside");
    fs::rename(folder.vault(), &aside).unwrap();
    let error = vault.read("name", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let attributes = SecretAttributes::default();
    let put = vault.put("other", &Secret::new("x"), &attributes).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!folder.vault().exists());
    fs::rename(&aside, folder.vault()).unwrap();
    assert_eq!(value(&vault, "name").await, "value");
}

#[tokio::test]
async fn settings_that_lead_nowhere_are_told() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let settings = |error: Error, what: &str| {
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    settings(folder.refusal().await, "create_key");

    FileVault::create_key(folder.key()).await.unwrap();
    let nowhere = folder.0.path().join("no/vault");
    let opened = FileVault::open(nowhere, FileVaultKey::file(folder.key())).await;
    settings(opened.unwrap_err(), "folder is not there");
    let created = FileVault::create_key(folder.0.path().join("no/key")).await;
    settings(created.unwrap_err(), "folder is not there");
    fs::create_dir(folder.vault()).unwrap();
    settings(folder.refusal().await, "names no file");

    settings(folder.open_with("").await.unwrap_err(), "empty");
    for work in [0, 9, 19, 64] {
        let key = by_passphrase("horse").with_work_factor(work);
        let opened = FileVault::open(folder.vault(), key).await;
        settings(opened.unwrap_err(), "10 to 18");
    }
    for text in ["", "# nothing\n", CANARY, "AGE-SECRET-KEY-1CANARY", "\u{0}"] {
        fs::write(folder.key(), text).unwrap();
        let error = folder.refusal().await;
        assert!(!format!("{error:?}").contains("CANARY"));
        assert!(!format!("{error:?}").contains(CANARY));
        settings(error, "key");
    }
}

#[tokio::test]
async fn a_key_is_never_created_over_another() {
    let folder = Folder::with_key().await;
    let before = fs::read(folder.key()).unwrap();
    let error = FileVault::create_key(folder.key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.key()).unwrap(), before);
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_their_owners_alone_and_a_key_must_be() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = Folder::with_key().await;
    put(&folder.open().await.unwrap(), "name", "value").await;
    for name in ["key", "vault", "vault.lock"] {
        assert_eq!(mode(&folder.0.path().join(name)), 0o600, "{name}");
    }
    for open in [0o644, 0o604, 0o660] {
        fs::set_permissions(folder.key(), fs::Permissions::from_mode(open)).unwrap();
        let error = folder.refusal().await;
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{open:o}");
        assert!(error.to_string().contains("chmod 600"));
    }
    fs::set_permissions(folder.key(), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(value(&folder.open().await.unwrap(), "name").await, "value");
}

#[tokio::test]
async fn another_key_or_passphrase_opens_nothing() {
    let folder = Folder::with_key().await;
    put(&folder.open().await.unwrap(), "name", CANARY).await;
    let denied = |error: Error, what: &str| {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(!format!("{error:?}").contains("horse"));
    };
    denied(folder.open_with("horse").await.unwrap_err(), "by a key");
    fs::remove_file(folder.key()).unwrap();
    FileVault::create_key(folder.key()).await.unwrap();
    denied(folder.refusal().await, "this key");

    fs::remove_file(folder.vault()).unwrap();
    put(&folder.open_with("horse").await.unwrap(), "name", CANARY).await;
    let wrong = folder.open_with("horses").await.unwrap_err();
    denied(wrong, "this passphrase");
    denied(folder.refusal().await, "by a passphrase");
}

#[tokio::test]
async fn a_key_is_changed_by_way_of_both() {
    let folder = Folder::with_key().await;
    put(&folder.open().await.unwrap(), "name", "value").await;
    let old = fs::read_to_string(folder.key()).unwrap();
    fs::remove_file(folder.key()).unwrap();
    FileVault::create_key(folder.key()).await.unwrap();
    let new = fs::read_to_string(folder.key()).unwrap();

    fs::write(folder.key(), format!("{new}{old}")).unwrap();
    let vault = folder.open().await.unwrap();
    assert_eq!(value(&vault, "name").await, "value");
    put(&vault, "other", "value").await;
    for single in [&old, &new] {
        fs::write(folder.key(), single).unwrap();
        assert_eq!(value(&folder.open().await.unwrap(), "name").await, "value");
    }
}

/// Where the head was damaged, it can look as if the key were another.
#[tokio::test]
async fn a_damaged_file_is_told_and_left_alone() {
    let folder = Folder::with_key().await;
    let vault = folder.open().await.unwrap();
    put(&vault, "name", CANARY).await;
    let whole = fs::read(folder.vault()).unwrap();
    let head = whole.windows(4).position(|at| at == b"--- ").unwrap();
    let kind_of = async |bytes: &[u8]| {
        fs::write(folder.vault(), bytes).unwrap();
        let error = folder.refusal().await;
        assert!(!format!("{error:?}").contains(CANARY));
        let attributes = SecretAttributes::default();
        let put = vault.put("name", &Secret::new("x"), &attributes).await;
        assert_eq!(put.unwrap_err().kind(), error.kind());
        assert_eq!(fs::read(folder.vault()).unwrap(), bytes);
        error.kind()
    };
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let kind = kind_of(&damaged).await;
        let expected: &[ErrorKind] = match at {
            _ if at < head => &[
                ErrorKind::Corrupt,
                ErrorKind::PermissionDenied,
                ErrorKind::SchemaMismatch,
            ],
            _ => &[ErrorKind::Corrupt],
        };
        assert!(expected.contains(&kind), "{kind} at {at}");
    }
    for length in 0..whole.len() {
        assert_eq!(kind_of(&whole[..length]).await, ErrorKind::Corrupt);
    }
    for junk in [
        &b"SQLite format 3"[..],
        &[0; 4096],
        &[whole.clone(), vec![0]].concat(),
    ] {
        assert_eq!(kind_of(junk).await, ErrorKind::Corrupt);
    }
    let newer = [
        b"age-encryption.org/v2\n-> X\n\n--- x\n".to_vec(),
        whole.clone(),
    ]
    .concat();
    assert_eq!(kind_of(&newer).await, ErrorKind::SchemaMismatch);

    fs::write(folder.vault(), &whole).unwrap();
    assert_eq!(value(&vault, "name").await, CANARY);
}

#[tokio::test]
async fn what_no_vault_takes_is_refused() {
    let folder = Folder::with_key().await;
    let vault = folder.open().await.unwrap();
    let attributes = SecretAttributes::default();
    let large = Secret::new("v".repeat(25 * 1024 + 1));
    let error = vault.put("name", &large, &attributes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let long = "n".repeat(128);
    for name in ["", "a/b", "a_b", "ä", "..", &long] {
        let put = vault.put(name, &Secret::new("x"), &attributes).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
    assert!(!folder.vault().exists());
    put(&vault, &long[..127], "").await;
    assert_eq!(value(&vault, &long[..127]).await, "");
}

#[tokio::test]
async fn no_value_is_on_the_disk_or_in_a_text() {
    use base64::Engine as _;
    let folder = Folder::with_key().await;
    let vault = folder.open().await.unwrap();
    put(&vault, "canary-name", CANARY).await;
    put(&vault, "canary-name", &format!("2{CANARY}")).await;
    // Of any three bytes, one of the three base64 texts holds the middle of the value.
    let texts: Vec<_> = (0..3)
        .map(|skip| base64::engine::general_purpose::STANDARD.encode(&CANARY[skip..]))
        .map(|text| text[..16].to_owned())
        .chain([CANARY.to_owned(), "canary".to_owned()])
        .collect();
    for entry in fs::read_dir(folder.0.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for text in &texts {
            let found = bytes.windows(text.len()).any(|at| at == text.as_bytes());
            assert!(!found, "{text}");
        }
    }
    let key = fs::read_to_string(folder.key()).unwrap();
    let key = key.lines().last().unwrap();
    let shown = format!("{vault:?} {:?}", by_passphrase(CANARY));
    assert!(!shown.contains(CANARY) && !shown.contains(key));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_stays_a_link() {
    let folder = Folder::with_key().await;
    let elsewhere = folder.0.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let real = elsewhere.join("real");
    let key = || FileVaultKey::file(folder.key());
    put(&FileVault::open(&real, key()).await.unwrap(), "name", "1").await;
    std::os::unix::fs::symlink(&real, folder.vault()).unwrap();
    put(&folder.open().await.unwrap(), "name", "2").await;
    assert!(folder.vault().is_symlink());
    let vault = FileVault::open(&real, key()).await.unwrap();
    assert_eq!(value(&vault, "name").await, "2");

    fs::remove_file(&real).unwrap();
    let vault = folder.open().await.unwrap();
    let attributes = SecretAttributes::default();
    let put = vault.put("name", &Secret::new("x"), &attributes).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::InvalidSettings);
}

/// These files are never written again: what was stored must be readable for ever.
#[tokio::test]
async fn files_of_format_1_are_read() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let by_key = fs::read(fixtures.join("file_vault_1.age")).unwrap();
    // Copied, for git keeps no rights.
    let key = fs::read(fixtures.join("file_vault_1.key")).unwrap();
    FileVault::create_key(folder.key()).await.unwrap();
    fs::write(folder.key(), key).unwrap();
    fs::write(folder.vault(), by_key).unwrap();
    assert_fixture(&folder.open().await.unwrap()).await;

    let passphrase = fs::read(fixtures.join("file_vault_1.passphrase.age")).unwrap();
    fs::write(folder.vault(), passphrase).unwrap();
    assert_fixture(&folder.open_with("correct horse").await.unwrap()).await;
}

async fn assert_fixture(vault: &FileVault) {
    let at = |text: &str| text.parse().unwrap();
    let newest = vault.newest().await.unwrap();
    let names: Vec<_> = newest.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["db-password", "signing-key"]);

    let versions = vault.versions("db-password").await.unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[0].created_at, at("2026-11-01T08:00:00.000001Z"));
    assert!(!versions[0].validity.enabled);
    let first = vault.read("db-password", Some(&*versions[0].version)).await;
    assert_eq!(first.unwrap().secret.expose(), "first of two");
    assert_eq!(value(vault, "DB-Password").await, "Grüße \"🔑\"\n");

    let signing = vault.read("signing-key", None).await.unwrap();
    assert_eq!(signing.secret.expose(), "");
    let expected = Validity {
        enabled: true,
        not_before: Some(at("2026-11-02T00:00:00Z")),
        expires_at: Some(at("2027-11-02T00:00:00.5Z")),
    };
    assert_eq!(signing.validity, expected);
}

/// Who waits in vain for another process has stored nothing, and is told so within the deadline.
#[tokio::test]
async fn a_lock_that_is_held_for_long_is_told_and_leaves_no_doubt() {
    let folder = Folder::with_key().await;
    let vault = Arc::new(folder.open().await.unwrap());
    put(&vault, "smtp", "one").await;
    let mut lock = folder.vault().into_os_string();
    lock.push(".lock");
    let lock = fs::OpenOptions::new().write(true).open(lock).unwrap();
    lock.lock().unwrap();
    let secrets = Secrets::builder()
        .with_vault("local", Arc::clone(&vault) as Arc<_>)
        .unwrap()
        .build()
        .unwrap();
    let smtp = "kv://local/smtp".parse().unwrap();
    let stored = secrets.put_new_version(&smtp, Secret::new("two"), Default::default());
    assert_eq!(stored.await.unwrap_err().kind(), ErrorKind::Locked);
    drop(lock);
    assert_eq!(vault.versions("smtp").await.unwrap().len(), 1);
}
