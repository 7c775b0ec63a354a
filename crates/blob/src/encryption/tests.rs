//! What can be seen from the inside alone: what lies in the backend, and what becomes of it when it is
//! altered there.

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use proptest::prelude::*;
use tenantry_core::{Secret, SecretReference, SecretResolver, SecretWatch, Service};
use tenantry_secrets::{MemoryVault, Secrets, Vault as _};

use super::*;
use crate::backend::Seal;
use crate::integrity::Block;
use crate::memory::MemoryBlobs;
use crate::name::BlobKind;
use crate::record::{ContentType, Metadata, Tags};
use crate::retention::{HoldTag, Retention};
use crate::store::{BlobStore, ListOptions, PutOptions, TenantBlobs};

/// Short segments, of which each has 48 bytes of content.
const TINY: u32 = 64;
const SEGMENT_LENGTH: usize = 64;
const KEYS: [&str; 4] = [
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA=",
    "ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICA=",
];
const TEXT: &str =
    "canary: an invoice of 1,500 and a name, in more than one segment of 48 bytes, in three";

/// Two tenants, each with a key, over one backend.
struct Scene {
    vault: Arc<MemoryVault>,
    inner: Arc<MemoryBlobs>,
    one: TenantId,
    other: TenantId,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self {
            vault: Arc::new(MemoryVault::new()),
            inner: Arc::new(MemoryBlobs::new()),
            one: TenantId::generate(),
            other: TenantId::generate(),
        };
        scene.rotate(scene.one, KEYS[0]).await;
        scene.rotate(scene.other, KEYS[1]).await;
        scene
    }

    /// Gives a tenant a new version of its key, and returns which.
    async fn rotate(&self, tenant: TenantId, key: &str) -> String {
        let (name, key) = (secret_of(tenant), Secret::new(key));
        let put = self.vault.put(&name, &key, &Default::default()).await;
        put.unwrap().version.to_string()
    }

    async fn disable(&self, tenant: TenantId, version: &str) {
        let name = secret_of(tenant);
        let disabled = self.vault.set_enabled(&name, version, false).await;
        disabled.unwrap();
    }

    /// Returns the backend as a process sees it that has just started.
    fn backend(&self) -> EncryptedBlobs {
        self.over(&self.inner)
    }

    fn over(&self, inner: &Arc<MemoryBlobs>) -> EncryptedBlobs {
        let inner: Arc<dyn BlobBackend> = Arc::<MemoryBlobs>::clone(inner);
        EncryptedBlobs {
            segment: TINY,
            ..EncryptedBlobs::new(inner, keys(), secrets(&self.vault))
        }
    }

    fn blobs(&self, tenant: TenantId) -> TenantBlobs {
        BlobStore::new(Arc::new(self.backend())).tenant(tenant)
    }

    async fn put(&self, tenant: TenantId, text: &str) -> BlobName {
        let blobs = self.blobs(tenant);
        let name = blobs.name(&kind()).unwrap();
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        blobs.put_bytes(&name, options(), bytes).await.unwrap();
        name
    }

    /// Returns what lies in the backend.
    async fn stored(&self, name: &BlobName) -> (BlobRecord, Vec<u8>) {
        let read = self.inner.read(name, None).await.unwrap();
        let bytes: Vec<Bytes> = read.bytes.try_collect().await.unwrap();
        (read.record, bytes.concat())
    }

    /// Returns the blobs of a tenant in a backend where somebody has put this in the place of a blob.
    async fn altered(&self, name: &BlobName, (record, bytes): (&BlobRecord, &[u8])) -> TenantBlobs {
        let inner = Arc::new(MemoryBlobs::new());
        plant(&*inner, name, (record, bytes)).await;
        BlobStore::new(Arc::new(self.over(&inner))).tenant(name.tenant())
    }
}

async fn plant(inner: &dyn BlobBackend, name: &BlobName, (record, bytes): (&BlobRecord, &[u8])) {
    let blob = NewBlob {
        name: name.clone(),
        length: None,
        content_type: ContentType::default(),
        metadata: Metadata::new(),
        tags: Tags::new(),
        owner: Service::Reporting,
        trace: None,
        created_at: record.created_at,
        tier: Tier::Hot,
        retention: record.retention.clone(),
        encryption: record.encryption.clone(),
    };
    let mut upload = inner.create(blob).await.unwrap();
    if !bytes.is_empty() {
        let block = Block::of(Bytes::copy_from_slice(bytes));
        upload.write(block).await.unwrap();
    }
    let seal = Seal {
        length: u64::try_from(bytes.len()).unwrap(),
        sha256: record.sha256,
    };
    upload.commit(seal).await.unwrap();
}

fn secret_of(tenant: TenantId) -> String {
    format!("t-{}-key", tenant.as_uuid().simple())
}

