use chrono::TimeDelta;
use tenantry_core::ErrorKind;

use super::{Scene, assert_fails, kind_of_failure, new_name, put};
use crate::backend::Deletion;
use crate::record::{ETag, RehydratePriority, Tier};
use crate::retention::{RetainedBy, Retention, RetentionClass};

pub(super) async fn what_is_kept_is_deleted_by_an_act_alone(scene: &Scene) {
    let name = put(&scene.one, Retention::days(1), "kept").await;
    assert_fails(
        scene.one.delete(&name).await,
        ErrorKind::Retained,
        "a blob before its time",
    );
    let early = scene.one.delete_early(&name, "").await;
    assert_fails(early, ErrorKind::InvalidInput, "an act without a reason");
    let early = scene.one.delete_early(&name, "two\nlines").await;
    assert_fails(early, ErrorKind::InvalidInput, "a reason of two lines");
    assert_eq!(scene.one.get(&name).await.expect("its bytes").bytes, "kept");
    scene
        .one
        .delete_early(&name, "asked by its owner")
        .await
        .expect("it is deleted");
    assert_eq!(
        kind_of_failure(scene.one.get(&name).await),
        Some(ErrorKind::NotFound)
    );
    assert_fails(
        scene.one.delete(&name).await,
        ErrorKind::NotFound,
        "a blob that is gone",
    );

    let over = put(&scene.one, Retention::days(0), "over").await;
    let why = scene.one.why_retained(&over).await.expect("an answer");
    assert!(!why.is_retained() && why.deletable_from.is_some());
    scene.one.delete(&over).await.expect("it is deleted");

    let class = RetentionClass::new("bills", Retention::days(9))
        .expect("a class")
        .with_floor_days(4);
    let floored = put(&scene.one, class.retention(), "bill").await;
    let early = scene.one.delete_early(&floored, "a whim").await;
    assert_fails(early, ErrorKind::Retained, "a blob before its floor");
}

pub(super) async fn deletions_are_answered_one_by_one(scene: &Scene) {
    let over = put(&scene.one, Retention::days(0), "over").await;
    let other = put(&scene.other, Retention::days(0), "over").await;
    let kept = put(&scene.one, Retention::days(1), "kept").await;
    let changed = put(&scene.one, Retention::days(0), "changed").await;
    let missing = new_name(&scene.one);
    let mut deletions = Vec::new();
    for name in [&over, &kept, &missing, &changed, &other, &over] {
        let etag = match scene.backend.head(name).await {
            Ok(record) if name != &changed => record.etag,
            _ => ETag::new("0-stale"),
        };
        deletions.push(Deletion {
            name: name.clone(),
            etag,
            act: None,
        });
    }
    let answers = scene.backend.delete(&deletions).await;
    let kinds: Vec<_> = answers.into_iter().map(kind_of_failure).collect();
    let expected = [
        None,
        Some(ErrorKind::Retained),
        Some(ErrorKind::NotFound),
        Some(ErrorKind::Conflict),
        None,
        Some(ErrorKind::NotFound),
    ];
    assert_eq!(kinds, expected);
    assert!(scene.one.get(&kept).await.is_ok() && scene.one.get(&changed).await.is_ok());
    assert!(scene.other.get(&other).await.is_err());
}

pub(super) async fn an_archived_blob_is_brought_back_before_it_is_read(scene: &Scene) {
    let name = put(&scene.one, Retention::days(1), "cold").await;
    let digest = scene.one.head(&name).await.expect("a record").sha256;
    for tier in [Tier::Cool, Tier::Cold, Tier::Hot] {
        let moved = scene.one.set_tier(&name, tier).await.expect("it is moved");
        assert_eq!((moved.tier, moved.sha256), (tier, digest));
        assert_eq!(scene.one.get(&name).await.expect("its bytes").bytes, "cold");
    }
    let archived = scene
        .one
        .set_tier(&name, Tier::Archive)
        .await
        .expect("it is archived");
    assert_eq!((archived.tier, archived.sha256), (Tier::Archive, digest));
    assert!(archived.tier_changed_at.is_some() && !archived.is_readable());
    assert_fails(
        scene.one.get(&name).await,
        ErrorKind::Rehydrating,
        "an archived blob",
    );
    assert_fails(
        scene.one.stream(&name).await,
        ErrorKind::Rehydrating,
        "an archived blob",
    );
    assert_fails(
        scene.one.range(&name, 0..1).await,
        ErrorKind::Rehydrating,
        "an archived blob",
    );
    let moved = scene.one.set_tier(&name, Tier::Hot).await;
    assert_fails(moved, ErrorKind::Rehydrating, "an archived blob");
    let to = new_name(&scene.one);
    let copied = scene.one.copy(&name, &to, Retention::days(1)).await;
    assert_fails(copied, ErrorKind::Rehydrating, "an archived blob");
    let back = scene
        .one
        .rehydrate(&name, Tier::Archive, RehydratePriority::High)
        .await;
    assert_fails(back, ErrorKind::InvalidInput, "back to the archive");
    let back = scene
        .one
        .rehydrate(&name, Tier::Hot, RehydratePriority::High)
        .await;
    let back = back.expect("it comes back");
    // How long it takes is the backend's.
    if back.is_readable() {
        assert_eq!(scene.one.get(&name).await.expect("its bytes").bytes, "cold");
    } else {
        assert_fails(
            scene.one.get(&name).await,
            ErrorKind::Rehydrating,
            "on its way back",
        );
    }
}

