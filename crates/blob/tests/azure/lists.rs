//! Lists, names and tenants.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tenantry_blob::{
    AzureLayout, BlobId, BlobKind, BlobName, BlobStore, ListOptions, PutOptions, Retention,
    SweepPolicy, Sweeper, TenantBlobs,
};
use tenantry_core::{ErrorKind, Service, TenantId};
use tenantry_testkit::AzuriteServer;
use uuid::Uuid;

use super::{layouts, open, settings};

fn options() -> PutOptions {
    PutOptions::new(Service::Reporting, Retention::days(0))
}

async fn put(blobs: &TenantBlobs, many: usize, retention: Retention) -> BTreeSet<BlobName> {
    let kind = BlobKind::new("exports").unwrap();
    let puts = (0..many).map(|_| async {
        let name = blobs.name(&kind)?;
        let options = PutOptions::new(Service::Reporting, retention.clone());
        blobs.put_bytes(&name, options, "bytes").await.map(|_| name)
    });
    stream::iter(puts)
        .buffer_unordered(16)
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_are_listed_in_pages_and_swept() {
    let server = AzuriteServer::shared().await.unwrap();
    let [layout, _] = layouts();
    let store = BlobStore::new(open(settings(server.url(), server, layout)));
    let (one, other) = (
        store.tenant(TenantId::generate()),
        store.tenant(TenantId::generate()),
    );
    let names = put(&one, 2_500, Retention::days(1)).await;
    let over = put(&other, 60, Retention::days(0)).await;
    let mut listed = Vec::new();
    let mut page = one
        .list(ListOptions::new().with_limit(1_000))
        .await
        .unwrap();
    let mut pages = 1;
    loop {
        listed.extend(page.records.into_iter().map(|record| record.name));
        let Some(next) = page.next else { break };
        page = one
            .list(ListOptions::new().with_limit(1_000).with_after(next))
            .await
            .unwrap();
        pages += 1;
    }
    assert_eq!(pages, 3);
    assert!(listed.iter().eq(names.iter()));
    let report = Sweeper::new(&store, SweepPolicy::default())
        .unwrap()
        .run()
        .await
        .unwrap();
    assert_eq!((report.deleted, report.failed), (60, 0), "{report:?}");
    assert_eq!(
        other
            .head(&over.into_iter().next().unwrap())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
}

/// Tenants whose names begin alike, and containers whose prefixes do.
#[tokio::test]
async fn a_prefix_that_begins_another_shows_nothing_of_it() {
    let server = AzuriteServer::shared().await.unwrap();
    let id = &Uuid::new_v4().simple().to_string()[..8];
    let kind = BlobKind::new("exports").unwrap();
    let tenant = TenantId::generate();
    let mut stores = Vec::new();
    for prefix in ["t1", "t10"] {
        let layout = AzureLayout::container_per_tenant(&format!("{id}{prefix}")).unwrap();
        let store = BlobStore::new(open(settings(server.url(), server, layout)));
        let blobs = store.tenant(tenant);
        let name = blobs.name(&kind).unwrap();
        blobs.put_bytes(&name, options(), prefix).await.unwrap();
        stores.push((store, name));
    }
    for (at, (store, name)) in stores.iter().enumerate() {
        let blobs = store.tenant(tenant);
        let page = blobs.list(ListOptions::new()).await.unwrap();
        let listed: Vec<_> = page.records.iter().map(|it| &it.name).collect();
        assert_eq!(listed, [name]);
        let (_, theirs) = &stores[1 - at];
        assert_eq!(
            blobs.get(theirs).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let plan = Sweeper::new(store, SweepPolicy::default())
            .unwrap()
            .plan()
            .await
            .unwrap();
        assert_eq!((plan.examined, plan.is_complete), (1, true), "{plan:?}");
    }
}

#[tokio::test]
async fn the_longest_name_and_all_that_may_be_said_of_a_blob_fit() {
    use tenantry_blob::{Metadata, Tags};
    let server = AzuriteServer::shared().await.unwrap();
    for layout in layouts() {
        let store = BlobStore::new(open(settings(server.url(), server, layout)));
        let blobs = store.tenant(TenantId::generate());
        let kind = BlobKind::new(&"k".repeat(63)).unwrap();
        let name = blobs.name_of(&kind, BlobId::generate()).unwrap();
        let metadata = Metadata::new()
            .with("empty", "")
            .and_then(|it| it.with("blank", "  a  b  "))
            .and_then(|it| it.with("percent", "%41 %00 100%".repeat(90)))
            .and_then(|it| it.with("text", "März € 😀 \"'<&>\\".repeat(20)))
            .unwrap();
        let tags = (0..7).fold(Tags::new(), |tags, number| {
            let value = format!("{:-<256}", " a+b-c.d/e:f=g_h ");
            tags.with(format!("{number:x<64}"), value).unwrap()
        });
        let options = options()
            .with_metadata(metadata.clone())
            .with_tags(tags.clone());
        let put = blobs.put_bytes(&name, options, "all").await.unwrap();
        assert_eq!((&put.record.metadata, &put.record.tags), (&metadata, &tags));
        assert_eq!(blobs.head(&name).await.unwrap(), put.record);
        let page = blobs.list(ListOptions::new()).await.unwrap();
        assert_eq!(page.records, [put.record]);
    }
}

#[tokio::test]
async fn where_no_container_is_made_a_put_says_so() {
    let server = AzuriteServer::shared().await.unwrap();
    for layout in layouts() {
        let settings = settings(server.url(), server, layout).without_creating_containers();
        let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
        let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
        for length in [1, 9 * 1024 * 1024] {
            let put = blobs
                .put_bytes(&name, options(), vec![0; length])
                .await
                .unwrap_err();
            assert_eq!(put.kind(), ErrorKind::Unsupported, "{put:?}");
        }
        assert_eq!(
            blobs.get(&name).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(
            blobs
                .list(ListOptions::new())
                .await
                .unwrap()
                .records
                .is_empty()
        );
    }
}

/// An account that keeps what was deleted has not erased it yet, and the report says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_tells_when_the_account_throws_away_what_was_deleted() {
    let server = AzuriteServer::shared().await.unwrap();
    let days = |days: u64| std::time::Duration::from_secs(days * 24 * 60 * 60);
    let said = [None, Some(days(0)), Some(days(7))];
    for (keeps, [layout, _]) in said.into_iter().zip(std::iter::repeat_with(layouts)) {
        let settings = settings(server.url(), server, layout);
        let settings = match keeps {
            // It is asked, and keeps nothing.
            None => settings,
            Some(keeps) => settings.with_soft_delete(keeps),
        };
        let store = BlobStore::new(open(settings));
        for tenant in [TenantId::generate(), TenantId::generate()] {
            let blobs = store.tenant(tenant);
            put(&blobs, 2, Retention::days(1)).await;
            let report = blobs.erase("they have left").await.unwrap();
            assert_eq!(report.erased.len(), 2);
            let keeps = keeps.filter(|keeps| !keeps.is_zero());
            assert_eq!(
                report.purged_at,
                keeps.map(|keeps| report.verified_at + keeps)
            );
        }
    }
}