fn keys() -> Arc<dyn BlobKeys> {
    Arc::new(VaultKeys::new("blobs", "key").unwrap())
}

fn secrets(vault: &Arc<MemoryVault>) -> Arc<Secrets> {
    let vault = Arc::<MemoryVault>::clone(vault);
    let secrets = Secrets::builder().with_vault("blobs", vault).unwrap();
    Arc::new(secrets.build().unwrap())
}

fn kind() -> BlobKind {
    BlobKind::new("exports").unwrap()
}

fn options() -> PutOptions {
    PutOptions::new(Service::Reporting, Retention::days(1))
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, what: &str) -> Error {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
    error
}

#[tokio::test]
async fn what_lies_in_the_backend_tells_nothing_of_what_was_put() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let again = scene.put(scene.one, TEXT).await;
    let (record, bytes) = scene.stored(&name).await;
    let (second, others) = scene.stored(&again).await;
    for part in TEXT.as_bytes().windows(8) {
        assert!(!bytes.windows(8).any(|it| it == part));
    }
    // Two blobs with the same bytes have nothing in common, their digests neither.
    assert!(bytes[..8] != others[..8] && record.sha256 != second.sha256);
    assert_ne!(record.sha256, Sha256::of(TEXT.as_bytes()));
    let blobs = scene.blobs(scene.one);
    let shown = blobs.head(&name).await.unwrap();
    assert_eq!(shown.sha256, Sha256::of(TEXT.as_bytes()));
    assert_eq!(usize::try_from(shown.length).unwrap(), TEXT.len());
    let encryption = shown.encryption.unwrap();
    assert_eq!(encryption.state(), KeyState::Opened);
    assert_eq!(encryption.key().tenant(), Some(scene.one));
    assert_eq!(blobs.get(&name).await.unwrap().bytes, TEXT);
}

#[tokio::test]
async fn each_byte_counts() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let (record, bytes) = scene.stored(&name).await;
    assert!(bytes.len() > SEGMENT_LENGTH);
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let blobs = scene.altered(&name, (&record, &altered)).await;
        assert_kind(
            blobs.get(&name).await,
            ErrorKind::Corrupt,
            &format!("byte {at}"),
        );
        // A range tells as well, if it lies in that segment; and no other.
        let segment = at / SEGMENT_LENGTH;
        let read = blobs.range(&name, 0..1).await;
        match segment {
            0 => drop(assert_kind(read, ErrorKind::Corrupt, &format!("byte {at}"))),
            _ => assert_eq!(read.unwrap(), TEXT[..1]),
        }
    }
}

#[tokio::test]
async fn segments_cannot_be_left_out_added_or_put_elsewhere() {
    let scene = Scene::new().await;
    let whole = "x".repeat(4 * 48);
    let name = scene.put(scene.one, &whole).await;
    let (record, bytes) = scene.stored(&name).await;
    assert_eq!(bytes.len(), 4 * SEGMENT_LENGTH);
    let of = |order: &[usize]| {
        let segments = bytes.chunks(SEGMENT_LENGTH).collect::<Vec<_>>();
        order
            .iter()
            .map(|at| segments[*at])
            .collect::<Vec<_>>()
            .concat()
    };
    let cases: [&[usize]; 9] = [
        &[],
        &[0],
        &[0, 1, 2],
        &[3],
        &[1, 2, 3],
        &[0, 1, 3],
        &[0, 2, 1, 3],
        &[0, 1, 2, 3, 3],
        &[3, 0, 1, 2, 3],
    ];
    for order in cases {
        let blobs = scene.altered(&name, (&record, &of(order))).await;
        assert_kind(
            blobs.get(&name).await,
            ErrorKind::Corrupt,
            &format!("{order:?}"),
        );
    }
    for cut in [1, 15, 16, 17, 48, 63] {
        let blobs = scene
            .altered(&name, (&record, &bytes[..bytes.len() - cut]))
            .await;
        assert_kind(
            blobs.get(&name).await,
            ErrorKind::Corrupt,
            &format!("{cut} cut off"),
        );
    }
    // The same, as it is, is read.
    let blobs = scene.altered(&name, (&record, &of(&[0, 1, 2, 3]))).await;
    assert_eq!(blobs.get(&name).await.unwrap().bytes, whole);
}

