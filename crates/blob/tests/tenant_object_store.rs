//! The blobs of a tenant as an object store: what it does alike, what it refuses, and no way out of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod named;

use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions as StorePutOptions, PutPayload, TagSet, UpdateVersion, WriteMultipart, integration,
};
use tenantry_blob::{
    BlobKind, BlobStore, ListOptions, MemoryBlobs, PutOptions, Retention, TenantBlobs,
    TenantObjectStore, Tier,
};
use tenantry_core::{ErrorKind, ManualClock, Service, TenantId};

use self::named::Named;

/// Two tenants over one backend, whose blobs may be deleted at once or are kept for a day.
struct Scene {
    clock: ManualClock,
    one: TenantBlobs,
    other: TenantBlobs,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new("2026-03-31T23:59:59Z".parse().unwrap());
        let backend = MemoryBlobs::with_clock(Arc::new(clock.clone()));
        let store = BlobStore::new(Arc::new(backend));
        Self {
            one: store.tenant(TenantId::generate()),
            other: store.tenant(TenantId::generate()),
            clock,
        }
    }

    fn stores(&self, days: u32) -> [TenantObjectStore; 2] {
        let options = PutOptions::new(Service::Reporting, Retention::days(days));
        [&self.one, &self.other].map(|blobs| TenantObjectStore::new(blobs.clone(), options.clone()))
    }
}

fn kind(name: &str) -> BlobKind {
    BlobKind::new(name).unwrap()
}

/// Returns the kind of our error that is told.
#[track_caller]
fn cause(error: &Error) -> ErrorKind {
    let ours = error.source().unwrap();
    ours.downcast_ref::<tenantry_core::Error>().unwrap().kind()
}

async fn listed(store: &TenantObjectStore, prefix: Option<&str>) -> Vec<Path> {
    let prefix = prefix.map(Path::from);
    let listed = store.list(prefix.as_ref()).map_ok(|meta| meta.location);
    listed.try_collect().await.unwrap()
}

#[tokio::test]
async fn what_is_put_is_a_blob_of_the_tenant() {
    let scene = Scene::new();
    let [one, other] = scene.stores(1);
    let path = one.path(&kind("exports")).unwrap();
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "text/csv"),
        (Attribute::StorageClass, "Cool"),
        (Attribute::Metadata("file_name".into()), "März 2026.csv"),
    ]);
    let mut tags = TagSet::default();
    tags.push("report", "a:b/c=d");
    let options = StorePutOptions {
        attributes: attributes.clone(),
        tags,
        ..Default::default()
    };
    let put = one
        .put_opts(&path, "id,total\n".into(), options)
        .await
        .unwrap();
    let name = one.name_of(&path).unwrap();
    assert_eq!(one.path_of(&name).unwrap(), path);
    let record = scene.one.head(&name).await.unwrap();
    assert_eq!(put.e_tag.as_deref(), Some(record.etag.as_str()));
    assert_eq!(
        (record.owner, record.tier),
        (Service::Reporting, Tier::Cool)
    );
    assert_eq!(record.content_type.as_str(), "text/csv");
    assert_eq!(record.metadata.get("file_name"), Some("März 2026.csv"));
    assert_eq!(record.tags.get("report"), Some("a:b/c=d"));
    assert!(record.retention.until > Some(record.created_at));
    let got = one.get(&path).await.unwrap();
    assert_eq!(
        got.attributes.get(&Attribute::ContentType),
        Some(&"text/csv".into())
    );
    assert_eq!(
        got.attributes.get(&Attribute::Metadata("file_name".into())),
        Some(&"März 2026.csv".into())
    );
    assert_eq!((got.meta.size, &got.meta.location), (9, &path));
    assert_eq!(got.bytes().await.unwrap(), "id,total\n");
    // A blob that was put otherwise is read as well, by its own tenant alone.
    let own = scene.other.name(&kind("exports")).unwrap();
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    scene
        .other
        .put_bytes(&own, options, "theirs")
        .await
        .unwrap();
    let at = other.path_of(&own).unwrap();
    assert_eq!(
        other.get(&at).await.unwrap().bytes().await.unwrap(),
        "theirs"
    );
    assert_eq!(one.path_of(&own).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(matches!(one.get(&at).await, Err(Error::NotFound { .. })));
    assert_eq!(listed(&one, None).await, [path]);
}