pub(super) async fn retention_is_extended_and_shortened_and_ended_by_events(scene: &Scene) {
    let class = RetentionClass::new("exports", Retention::days(9)).expect("a class");
    let class = class.with_floor_days(4).with_ceiling_days(20);
    let name = put(&scene.one, class.retention(), "kept").await;
    let record = scene.one.head(&name).await.expect("a record");
    let day = |days| record.created_at + TimeDelta::days(days);
    let blobs = &scene.one;

    let longer = blobs
        .extend_retention(&name, day(12), "a request")
        .await
        .expect("it is extended");
    assert_eq!(longer.retention.until, Some(day(12)));
    assert_ne!(longer.etag, record.etag);
    assert_eq!(blobs.head(&name).await.expect("a record"), longer);
    for sooner in [day(12), day(3)] {
        let extended = blobs.extend_retention(&name, sooner, "").await;
        assert_fails(
            extended,
            ErrorKind::InvalidInput,
            "an extension that is none",
        );
    }
    let beyond = blobs.extend_retention(&name, day(21), "").await;
    assert_fails(beyond, ErrorKind::InvalidInput, "beyond the ceiling");
    let unsaid = blobs.shorten_retention(&name, day(6), "").await;
    assert_fails(unsaid, ErrorKind::InvalidInput, "without a reason");
    let below = blobs.shorten_retention(&name, day(3), "a whim").await;
    assert_fails(below, ErrorKind::Retained, "below the floor");
    let shorter = blobs
        .shorten_retention(&name, day(6), "a request")
        .await
        .expect("it is shortened");
    assert_eq!(shorter.retention.until, Some(day(6)));
    let why = blobs.why_retained(&name).await.expect("an answer");
    let expected = vec![
        RetainedBy::Period {
            class: "exports".to_owned(),
            until: day(6),
        },
        // An act could end it, but not before that.
        RetainedBy::Floor { until: day(4) },
    ];
    assert_eq!((why.reasons, why.deletable_from), (expected, Some(day(6))));
    let lock = blobs.lock_retention(&name, "").await;
    assert_fails(lock, ErrorKind::InvalidInput, "a lock where there is none");

    let waiting = put(blobs, Retention::until_event_then_days(3), "a contract").await;
    assert_fails(
        blobs.delete(&waiting).await,
        ErrorKind::Retained,
        "before its event",
    );
    let extended = blobs.extend_retention(&waiting, day(900), "").await;
    assert_fails(extended, ErrorKind::InvalidInput, "longer than for ever");
    let told = blobs
        .report_event(&waiting, day(-3), "it was cancelled")
        .await;
    assert_eq!(told.expect("it is told").retention.until, Some(day(0)));
    let again = blobs.report_event(&waiting, day(1), "").await;
    assert_fails(again, ErrorKind::InvalidInput, "an event that came");
    blobs.delete(&waiting).await.expect("its time is over");
}

pub(super) async fn a_stale_state_changes_nothing(scene: &Scene) {
    let name = put(&scene.one, Retention::days(1), "kept").await;
    let record = scene.one.head(&name).await.expect("a record");
    let mut next = record.retention.clone();
    next.until = next.until.map(|until| until + TimeDelta::days(1));
    let act = crate::retention::RetentionAct {
        name: name.clone(),
        action: crate::retention::RetentionAction::Extended,
        actor: tenantry_core::Actor::system(),
        reason: String::new(),
        at: scene.backend.now(),
        trace: None,
        until_before: record.retention.until,
        until_after: next.until,
    };
    let stale = ETag::new("0-stale");
    let changed = scene
        .backend
        .set_retention(&name, &stale, &next, &act)
        .await;
    assert_fails(changed, ErrorKind::Conflict, "a stale state");
    let priority = RehydratePriority::Standard;
    let moved = scene
        .backend
        .set_tier(&name, &stale, Tier::Cool, priority)
        .await;
    assert_fails(moved, ErrorKind::Conflict, "a stale state");
    assert_eq!(scene.one.head(&name).await.expect("a record"), record);
    let changed = scene
        .backend
        .set_retention(&name, &record.etag, &next, &act)
        .await;
    assert_eq!(changed.expect("it is changed").retention, next);
    let again = scene
        .backend
        .set_retention(&name, &record.etag, &next, &act)
        .await;
    assert_fails(again, ErrorKind::Conflict, "a state that has gone");
}

pub(super) async fn a_tenant_is_erased_with_a_proof(scene: &Scene) {
    let scene = scene.anew();
    let theirs = put(&scene.other, Retention::days(1), "theirs").await;
    let empty = scene.one.erase("they left").await.expect("a report");
    assert!(empty.is_complete() && empty.erased.is_empty());
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(put(&scene.one, Retention::days(1), "mine").await);
        names.push(put(&scene.one, Retention::until_event_then_days(1), "mine").await);
    }
    let class = RetentionClass::new("bills", Retention::days(9)).expect("a class");
    let bill = put(&scene.one, class.with_floor_days(4).retention(), "bill").await;
    assert_fails(
        scene.one.erase("").await,
        ErrorKind::InvalidInput,
        "without a reason",
    );
    let report = scene.one.erase("they left").await.expect("a report");
    names.sort();
    let erased: Vec<_> = report.erased.iter().map(|it| it.name.clone()).collect();
    assert_eq!(erased, names);
    let kept: Vec<_> = report.kept.iter().map(|it| &it.name).collect();
    assert_eq!((kept, report.is_complete()), (vec![&bill], false));
    assert_eq!(report.failed, []);
    let text = report.to_string();
    assert!(
        text.contains("10 erased, 40 bytes") && text.contains(bill.as_str()),
        "{text}"
    );
    let page = scene
        .one
        .list(crate::store::ListOptions::new())
        .await
        .expect("a page");
    assert_eq!(page.records.len(), 1);
    assert_eq!(
        scene.other.get(&theirs).await.expect("its bytes").bytes,
        "theirs"
    );
}