#[tokio::test]
async fn no_blob_takes_anothers_place() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let neighbour = scene.put(scene.one, TEXT).await;
    let foreign = scene.put(scene.other, TEXT).await;
    let own = scene.stored(&name).await;
    for (theirs, what) in [(&neighbour, "of the same tenant"), (&foreign, "of another")] {
        let (record, bytes) = scene.stored(theirs).await;
        let blobs = scene.altered(&name, (&own.0, &bytes)).await;
        assert_kind(
            blobs.get(&name).await,
            ErrorKind::Corrupt,
            &format!("bytes {what}"),
        );
        // With its key as well. What another tenant's key is called is not even asked for.
        let blobs = scene.altered(&name, (&record, &bytes)).await;
        let kind = match theirs.tenant() == scene.one {
            true => ErrorKind::Corrupt,
            false => ErrorKind::KeyUnavailable,
        };
        assert_kind(blobs.get(&name).await, kind, &format!("all {what}"));
        assert_kind(blobs.range(&name, 0..1).await, kind, &format!("all {what}"));
    }
}

#[tokio::test]
async fn what_is_said_of_the_encryption_counts() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let (record, bytes) = scene.stored(&name).await;
    let said = record.encryption.clone().unwrap();
    let with = |encryption: BlobEncryption| BlobRecord {
        encryption: Some(encryption),
        ..record.clone()
    };
    for at in 0..said.wrapped().len() {
        let mut wrapped = *said.wrapped();
        wrapped[at] ^= 0x80;
        let altered = with(BlobEncryption::new(said.key().clone(), wrapped, TINY));
        let blobs = scene.altered(&name, (&altered, &bytes)).await;
        assert_kind(
            blobs.get(&name).await,
            ErrorKind::Corrupt,
            &format!("byte {at}"),
        );
        let shown = blobs.head(&name).await.unwrap().encryption.unwrap();
        assert_eq!(shown.state(), KeyState::Lost(ErrorKind::Corrupt));
    }
    for segment in [65, 128, SEGMENT] {
        let altered = with(BlobEncryption::new(
            said.key().clone(),
            *said.wrapped(),
            segment,
        ));
        let blobs = scene.altered(&name, (&altered, &bytes)).await;
        assert_kind(
            blobs.get(&name).await,
            ErrorKind::Corrupt,
            &format!("{segment}"),
        );
    }
    // The key of the same bytes, said to be wrapped by another version.
    let version = scene.rotate(scene.one, KEYS[2]).await;
    let key = said.key().with_version(&version).unwrap();
    let altered = with(BlobEncryption::new(key, *said.wrapped(), TINY));
    let blobs = scene.altered(&name, (&altered, &bytes)).await;
    assert_kind(
        blobs.get(&name).await,
        ErrorKind::Corrupt,
        "another version",
    );
    // A digest that was altered is found by reading.
    let altered = BlobRecord {
        sha256: Sha256([7; 32]),
        ..record.clone()
    };
    let blobs = scene.altered(&name, (&altered, &bytes)).await;
    assert_kind(blobs.get(&name).await, ErrorKind::Corrupt, "another digest");
}

#[tokio::test]
async fn what_lies_in_plain_is_not_taken_for_encrypted() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let (record, _) = scene.stored(&name).await;
    let plain = BlobRecord {
        encryption: None,
        sha256: Sha256::of(b"forged"),
        ..record
    };
    let blobs = scene.altered(&name, (&plain, b"forged")).await;
    assert_kind(blobs.get(&name).await, ErrorKind::Corrupt, "a plain blob");
    assert_kind(
        blobs.range(&name, 0..1).await,
        ErrorKind::Corrupt,
        "a plain blob",
    );
    let inner = Arc::new(MemoryBlobs::new());
    plant(&*inner, &name, (&plain, b"forged")).await;
    let allowed = scene.over(&inner).with_unencrypted_blobs();
    let blobs = BlobStore::new(Arc::new(allowed)).tenant(scene.one);
    assert_eq!(blobs.get(&name).await.unwrap().bytes, "forged");
    assert_eq!(blobs.range(&name, 0..2).await.unwrap(), "fo");
}

#[tokio::test]
async fn without_the_wrapper_nothing_is_given_out() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let inner: Arc<dyn BlobBackend> = Arc::<MemoryBlobs>::clone(&scene.inner);
    let blobs = BlobStore::new(inner).tenant(scene.one);
    let copy = blobs.name(&kind()).unwrap();
    let minute = Duration::from_secs(60);
    let outcomes = [
        blobs.get(&name).await.map(drop),
        blobs.stream(&name).await.map(drop),
        blobs.range(&name, 0..1).await.map(drop),
        blobs.copy(&name, &copy, Retention::days(1)).await.map(drop),
        blobs.signed_url(&name, minute).await.map(drop),
    ];
    for outcome in outcomes {
        assert_kind(outcome, ErrorKind::Unsupported, "a read of encrypted bytes");
    }
    assert_kind(
        scene.blobs(scene.one).signed_url(&name, minute).await,
        ErrorKind::Unsupported,
        "a URL of encrypted bytes",
    );
    // Twice is one time too many.
    let twice = EncryptedBlobs::new(Arc::new(scene.backend()), keys(), secrets(&scene.vault));
    let blobs = BlobStore::new(Arc::new(twice)).tenant(scene.one);
    let put = blobs.put_bytes(&copy, options(), "x").await;
    assert_kind(put, ErrorKind::Unsupported, "encrypted twice");
}

