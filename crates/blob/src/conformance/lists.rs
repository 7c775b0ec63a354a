use std::collections::BTreeSet;

use chrono::TimeDelta;
use tenantry_core::ErrorKind;

use super::{Scene, assert_fails, kind_of, options, put, stored};
use crate::backend::{DueAction, DueBlob};
use crate::name::{BlobId, BlobName};
use crate::record::Tier;
use crate::retention::{HoldTag, Retention};
use crate::store::{ListOptions, TenantBlobs};

const MANY: usize = 23;

async fn listed(blobs: &TenantBlobs, options: ListOptions) -> Vec<BlobName> {
    let mut names = Vec::new();
    let mut page = blobs.list(options.clone()).await.expect("a page");
    loop {
        names.extend(page.records.into_iter().map(|record| record.name));
        let Some(next) = page.next else {
            return names;
        };
        page = blobs
            .list(options.clone().with_after(next))
            .await
            .expect("a page");
    }
}

pub(super) async fn pages_have_each_blob_once_and_in_order(scene: &Scene) {
    let scene = scene.anew();
    assert!(listed(&scene.one, ListOptions::new()).await.is_empty());
    let mut expected = BTreeSet::new();
    for _ in 0..MANY {
        expected.insert(put(&scene.one, Retention::days(1), "one").await);
        put(&scene.other, Retention::days(1), "other").await;
    }
    let expected: Vec<_> = expected.into_iter().collect();
    for limit in [1, 4, MANY - 1, MANY, MANY + 1, 5_000] {
        let names = listed(&scene.one, ListOptions::new().with_limit(limit)).await;
        assert_eq!(names, expected, "in pages of {limit}");
    }
    for limit in [0, 5_001] {
        let page = scene.one.list(ListOptions::new().with_limit(limit)).await;
        assert_fails(page, ErrorKind::InvalidInput, "a limit out of range");
    }
    // What a page ended with may be gone when the next is read.
    let first = scene
        .one
        .list(ListOptions::new().with_limit(4))
        .await
        .expect("a page");
    let next = first.next.expect("there are more");
    scene
        .one
        .delete_early(&expected[3], "a test")
        .await
        .expect("it is deleted");
    let page = scene
        .one
        .list(ListOptions::new().with_limit(4).with_after(&next))
        .await;
    let names: Vec<_> = page
        .expect("a page")
        .records
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, expected[4..8]);
    for cursor in [next.as_str(), "", "x", "\u{0}"] {
        let page = scene
            .other
            .list(ListOptions::new().with_after(cursor))
            .await;
        assert_fails(page, ErrorKind::InvalidCursor, "a cursor of another's");
    }
}

pub(super) async fn a_kind_that_begins_another_does_not_list_it(scene: &Scene) {
    let scene = scene.anew();
    let longest = "x".repeat(63);
    let mut names = Vec::new();
    for kind in [
        "report", "report-s", "report0", "report_", "reports", &longest,
    ] {
        let id = BlobId::generate();
        let name = scene.one.name_of(&kind_of(kind), id).expect("a name");
        stored(&scene.one, &name, Retention::days(1), "one").await;
        names.push((kind, name));
    }
    for (kind, name) in &names {
        let options = ListOptions::new().with_kind(&kind_of(kind));
        assert_eq!(
            listed(&scene.one, options.clone()).await,
            std::slice::from_ref(name),
            "{kind}"
        );
        let now = scene.backend.now();
        let (year, month) = {
            use chrono::Datelike as _;
            (u16::try_from(now.year()), u8::try_from(now.month()))
        };
        let (year, month) = (year.expect("a year"), month.expect("a month"));
        let in_month = options.clone().with_month(year, month);
        assert_eq!(listed(&scene.one, in_month).await.len(), 1, "{kind}");
        assert!(
            listed(&scene.one, options.with_month(year - 1, month))
                .await
                .is_empty()
        );
    }
    let mut all: Vec<_> = names.into_iter().map(|(_, name)| name).collect();
    all.sort();
    assert_eq!(
        listed(&scene.one, ListOptions::new().with_limit(2)).await,
        all
    );
}

pub(super) async fn what_is_due_is_found_and_nothing_else(scene: &Scene) {
    let scene = scene.anew();
    let over = put(&scene.one, Retention::days(2), "over").await;
    let foreign = put(&scene.other, Retention::days(1), "over").await;
    let archived = put(
        &scene.one,
        Retention::days(9).archived_after_days(1),
        "cold",
    )
    .await;
    let both = put(
        &scene.one,
        Retention::days(3).archived_after_days(1),
        "over",
    )
    .await;
    let held = put(&scene.one, Retention::days(1), "held").await;
    let tag = HoldTag::new("case17").expect("a tag");
    put(&scene.one, Retention::days(30), "later").await;
    put(&scene.one, Retention::until_event_then_days(0), "waiting").await;
    let name = scene.one.name(&super::kind()).expect("a name");
    let in_archive = options(Retention::days(30).archived_after_days(1)).with_tier(Tier::Archive);
    scene
        .one
        .put_bytes(&name, in_archive, "cold")
        .await
        .expect("it is put");
    let is_held = scene.one.place_hold(&held, &tag, "a suit").await.is_ok();
    let at = scene.backend.now() + TimeDelta::days(4);

    let mut found: Vec<DueBlob> = Vec::new();
    let mut after = None;
    loop {
        let page = scene
            .backend
            .due(at, after.as_deref(), 2)
            .await
            .expect("a page");
        assert!(page.items.len() <= 2);
        found.extend(page.items.into_iter().filter_map(|it| it.due.ok()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let tenants = [scene.one.tenant(), scene.other.tenant()];
    found.retain(|due| tenants.contains(&due.name.tenant()));
    let mut actions: Vec<_> = found
        .iter()
        .map(|due| (due.name.clone(), due.action))
        .collect();
    actions.sort_by(|one, other| one.0.cmp(&other.0));
    let mut expected = vec![
        (over, DueAction::Delete),
        (foreign, DueAction::Delete),
        (archived, DueAction::Archive),
        (both, DueAction::Delete),
    ];
    if !is_held {
        // A service that keeps no hold has said so.
        expected.push((held, DueAction::Delete));
    }
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(actions, expected);
    for due in found {
        let record = scene.backend.head(&due.name).await.expect("a record");
        assert_eq!((due.etag, due.length), (record.etag, record.length));
    }
    for cursor in ["x", "1@x"] {
        let page = scene.backend.due(at, Some(cursor), 2).await;
        assert_fails(page, ErrorKind::InvalidCursor, "a cursor that no page gave");
    }
}