#[tokio::test]
async fn no_path_leads_out_of_the_tenant() {
    let scene = Scene::new();
    let [one, other] = scene.stores(0);
    let theirs = one.path(&kind("exports")).unwrap();
    one.put(&theirs, "theirs".into()).await.unwrap();
    let tenant = scene.one.tenant();
    let texts = [
        theirs.to_string(),
        format!("{tenant}/{theirs}"),
        format!("../{tenant}/{theirs}"),
        format!("exports/../../{tenant}/{theirs}"),
        format!("%2E%2E/{tenant}/{theirs}"),
        format!("..%2F{tenant}%2F{theirs}"),
        format!("{tenant}%2F{theirs}"),
        theirs.to_string().to_uppercase(),
        format!("{theirs}/"),
        String::new(),
    ];
    for text in texts {
        for path in [Path::from(text.as_str())]
            .into_iter()
            .chain(Path::parse(&text))
        {
            let free = other.path(&kind("exports")).unwrap();
            let found = [
                other.head(&path).await.map(drop),
                other.get(&path).await.map(drop),
                other.get_range(&path, 0..1).await.map(drop),
                other.get_ranges(&path, &[0..1, 3..4]).await.map(drop),
                other.delete(&path).await,
                other.copy(&path, &free).await,
                other.rename(&path, &free).await,
            ];
            for outcome in found {
                let error = outcome.unwrap_err();
                assert!(matches!(error, Error::NotFound { .. }), "{path}: {error}");
            }
            // What is no name of a blob can be put to by nobody; what is one, is of this tenant.
            match other.put(&path, "mine".into()).await {
                Ok(_) => other.delete(&path).await.unwrap(),
                Err(error) => {
                    assert!(
                        matches!(error, Error::NotSupported { .. }),
                        "{path}: {error}"
                    );
                    assert_eq!(cause(&error), ErrorKind::Unsupported);
                    assert!(
                        error.to_string().contains("TenantObjectStore::path"),
                        "{error}"
                    );
                    let multipart = other.put_multipart(&path).await;
                    assert!(matches!(multipart, Err(Error::NotSupported { .. })));
                }
            }
            assert!(listed(&other, Some(path.as_ref())).await.is_empty());
        }
    }
    assert_eq!(
        one.get(&theirs).await.unwrap().bytes().await.unwrap(),
        "theirs"
    );
    assert_eq!(
        other.to_string(),
        format!("TenantObjectStore({})", scene.other.tenant())
    );
}