#[tokio::test]
async fn a_new_version_encrypts_what_is_new_and_old_ones_open_what_they_did() {
    let scene = Scene::new().await;
    let before = scene.put(scene.one, TEXT).await;
    let old = scene.stored(&before).await.0.encryption.unwrap();
    let version = scene.rotate(scene.one, KEYS[2]).await;
    let after = scene.put(scene.one, TEXT).await;
    let new = scene.stored(&after).await.0.encryption.unwrap();
    assert_eq!(new.key(), &old.key().with_version(&version).unwrap());
    let blobs = scene.blobs(scene.one);
    for name in [&before, &after] {
        assert_eq!(blobs.get(name).await.unwrap().bytes, TEXT);
    }
    // Moved to the new version, it needs the old one no more; its bytes are the same.
    let bytes = scene.stored(&before).await.1;
    let rewrapped = scene.backend().rewrap(scene.one, &before).await.unwrap();
    assert_eq!(rewrapped, blobs.head(&before).await.unwrap());
    assert_eq!(rewrapped.encryption.unwrap().key(), new.key());
    let again = scene.backend().rewrap(scene.one, &before).await.unwrap();
    assert_eq!(again, blobs.head(&before).await.unwrap(), "it is done once");
    scene.disable(scene.one, version_of(old.key())).await;
    assert_eq!(
        scene.blobs(scene.one).get(&before).await.unwrap().bytes,
        TEXT
    );
    assert_eq!(scene.stored(&before).await.1, bytes);
    // The key as it was wrapped before opens it no more.
    let (record, bytes) = scene.stored(&before).await;
    let replayed = BlobRecord {
        encryption: Some(old),
        ..record
    };
    let blobs = scene.altered(&before, (&replayed, &bytes)).await;
    assert_kind(
        blobs.get(&before).await,
        ErrorKind::KeyUnavailable,
        "an older wrapped key",
    );
}

#[tokio::test]
async fn an_older_key_of_a_name_opens_no_newer_blob() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(scene.one);
    let name = scene.put(scene.one, TEXT).await;
    let old = scene.stored(&name).await.0;
    blobs.delete_early(&name, "put anew").await.unwrap();
    blobs.put_bytes(&name, options(), TEXT).await.unwrap();
    let (_, bytes) = scene.stored(&name).await;
    let blobs = scene.altered(&name, (&old, &bytes)).await;
    assert_kind(
        blobs.get(&name).await,
        ErrorKind::Corrupt,
        "the key of an earlier blob",
    );
}

#[tokio::test]
async fn what_is_locked_or_held_keeps_the_key_that_it_has() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(scene.one);
    let (locked, held) = (
        blobs.name(&kind()).unwrap(),
        scene.put(scene.one, TEXT).await,
    );
    let lock = PutOptions::new(Service::Reporting, Retention::days(1).locked());
    blobs.put_bytes(&locked, lock, TEXT).await.unwrap();
    blobs
        .place_hold(&held, &HoldTag::new("case1").unwrap(), "they sue")
        .await
        .unwrap();
    scene.rotate(scene.one, KEYS[2]).await;
    for name in [&locked, &held] {
        let rewrapped = scene.backend().rewrap(scene.one, name).await;
        assert_kind(rewrapped, ErrorKind::Retained, "what nobody may change");
        assert_eq!(blobs.get(name).await.unwrap().bytes, TEXT);
    }
    let foreign = scene.backend().rewrap(scene.other, &held).await;
    assert_kind(foreign, ErrorKind::NotFound, "another tenant's");
}

#[cfg(feature = "fs")]
#[tokio::test]
async fn in_a_folder_a_rewrapped_key_is_still_so_after_a_start() {
    use crate::fs::{FsBlobs, FsSettings};

    let (scene, folder) = (Scene::new().await, tempfile::tempdir().unwrap());
    let open = || async {
        let inner = FsBlobs::open(FsSettings::new(folder.path())).await.unwrap();
        EncryptedBlobs::new(Arc::new(inner), keys(), secrets(&scene.vault))
    };
    let blobs = BlobStore::new(Arc::new(open().await)).tenant(scene.one);
    let (name, locked) = (blobs.name(&kind()).unwrap(), blobs.name(&kind()).unwrap());
    blobs.put_bytes(&name, options(), TEXT).await.unwrap();
    let lock = PutOptions::new(Service::Reporting, Retention::days(1).locked());
    blobs.put_bytes(&locked, lock, TEXT).await.unwrap();
    let old = blobs.head(&name).await.unwrap().encryption.unwrap();
    scene.rotate(scene.one, KEYS[2]).await;
    let refused = open().await.rewrap(scene.one, &locked).await;
    assert_kind(refused, ErrorKind::Retained, "a locked blob");
    let rewrapped = open().await.rewrap(scene.one, &name).await.unwrap();
    scene.disable(scene.one, version_of(old.key())).await;
    let blobs = BlobStore::new(Arc::new(open().await)).tenant(scene.one);
    assert_eq!(blobs.head(&name).await.unwrap(), rewrapped);
    assert_eq!(blobs.get(&name).await.unwrap().bytes, TEXT);
    let journal = std::fs::read(folder.path().join("journal")).unwrap();
    assert!(
        !journal
            .windows(8)
            .any(|it| KEYS[0].as_bytes().starts_with(it))
    );
}

