use std::time::Duration;

use tenantry_core::{ErrorKind, Result};

use super::{Scene, assert_fails, new_name, options, put};
use crate::name::BlobName;
use crate::record::{RehydratePriority, Tier};
use crate::retention::{HoldTag, Retention};
use crate::store::{ListOptions, TenantBlobs};

/// Every operation on one blob, by its name.
async fn every_operation(blobs: &TenantBlobs, name: &BlobName) -> Vec<(&'static str, Result<()>)> {
    let at = "2099-01-01T00:00:00Z".parse().expect("a time");
    let tag = HoldTag::new("case17").expect("a tag");
    let copy = new_name(blobs);
    let hours = Duration::from_secs(60);
    let priority = RehydratePriority::Standard;
    vec![
        ("head", blobs.head(name).await.map(drop)),
        ("get", blobs.get(name).await.map(drop)),
        ("stream", blobs.stream(name).await.map(drop)),
        ("range", blobs.range(name, 0..1).await.map(drop)),
        (
            "stream_range",
            blobs.stream_range(name, 0..1).await.map(drop),
        ),
        (
            "copy",
            blobs.copy(name, &copy, Retention::days(1)).await.map(drop),
        ),
        ("set_tier", blobs.set_tier(name, Tier::Cool).await.map(drop)),
        (
            "rehydrate",
            blobs.rehydrate(name, Tier::Hot, priority).await.map(drop),
        ),
        ("signed_url", blobs.signed_url(name, hours).await.map(drop)),
        ("why_retained", blobs.why_retained(name).await.map(drop)),
        (
            "extend",
            blobs.extend_retention(name, at, "why").await.map(drop),
        ),
        (
            "shorten",
            blobs.shorten_retention(name, at, "why").await.map(drop),
        ),
        ("lock", blobs.lock_retention(name, "why").await.map(drop)),
        (
            "report_event",
            blobs.report_event(name, at, "why").await.map(drop),
        ),
        (
            "place_hold",
            blobs.place_hold(name, &tag, "why").await.map(drop),
        ),
        (
            "clear_hold",
            blobs.clear_hold(name, &tag, "why").await.map(drop),
        ),
        ("delete", blobs.delete(name).await),
        ("delete_early", blobs.delete_early(name, "why").await),
    ]
}

pub(super) async fn what_another_tenant_has_does_not_exist(scene: &Scene) {
    let name = put(&scene.one, Retention::days(1), "theirs").await;
    let before = scene.one.head(&name).await.expect("a record");
    let missing = new_name(&scene.other);
    let foreign = every_operation(&scene.other, &name).await;
    let absent = every_operation(&scene.other, &missing).await;
    for ((operation, foreign), (_, absent)) in foreign.into_iter().zip(absent) {
        let foreign = assert_fails(foreign, ErrorKind::NotFound, operation);
        let absent = assert_fails(absent, ErrorKind::NotFound, operation);
        // But for the name that was asked for, the answer is the same.
        let texts = [(foreign, &name), (absent, &missing)]
            .map(|(error, name)| error.to_string().replace(name.as_str(), "<name>"));
        assert_eq!(texts[0], texts[1], "{operation}");
    }
    // A name that is taken and one that is free answer alike.
    for theirs in [&name, &new_name(&scene.one)] {
        let put = scene
            .other
            .put_bytes(theirs, options(Retention::days(1)), "mine")
            .await;
        assert_fails(put, ErrorKind::InvalidInput, "a put under another's name");
        let own = put_own(&scene.other).await;
        let copied = scene.other.copy(&own, theirs, Retention::days(1)).await;
        assert_fails(
            copied,
            ErrorKind::InvalidInput,
            "a copy under another's name",
        );
    }
    let after = scene.one.head(&name).await.expect("a record");
    assert_eq!(after, before, "it is what it was");
    assert_eq!(
        scene.one.get(&name).await.expect("its bytes").bytes,
        "theirs"
    );
    let listed = scene.other.list(ListOptions::new()).await.expect("a page");
    assert!(
        listed
            .records
            .iter()
            .all(|it| it.name.tenant() == scene.other.tenant())
    );
    let system = scene.store.tenant(scene.one.tenant());
    assert_eq!(system.head(&name).await.expect("a record"), before);
}

async fn put_own(blobs: &TenantBlobs) -> BlobName {
    put(blobs, Retention::days(1), "own").await
}
