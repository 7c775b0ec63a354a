//! Locks and holds: kept behind a front that keeps them, and missed where Azurite ignores them.

use std::sync::Arc;
use std::time::Duration;

use tenantry_blob::conformance::{blob_clock_conformance, blob_lock_conformance};
use tenantry_blob::{BlobKind, BlobStore, HoldTag, PutOptions, Retention, RetentionClass};
use tenantry_core::{ErrorKind, ManualClock, Service, TenantId};
use tenantry_testkit::{AzuriteServer, WormFront};

use super::{layouts, open, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_kept_in_both_layouts() {
    let server = AzuriteServer::shared().await.unwrap();
    let front = WormFront::start(server).await.unwrap();
    for layout in layouts() {
        blob_lock_conformance(open(settings(front.url(), server, layout))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_end_with_the_clock() {
    let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
    let server = AzuriteServer::shared().await.unwrap();
    let of_service = Arc::new(clock.clone());
    let front = WormFront::start_with_clock(server, of_service)
        .await
        .unwrap();
    for layout in layouts() {
        let settings = settings(front.url(), server, layout).with_clock(Arc::new(clock.clone()));
        blob_clock_conformance(open(settings), &clock).await;
    }
}

/// Azurite takes the headers, answers that all is well, and keeps nothing.
#[tokio::test]
async fn a_lock_that_the_service_ignores_is_told_of_and_leaves_nothing() {
    let server = AzuriteServer::shared().await.unwrap();
    for layout in layouts() {
        let store = BlobStore::new(open(settings(server.url(), server, layout)));
        let blobs = store.tenant(TenantId::generate());
        let kind = BlobKind::new("audit-archive").unwrap();
        let floored = RetentionClass::new("audit", Retention::days(30).locked())
            .unwrap()
            .with_floor_days(9);
        let long = vec![7; 9 * 1024 * 1024];
        for retention in [
            Retention::days(7).locked(),
            Retention::days(7).unlocked(),
            floored.retention(),
        ] {
            for bytes in [b"sealed".to_vec(), long.clone()] {
                let name = blobs.name(&kind).unwrap();
                let options = PutOptions::new(Service::AuditTrail, retention.clone());
                let put = blobs.put_bytes(&name, options, bytes).await;
                let error = put.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::RetentionNotEnforced, "{error:?}");
                assert_eq!(
                    blobs.head(&name).await.unwrap_err().kind(),
                    ErrorKind::NotFound
                );
            }
        }
        let name = blobs.name(&kind).unwrap();
        let options = PutOptions::new(Service::AuditTrail, Retention::days(1));
        blobs.put_bytes(&name, options, "evidence").await.unwrap();
        let tag = HoldTag::new("case17").unwrap();
        let held = blobs.place_hold(&name, &tag, "they sue").await.unwrap_err();
        assert_eq!(held.kind(), ErrorKind::Unsupported, "{held:?}");
        assert!(!blobs.head(&name).await.unwrap().retention.is_held());
    }
}

#[tokio::test]
async fn of_a_hold_on_what_is_locked_the_service_knows_no_more_than_that_there_is_one() {
    let server = AzuriteServer::shared().await.unwrap();
    let front = WormFront::start(server).await.unwrap();
    let [layout, _] = layouts();
    let store = BlobStore::new(open(settings(front.url(), server, layout)));
    let blobs = store.tenant(TenantId::generate());
    let kind = BlobKind::new("audit-archive").unwrap();
    let name = blobs.name(&kind).unwrap();
    let options = PutOptions::new(Service::AuditTrail, Retention::days(1).unlocked());
    blobs.put_bytes(&name, options, "evidence").await.unwrap();
    let case17 = HoldTag::new("case17").unwrap();
    let held = blobs.place_hold(&name, &case17, "they sue").await.unwrap();
    let tags: Vec<_> = held
        .retention
        .holds
        .iter()
        .map(|it| it.tag.as_str())
        .collect();
    assert_eq!(tags, ["azure"]);
    let case18 = HoldTag::new("case18").unwrap();
    let second = blobs
        .place_hold(&name, &case18, "so do they")
        .await
        .unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Retained, "{second:?}");
    // The list tells the same as the look.
    let page = blobs.list(tenantry_blob::ListOptions::new()).await.unwrap();
    assert_eq!(page.records, std::slice::from_ref(&held));
    let end = held.retention.until.unwrap() + chrono::TimeDelta::days(1);
    let longer = blobs
        .extend_retention(&name, end, "a request")
        .await
        .unwrap();
    assert_eq!(longer.retention.until, Some(end));
    assert!(longer.retention.is_held());
    let azure = HoldTag::new("azure").unwrap();
    let cleared = blobs
        .clear_hold(&name, &azure, "it was settled")
        .await
        .unwrap();
    assert!(!cleared.retention.is_held() && cleared.retention.lock.is_some());
}

/// Whoever is gone before the lock was read back leaves nothing that is visible without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_is_dropped_does_not_stay_without_its_lock() {
    let server = AzuriteServer::shared().await.unwrap();
    let [_, layout] = layouts();
    let store = BlobStore::new(open(settings(server.url(), server, layout)));
    let blobs = store.tenant(TenantId::generate());
    let kind = BlobKind::new("exports").unwrap();
    // Its container is there then.
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let first = blobs.name(&kind).unwrap();
    blobs.put_bytes(&first, options, "first").await.unwrap();
    let mut dropped = Vec::new();
    for micros in (0..24_000).step_by(200) {
        let name = blobs.name(&kind).unwrap();
        let options = PutOptions::new(Service::Reporting, Retention::days(9).locked());
        let put = blobs.put_bytes(&name, options, "sealed");
        let put = tokio::time::timeout(Duration::from_micros(micros), put).await;
        if put.is_err() {
            dropped.push(name);
        }
    }
    assert!(!dropped.is_empty());
    for name in dropped {
        let is_gone = async {
            while blobs.head(&name).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_gone)
            .await
            .expect("it stays without its lock");
    }
}