#[tokio::test]
async fn a_copy_has_a_key_of_its_own() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(scene.one);
    let from = scene.put(scene.one, TEXT).await;
    let to = blobs.name(&kind()).unwrap();
    blobs.copy(&from, &to, Retention::days(1)).await.unwrap();
    let [one, two] = [scene.stored(&from).await, scene.stored(&to).await];
    assert_ne!(one.0.encryption, two.0.encryption);
    assert_ne!(one.1, two.1);
    assert_eq!(blobs.get(&to).await.unwrap().bytes, TEXT);
}

#[tokio::test]
async fn without_its_key_a_blob_is_known_and_not_read() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let theirs = scene.put(scene.other, TEXT).await;
    let key = scene.blobs(scene.one).head(&name).await.unwrap();
    let key = key.encryption.unwrap().key().clone();
    scene.disable(scene.one, version_of(&key)).await;
    let blobs = scene.blobs(scene.one);
    let error = assert_kind(blobs.get(&name).await, ErrorKind::KeyUnavailable, "a read");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("secret disabled"), "{cause}");
    assert_kind(
        blobs.range(&name, 0..1).await,
        ErrorKind::KeyUnavailable,
        "a range",
    );
    let put = blobs
        .put_bytes(&blobs.name(&kind()).unwrap(), options(), TEXT)
        .await;
    assert_kind(put, ErrorKind::KeyUnavailable, "a put");
    let record = blobs.head(&name).await.unwrap();
    let state = record.encryption.as_ref().unwrap().state();
    assert_eq!(state, KeyState::Lost(ErrorKind::SecretDisabled));
    assert!(state.is_gone() && !record.shows_digest());
    assert_eq!(usize::try_from(record.length).unwrap(), TEXT.len());
    let page = blobs.list(ListOptions::new()).await.unwrap();
    assert_eq!(page.records, [record]);
    // What has to be done to it is done.
    blobs
        .extend_retention(&name, scene.inner.now() + TimeDelta::days(9), "why")
        .await
        .unwrap();
    blobs.delete_early(&name, "it is of no use").await.unwrap();
    // The other tenant's are what they were.
    assert_eq!(
        scene.blobs(scene.other).get(&theirs).await.unwrap().bytes,
        TEXT
    );
}

