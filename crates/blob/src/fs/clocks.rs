//! Times: a clock that was set back, and ends without end.

use chrono::TimeDelta;
use tenantry_core::{Clock as _, ManualClock, Service, TenantId};

use super::scene::{Scene, clock, name, open_in};
use super::*;
use crate::retention::Retention;
use crate::store::{BlobStore, PutOptions};

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