#[tokio::test]
async fn nothing_is_replaced() {
    let scene = Scene::new();
    let [store, other] = scene.stores(0);
    let path = store.path(&kind("exports")).unwrap();
    for mode in [PutMode::Create, PutMode::Overwrite] {
        store
            .put_opts(&path, "first".into(), mode.into())
            .await
            .unwrap();
        for mode in [PutMode::Create, PutMode::Overwrite] {
            let again = store.put_opts(&path, "second".into(), mode.into()).await;
            let error = again.unwrap_err();
            assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        }
        let mut upload = store.put_multipart(&path).await.unwrap();
        let _ = upload.put_part("second".into()).await;
        let error = upload.complete().await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        let source = store.path(&kind("exports")).unwrap();
        store.put(&source, "second".into()).await.unwrap();
        for outcome in [
            store.copy(&source, &path).await,
            store.copy_if_not_exists(&source, &path).await,
            store.rename(&source, &path).await,
            store.rename_if_not_exists(&source, &path).await,
        ] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        }
        assert_eq!(
            store.get(&source).await.unwrap().bytes().await.unwrap(),
            "second"
        );
        assert_eq!(
            store.get(&path).await.unwrap().bytes().await.unwrap(),
            "first"
        );
        store.delete(&path).await.unwrap();
    }
    let update = PutMode::Update(UpdateVersion {
        e_tag: Some("1".to_owned()),
        version: None,
    });
    let put = store.put_opts(&path, "second".into(), update.into()).await;
    assert!(matches!(put, Err(Error::NotImplemented { .. })));
    // Another tenant has a blob of its own under the same path.
    other.put(&path, "theirs".into()).await.unwrap();
    assert!(matches!(
        store.head(&path).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn what_is_kept_is_neither_deleted_nor_moved() {
    let scene = Scene::new();
    let [store, other] = scene.stores(1);
    let (path, to) = (
        store.path(&kind("exports")).unwrap(),
        store.path(&kind("exports")).unwrap(),
    );
    for store in [&store, &other] {
        store.put(&path, "kept".into()).await.unwrap();
    }
    for outcome in [store.delete(&path).await, store.rename(&path, &to).await] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
        assert_eq!(cause(&error), ErrorKind::Retained);
    }
    assert_eq!(listed(&store, None).await, std::slice::from_ref(&path));
    scene
        .clock
        .advance(std::time::Duration::from_secs(24 * 60 * 60));
    store.rename(&path, &to).await.unwrap();
    assert_eq!(listed(&store, None).await, std::slice::from_ref(&to));
    // What it was moved to is kept anew.
    assert_eq!(
        cause(&store.delete(&to).await.unwrap_err()),
        ErrorKind::Retained
    );
    assert_eq!(listed(&other, None).await, std::slice::from_ref(&path));
    other.delete(&path).await.unwrap();
}

#[tokio::test]
async fn lists_end_between_two_parts_of_a_path() {
    let scene = Scene::new();
    let [store, other] = scene.stores(0);
    let mut paths = Vec::new();
    for (name, months) in [("report", 2), ("reports", 1)] {
        for _ in 0..months {
            for store in [&store, &other] {
                let path = store.path(&kind(name)).unwrap();
                store.put(&path, "x".into()).await.unwrap();
                paths.extend((store.to_string() != other.to_string()).then_some(path));
            }
            scene
                .clock
                .advance(std::time::Duration::from_secs(31 * 24 * 60 * 60));
        }
    }
    let [march, may, june] = &paths[..] else {
        panic!("three paths: {paths:?}");
    };
    assert_eq!(listed(&store, None).await, paths);
    assert_eq!(listed(&store, Some("report")).await, paths[..2]);
    assert_eq!(listed(&store, Some("report/2026")).await, paths[..2]);
    assert_eq!(listed(&store, Some("report/2026/03")).await, paths[..1]);
    for none in [
        "rep",
        "report/202",
        "report/2026/3",
        "report/2027",
        "Report",
        may.as_ref(),
    ] {
        assert!(listed(&store, Some(none)).await.is_empty(), "{none}");
    }
    let delimited = |prefix: &'static str| {
        let store = store.clone();
        async move {
            let result = store
                .list_with_delimiter(Some(&Path::from(prefix)))
                .await
                .unwrap();
            let objects: Vec<_> = result.objects.into_iter().map(|it| it.location).collect();
            (result.common_prefixes, objects)
        }
    };
    let paths_of = |texts: &[&str]| texts.iter().map(|it| Path::from(*it)).collect::<Vec<_>>();
    assert_eq!(
        delimited("").await,
        (paths_of(&["report", "reports"]), vec![])
    );
    assert_eq!(
        delimited("report").await,
        (paths_of(&["report/2026"]), vec![])
    );
    let months = paths_of(&["report/2026/03", "report/2026/05"]);
    assert_eq!(delimited("report/2026").await, (months, vec![]));
    assert_eq!(
        delimited("report/2026/03").await,
        (vec![], vec![march.clone()])
    );
    assert_eq!(delimited("rep").await, (vec![], vec![]));
    let after: Vec<_> = store
        .list_with_offset(None, march)
        .try_collect()
        .await
        .unwrap();
    let after: Vec<_> = after.into_iter().map(|meta| meta.location).collect();
    assert_eq!(after, [may.clone(), june.clone()]);
}

#[tokio::test]
async fn a_long_list_has_each_blob_once() {
    let scene = Scene::new();
    let [store, other] = scene.stores(0);
    let mut paths = Vec::new();
    for _ in 0..2_100 {
        let path = store.path(&kind("exports")).unwrap();
        store.put(&path, "x".into()).await.unwrap();
        paths.push(path);
    }
    other
        .put(&other.path(&kind("exports")).unwrap(), "theirs".into())
        .await
        .unwrap();
    paths.sort_unstable();
    assert_eq!(listed(&store, None).await, paths);
    let deleted = stream::iter(paths.clone()).map(Ok).boxed();
    let deleted: Vec<Path> = store.delete_stream(deleted).try_collect().await.unwrap();
    assert_eq!(deleted, paths);
    assert!(listed(&store, None).await.is_empty());
    assert_eq!(listed(&other, None).await.len(), 1);
}