#[tokio::test]
async fn an_erasure_tells_what_is_kept_and_can_be_read_by_nobody() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(scene.one);
    scene.put(scene.one, TEXT).await;
    let locked = blobs.name(&kind()).unwrap();
    let lock = PutOptions::new(Service::AuditTrail, Retention::days(1).locked());
    blobs.put_bytes(&locked, lock, TEXT).await.unwrap();
    let report = blobs.erase("they left").await.unwrap();
    assert_eq!((report.erased.len(), report.kept.len()), (1, 1));
    assert!(report.shredded.is_empty() && !report.is_complete() && !report.is_unreadable());
    let key = blobs.head(&locked).await.unwrap().encryption.unwrap();
    scene.disable(scene.one, version_of(key.key())).await;
    let report = scene.blobs(scene.one).erase("they left").await.unwrap();
    let [shredded] = &report.shredded[..] else {
        panic!("one is unreadable: {report}");
    };
    assert_eq!((&shredded.name, &shredded.key), (&locked, key.key()));
    assert_eq!(shredded.cause, ErrorKind::SecretDisabled);
    assert!(report.is_unreadable() && !report.is_complete());
    assert!(
        report
            .to_string()
            .contains(&format!("unreadable {locked}: key kv://blobs/t-"))
    );
    let theirs = scene
        .blobs(scene.other)
        .erase("they left too")
        .await
        .unwrap();
    assert!(theirs.is_complete() && theirs.is_unreadable());
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_without_being_shown() {
    let scene = Scene::new().await;
    for key in [
        "",
        "hunter2",
        &KEYS[0][1..],
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
    ] {
        let tenant = TenantId::generate();
        scene.rotate(tenant, key).await;
        let blobs = scene.blobs(tenant);
        let put = blobs
            .put_bytes(&blobs.name(&kind()).unwrap(), options(), TEXT)
            .await;
        let error = assert_kind(put, ErrorKind::InvalidSettings, "a key that is none");
        assert!(key.is_empty() || !format!("{error:?}").contains(key));
    }
    let tenant = TenantId::generate();
    let blobs = scene.blobs(tenant);
    let put = blobs
        .put_bytes(&blobs.name(&kind()).unwrap(), options(), TEXT)
        .await;
    assert_kind(
        put,
        ErrorKind::KeyUnavailable,
        "a tenant whose key is not there",
    );
    assert!(
        scene
            .inner
            .list(&BlobPrefix::of(tenant), None, 9)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn no_key_is_shown() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let (record, bytes) = scene.stored(&name).await;
    let blobs = scene.blobs(scene.one);
    let raw: Vec<u8> = (0..32).collect();
    let debug = format!("{:?}", &raw[..8]);
    let hex = crate::integrity::to_hex(&raw);
    let mut texts = vec![
        format!("{:?}", scene.backend()),
        format!("{blobs:?}"),
        format!("{record:?}"),
        serde_json::to_string(&record).unwrap(),
        format!("{:?}", blobs.stream(&name).await.unwrap()),
        String::from_utf8_lossy(&bytes).into_owned(),
    ];
    let mut altered = bytes.clone();
    altered[0] ^= 1;
    let broken = scene.altered(&name, (&record, &altered)).await;
    texts.push(format!("{:?}", broken.get(&name).await.unwrap_err()));
    scene
        .disable(scene.one, version_of(record.encryption.unwrap().key()))
        .await;
    let error = scene.blobs(scene.one).get(&name).await.unwrap_err();
    texts.push(format!("{error:?} {error}"));
    for text in texts {
        assert!(!text.contains(KEYS[0]) && !text.contains(&hex), "{text}");
        assert!(!text.contains(debug.trim_matches(['[', ']'])), "{text}");
    }
}

/// Answers that it is not there for a while.
#[derive(Debug)]
struct Down;

#[async_trait]
impl SecretResolver for Down {
    async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
        let error = Error::new(ErrorKind::Throttled, "resolve secret");
        Err(error
            .with_subject(reference.to_string())
            .with_retry_after(Duration::from_secs(3)))
    }
}

#[async_trait]
impl SecretSource for Down {
    async fn watch(&self, reference: &SecretReference) -> Result<Arc<dyn SecretWatch>> {
        Err(self.resolve(reference).await.unwrap_err())
    }
}