#[tokio::test]
async fn ranges_and_conditions_are_those_of_an_object_store() {
    let scene = Scene::new();
    let [store, _] = scene.stores(0);
    let path = store.path(&kind("exports")).unwrap();
    store.put(&path, "arbitrary data".into()).await.unwrap();
    let meta = store.head(&path).await.unwrap();
    let with = |range: GetRange| GetOptions::new().with_range(Some(range));
    for (range, expected) in [
        (GetRange::Bounded(2..5), "bit"),
        (GetRange::Bounded(2..100), "bitrary data"),
        (GetRange::Offset(10), "data"),
        (GetRange::Suffix(4), "data"),
        (GetRange::Suffix(100), "arbitrary data"),
    ] {
        let got = store.get_opts(&path, with(range.clone())).await.unwrap();
        assert_eq!(got.meta, meta);
        assert_eq!(got.range.end - got.range.start, expected.len() as u64);
        assert_eq!(got.bytes().await.unwrap(), expected, "{range:?}");
    }
    for range in [GetRange::Bounded(14..15), GetRange::Offset(14)] {
        assert!(store.get_opts(&path, with(range)).await.is_err());
    }
    let ranges = [0..1, 2..3, 0..5, 13..14];
    let read = store.get_ranges(&path, &ranges).await.unwrap();
    assert_eq!(read, ["a", "b", "arbit", "a"]);
    let tag = meta.e_tag.clone();
    let stale = || Some("stale".to_owned());
    let get = |options: GetOptions| {
        let (store, path) = (store.clone(), path.clone());
        async move { store.get_opts(&path, options).await.map(drop) }
    };
    get(GetOptions::new().with_if_match(tag.clone()))
        .await
        .unwrap();
    get(GetOptions::new().with_if_none_match(stale()))
        .await
        .unwrap();
    let refused = get(GetOptions::new().with_if_match(stale())).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })));
    let same = get(GetOptions::new().with_if_none_match(tag)).await;
    assert!(matches!(same, Err(Error::NotModified { .. })));
    let version = get(GetOptions::new().with_version(stale())).await;
    assert!(matches!(version, Err(Error::NotImplemented { .. })));
    let head = store
        .get_opts(&path, GetOptions::new().with_head(true))
        .await
        .unwrap();
    assert_eq!(head.meta, meta);
    assert_eq!(head.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn parts_are_one_blob_when_they_are_completed_and_nothing_before() {
    let scene = Scene::new();
    let [store, other] = scene.stores(0);
    let path = store.path(&kind("exports")).unwrap();
    let part = |byte: u8| Bytes::from(vec![byte; 700_000]);
    let mut upload = store.put_multipart(&path).await.unwrap();
    let parts: Vec<_> = (0..5)
        .map(|byte| upload.put_part(part(byte).into()))
        .collect();
    // Whichever is waited for first.
    for taken in parts.into_iter().rev() {
        taken.await.unwrap();
    }
    assert!(matches!(
        store.head(&path).await,
        Err(Error::NotFound { .. })
    ));
    let put = upload.complete().await.unwrap();
    assert_eq!(store.head(&path).await.unwrap().e_tag, put.e_tag);
    let whole: Vec<u8> = (0..5).flat_map(part).collect();
    assert_eq!(
        store.get(&path).await.unwrap().bytes().await.unwrap(),
        whole
    );
    assert!(upload.complete().await.is_err() && upload.put_part("x".into()).await.is_err());
    upload.abort().await.unwrap();
    assert!(store.head(&path).await.is_ok(), "what was completed stays");
    // Given up, dropped, or without a part.
    let given_up = store.path(&kind("exports")).unwrap();
    let mut upload = store.put_multipart(&given_up).await.unwrap();
    upload.put_part(part(1).into()).await.unwrap();
    upload.abort().await.unwrap();
    let mut upload = store.put_multipart(&given_up).await.unwrap();
    upload.put_part(part(2).into()).await.unwrap();
    let late = upload.put_part(part(3).into());
    drop(upload);
    drop(late.await);
    assert!(matches!(
        store.head(&given_up).await,
        Err(Error::NotFound { .. })
    ));
    let mut upload = store.put_multipart(&given_up).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.head(&given_up).await.unwrap().size, 0);
    let mut writer = WriteMultipart::new(other.put_multipart(&path).await.unwrap());
    writer.write(b"theirs");
    writer.finish().await.unwrap();
    assert_eq!(
        other.get(&path).await.unwrap().bytes().await.unwrap(),
        "theirs"
    );
    assert_eq!(
        scene
            .one
            .list(ListOptions::new())
            .await
            .unwrap()
            .records
            .len(),
        2
    );
}