#[tokio::test]
async fn a_vault_that_does_not_answer_is_no_lost_key() {
    let scene = Scene::new().await;
    let name = scene.put(scene.one, TEXT).await;
    let etag = scene.stored(&name).await.0.etag;
    let inner: Arc<dyn BlobBackend> = Arc::<MemoryBlobs>::clone(&scene.inner);
    let backend = Arc::new(EncryptedBlobs::new(inner, keys(), Arc::new(Down)));
    let blobs = BlobStore::new(Arc::<EncryptedBlobs>::clone(&backend)).tenant(scene.one);
    let put = blobs
        .put_bytes(&blobs.name(&kind()).unwrap(), options(), TEXT)
        .await;
    let outcomes = [
        blobs.get(&name).await.map(drop),
        blobs.head(&name).await.map(drop),
        blobs.list(ListOptions::new()).await.map(drop),
        put.map(drop),
    ];
    for outcome in outcomes {
        let error = assert_kind(outcome, ErrorKind::Throttled, "a vault that is busy");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
    // What has happened is not told as a failure.
    let moved = backend
        .set_tier(&name, &etag, Tier::Cool, RehydratePriority::Standard)
        .await
        .unwrap();
    assert_ne!(moved.etag, etag);
    let state = moved.encryption.unwrap().state();
    assert_eq!(state, KeyState::Lost(ErrorKind::Throttled));
    assert!(!state.is_gone());
}

/// Keys of which nobody can be told at times: each answer is the next of these, and then the right one.
#[derive(Debug)]
struct Unsteady(Mutex<Vec<Option<ErrorKind>>>);

#[async_trait]
impl BlobKeys for Unsteady {
    async fn keys_of(&self, tenant: TenantId) -> Result<Vec<SecretReference>> {
        let failure = self.0.lock().pop().flatten();
        match failure {
            Some(kind) => Err(Error::new(kind, "look up tenant")),
            None => keys().keys_of(tenant).await,
        }
    }
}

impl Scene {
    /// Returns the blobs of a tenant in a process whose registry of keys answers so, the last first.
    fn unsteady(&self, answers: Vec<Option<ErrorKind>>) -> TenantBlobs {
        let inner: Arc<dyn BlobBackend> = Arc::<MemoryBlobs>::clone(&self.inner);
        let keys = Arc::new(Unsteady(Mutex::new(answers)));
        let backend = EncryptedBlobs::new(inner, keys, secrets(&self.vault));
        BlobStore::new(Arc::new(backend)).tenant(self.one)
    }
}

#[tokio::test]
async fn a_put_whose_key_cannot_be_had_to_read_its_lock_back_is_unknown() {
    let scene = Scene::new().await;
    let blobs = scene.unsteady(vec![Some(ErrorKind::Unavailable), None]);
    let name = blobs.name(&kind()).unwrap();
    let lock = PutOptions::new(Service::AuditTrail, Retention::days(1).locked());
    let put = blobs.put_bytes(&name, lock, TEXT).await;
    assert_kind(put, ErrorKind::CommitUnknown, "a vault that is away");
    assert_eq!(blobs.get(&name).await.unwrap().bytes, TEXT);
}

#[tokio::test]
async fn the_key_of_a_tenant_that_is_not_found_is_not_gone() {
    let scene = Scene::new().await;
    let locked = scene.blobs(scene.one).name(&kind()).unwrap();
    let lock = PutOptions::new(Service::AuditTrail, Retention::days(1).locked());
    let blobs = scene.blobs(scene.one);
    blobs.put_bytes(&locked, lock, TEXT).await.unwrap();
    for kind in [ErrorKind::NotFound, ErrorKind::SecretDeleted] {
        let report = scene.unsteady(vec![Some(kind)]).erase("they left").await;
        let report = report.unwrap();
        assert_eq!((report.kept.len(), report.shredded.len()), (1, 0));
        assert!(!report.is_unreadable(), "its key is there, and opens it");
        let error = scene.unsteady(vec![Some(kind)]).get(&locked).await;
        assert_kind(error, ErrorKind::KeyUnavailable, "an unknown tenant");
    }
    assert_eq!(
        scene.blobs(scene.one).get(&locked).await.unwrap().bytes,
        TEXT
    );
}

/// Two keys of the places that keep no versions, the newer one first.
#[derive(Debug)]
struct Files;

#[async_trait]
impl BlobKeys for Files {
    async fn keys_of(&self, _: TenantId) -> Result<Vec<SecretReference>> {
        Ok(vec!["file:keys#new".parse()?, "file:keys#old".parse()?])
    }
}

#[tokio::test]
async fn where_there_are_no_versions_another_reference_follows() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!(r#"{{"old": "{}", "new": "{}"}}"#, KEYS[0], KEYS[1]);
    std::fs::write(folder.path().join("keys"), file).unwrap();
    let secrets = Arc::new(
        Secrets::builder()
            .with_folder(folder.path())
            .build()
            .unwrap(),
    );
    let inner = Arc::new(MemoryBlobs::new());
    #[derive(Debug)]
    struct Before;
    #[async_trait]
    impl BlobKeys for Before {
        async fn keys_of(&self, _: TenantId) -> Result<Vec<SecretReference>> {
            Ok(vec!["file:keys#old".parse()?])
        }
    }
    let over = |keys: Arc<dyn BlobKeys>| {
        let inner: Arc<dyn BlobBackend> = Arc::<MemoryBlobs>::clone(&inner);
        EncryptedBlobs::new(inner, keys, Arc::<Secrets>::clone(&secrets))
    };
    let tenant = TenantId::generate();
    let before = BlobStore::new(Arc::new(over(Arc::new(Before)))).tenant(tenant);
    let name = before.name(&kind()).unwrap();
    before.put_bytes(&name, options(), TEXT).await.unwrap();
    let blobs = BlobStore::new(Arc::new(over(Arc::new(Files)))).tenant(tenant);
    assert_eq!(blobs.get(&name).await.unwrap().bytes, TEXT);
    let rewrapped = over(Arc::new(Files)).rewrap(tenant, &name).await.unwrap();
    assert_eq!(
        rewrapped.encryption.unwrap().key().to_string(),
        "file:keys#new"
    );
    assert_kind(
        before.get(&name).await,
        ErrorKind::KeyUnavailable,
        "a key nobody names",
    );
}

#[tokio::test]
async fn bytes_of_the_first_version_are_read() {
    let scene = Scene::new().await;
    let fixture = include_str!("fixtures/v1.txt");
    let mut lines = fixture.lines();
    let mut next = || lines.next().unwrap().to_owned();
    let name: BlobName = next().parse().unwrap();
    let encryption: BlobEncryption = next().parse().unwrap();
    let sha256: Sha256 = next().parse().unwrap();
    let bytes: [u8; 118] = crate::integrity::from_hex(&next()).unwrap();
    let like = scene.put(scene.one, TEXT).await;
    let record = BlobRecord {
        encryption: Some(encryption.clone()),
        sha256,
        ..scene.stored(&like).await.0
    };
    let keys = Fixed(encryption.key().clone());
    let inner = Arc::new(MemoryBlobs::new());
    plant(&*inner, &name, (&record, &bytes)).await;
    let backend = EncryptedBlobs::new(inner, Arc::new(keys.clone()), Arc::new(keys));
    let blobs = BlobStore::new(Arc::new(backend)).tenant(name.tenant());
    let read = blobs.get(&name).await.unwrap();
    assert_eq!(read.bytes, TEXT);
    assert_eq!(read.record.sha256, Sha256::of(TEXT.as_bytes()));
}

/// One key, whatever is asked for: that of the fixture.
#[derive(Debug, Clone)]
struct Fixed(SecretReference);

#[async_trait]
impl BlobKeys for Fixed {
    async fn keys_of(&self, _: TenantId) -> Result<Vec<SecretReference>> {
        Ok(vec![self.0.clone()])
    }
}

#[async_trait]
impl SecretResolver for Fixed {
    async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
        assert_eq!(*reference, self.0);
        Ok(Arc::new(Secret::new(KEYS[3])))
    }
}