#[tokio::test]
async fn what_is_aborted_while_it_is_completed_is_gone() {
    let scene = Scene::new();
    let [store, _] = scene.stores(1);
    let path = store.path(&kind("exports")).unwrap();
    let mut upload = store.put_multipart(&path).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    assert!(upload.complete().now_or_never().is_none(), "it waits");
    while store.head(&path).await.is_err() {
        tokio::task::yield_now().await;
    }
    upload.abort().await.unwrap();
    let gone = store.get(&path).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone:?}");
}

#[tokio::test]
async fn what_a_lock_keeps_is_not_told_as_aborted() {
    let scene = Scene::new();
    let options = PutOptions::new(Service::Reporting, Retention::days(1).locked());
    let store = TenantObjectStore::new(scene.one.clone(), options);
    let path = store.path(&kind("exports")).unwrap();
    let mut upload = store.put_multipart(&path).await.unwrap();
    assert!(upload.complete().now_or_never().is_none(), "it waits");
    let kept = upload.abort().await.unwrap_err();
    assert_eq!(cause(&kept), ErrorKind::Retained);
    assert!(store.get(&path).await.is_ok());
}

#[allow(
    clippy::reversed_empty_ranges,
    clippy::single_range_in_vec_init,
    reason = "what nobody should ask for"
)]
#[tokio::test]
async fn ranges_that_are_none_are_refused() {
    let scene = Scene::new();
    let [store, _] = scene.stores(1);
    let path = store.path(&kind("exports")).unwrap();
    store
        .put(&path, "0123456789".repeat(20).into())
        .await
        .unwrap();
    let most = u64::MAX;
    let wrong = [
        vec![0..100, 50..20],
        vec![50..20],
        vec![0..10, 5..most],
        vec![most..most, 0..1],
        vec![most - 1..most, 0..0],
    ];
    for ranges in wrong {
        let error = store.get_ranges(&path, &ranges).await.unwrap_err();
        assert_eq!(cause(&error), ErrorKind::InvalidInput, "{ranges:?}");
    }
    let read = store.get_ranges(&path, &[0..10, 5..6]).await.unwrap();
    assert_eq!(read, ["0123456789", "5"]);
    assert!(store.get_ranges(&path, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_blob_cannot_have_is_refused() {
    let scene = Scene::new();
    let [store, _] = scene.stores(0);
    let path = store.path(&kind("exports")).unwrap();
    let with = |attribute: Attribute, value: &'static str| StorePutOptions {
        attributes: Attributes::from_iter([(attribute, value)]),
        ..Default::default()
    };
    let put = |options| store.put_opts(&path, PutPayload::from("x"), options);
    for attribute in [
        Attribute::CacheControl,
        Attribute::ContentDisposition,
        Attribute::ContentEncoding,
        Attribute::ContentLanguage,
    ] {
        let error = put(with(attribute, "x")).await.unwrap_err();
        assert!(matches!(error, Error::NotImplemented { .. }), "{error}");
    }
    for (attribute, value) in [
        (Attribute::Metadata("File Name".into()), "x"),
        (Attribute::Metadata("tenantry_key".into()), "x"),
        (Attribute::ContentType, "none"),
        (Attribute::StorageClass, "GLACIER"),
    ] {
        assert_eq!(
            cause(&put(with(attribute, value)).await.unwrap_err()),
            ErrorKind::InvalidInput
        );
    }
    assert!(matches!(
        store.head(&path).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn the_suite_of_the_crate_passes_but_for_names_of_ones_own() {
    // It chooses names, and nothing else is put in between: see there.
    let fresh = || {
        let scene = Scene::new();
        let [store, other] = scene.stores(0);
        (Named::new(store), other)
    };
    macro_rules! run {
        ($($test:ident),*) => {$(
            let (store, other) = fresh();
            integration::$test(&store).await;
            assert!(listed(&other, None).await.is_empty());
        )*};
    }
    run!(
        put_get_delete_list,
        put_get_attributes,
        list_uses_directories_correctly,
        list_with_delimiter,
        copy_if_not_exists,
        copy_rename_nonexistent_object,
        multipart_out_of_order,
        list_with_offset_exclusivity
    );
    let (store, _) = fresh();
    let error = integration::get_nonexistent_object(&store, None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}