#[async_trait]
impl SecretSource for Fixed {
    async fn watch(&self, reference: &SecretReference) -> Result<Arc<dyn SecretWatch>> {
        Err(Error::new(ErrorKind::Unsupported, "watch").with_subject(reference.to_string()))
    }
}

fn version_of(key: &SecretReference) -> &str {
    match key.location() {
        tenantry_core::SecretLocation::KeyVault { version, .. } => version.unwrap(),
        _ => panic!("a key of a vault"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ranges_are_those_of_what_was_put(
        length in 0_usize..700,
        ranges in prop::collection::vec((0_usize..700, 0_usize..700), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let bytes: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0] ^ 0x5a).collect();
        runtime.block_on(async {
            let scene = Scene::new().await;
            let blobs = scene.blobs(scene.one);
            let name = blobs.name(&kind()).unwrap();
            blobs.put_bytes(&name, options(), bytes.clone()).await.unwrap();
            assert_eq!(blobs.get(&name).await.unwrap().bytes, bytes);
            for (start, end) in ranges {
                let range = u64::try_from(start).unwrap()..u64::try_from(end).unwrap();
                let read = blobs.range(&name, range).await;
                match start <= end && end <= length {
                    true => assert_eq!(read.unwrap(), bytes[start..end]),
                    false => drop(assert_kind(read, ErrorKind::InvalidInput, "a range outside")),
                }
            }
        });
    }

    #[test]
    fn blocks_of_the_backend_have_the_length_that_it_asked_for(
        pieces in prop::collection::vec(0_usize..300, 0..8),
        block in 1_usize..400,
    ) {
        let (key, layout) = (DataKey::generate().unwrap(), Layout::new(TINY));
        let sealed = |block| {
            let mut sealing = Box::new(Sealing::new(key.cipher().unwrap(), layout, block));
            for (at, length) in pieces.iter().enumerate() {
                let piece = vec![at.to_le_bytes()[0]; *length];
                sealing.take(&Block::of(piece.into())).unwrap();
            }
            sealing.finish().unwrap()
        };
        let (cut, whole) = (sealed(block), sealed(usize::MAX / 2));
        let length: usize = pieces.iter().sum();
        prop_assert_eq!(cut.length, layout.sealed_length(length as u64));
        for full in cut.ready.iter().rev().skip(1) {
            prop_assert_eq!(full.length(), block);
        }
        let joined = |sealing: Sealing| -> Vec<u8> {
            sealing.ready.into_iter().flat_map(Block::into_bytes).collect()
        };
        prop_assert_eq!(joined(*cut), joined(*whole));
    }
}

/// The bytes are other ones each time, so the form is compared; where it differs, a new fixture is shown.
#[tokio::test]
async fn a_fixture_has_the_form_of_what_is_written() {
    let scene = Scene::new().await;
    let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse().unwrap();
    scene.rotate(tenant, KEYS[3]).await;
    let name = scene.put(tenant, TEXT).await;
    let (record, bytes) = scene.stored(&name).await;
    let hex = crate::integrity::to_hex(&bytes);
    let written = format!(
        "{name}\n{}\n{}\n{hex}\n",
        record.encryption.unwrap(),
        record.sha256
    );
    let fixture = include_str!("fixtures/v1.txt");
    let shape = |text: &str| -> Vec<usize> { text.lines().map(str::len).collect() };
    assert_eq!(shape(&written), shape(fixture), "{written}");
}
