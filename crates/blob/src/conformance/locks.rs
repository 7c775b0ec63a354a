use std::time::Duration;

use chrono::TimeDelta;
use tenantry_core::{Clock as _, ErrorKind, ManualClock};

use super::{Scene, assert_fails, new_name, put, stored};
use crate::backend::Deletion;
use crate::record::Tier;
use crate::retention::{HoldTag, LockMode, RetainedBy, Retention};

const MINUTES: Duration = Duration::from_secs(10 * 60);

pub(super) async fn a_lock_comes_with_a_receipt(scene: &Scene) {
    for (retention, mode) in [
        (Retention::period(MINUTES).locked(), LockMode::Locked),
        (Retention::period(MINUTES).unlocked(), LockMode::Unlocked),
    ] {
        let name = new_name(&scene.one);
        let put = stored(&scene.one, &name, retention, "sealed").await;
        let receipt = put.receipt.expect("a receipt");
        assert_eq!((&receipt.name, receipt.mode), (&name, mode));
        assert_eq!(Some(receipt.until), put.record.retention.until);
        assert_eq!(receipt.etag, put.record.etag);
        let why = scene.one.why_retained(&name).await.expect("an answer");
        let until = receipt.until;
        assert_eq!(why.reasons, [RetainedBy::Lock { mode, until }]);
        let again = scene
            .one
            .put_bytes(&name, super::options(Retention::days(1)), "other")
            .await;
        assert_fails(again, ErrorKind::AlreadyExists, "over a locked blob");
    }
}

pub(super) async fn what_is_locked_is_neither_deleted_nor_shortened(scene: &Scene) {
    let name = put(&scene.one, Retention::period(MINUTES).locked(), "sealed").await;
    let until = scene.backend.now() + TimeDelta::minutes(1);
    let blobs = &scene.one;
    assert_fails(
        blobs.delete(&name).await,
        ErrorKind::Retained,
        "a locked blob",
    );
    let early = blobs.delete_early(&name, "a whim").await;
    assert_fails(early, ErrorKind::Retained, "a locked blob");
    let shorter = blobs.shorten_retention(&name, until, "a whim").await;
    assert_fails(shorter, ErrorKind::Retained, "a locked blob");
    // Also where it is asked for past the handle.
    let record = blobs.head(&name).await.expect("a record");
    let act = blobs
        .act(
            &record,
            crate::retention::RetentionAction::DeletedEarly,
            "a whim",
            None,
        )
        .expect("an act");
    for act in [None, Some(act.clone())] {
        let deletion = Deletion {
            name: name.clone(),
            etag: record.etag.clone(),
            act,
        };
        for answer in scene.backend.delete(&[deletion]).await {
            assert_fails(answer, ErrorKind::Retained, "a locked blob");
        }
    }
    let act = crate::retention::RetentionAct {
        action: crate::retention::RetentionAction::Shortened,
        ..act
    };
    let mut weaker = vec![record.retention.clone(); 3];
    weaker[0].until = Some(until);
    weaker[1].lock = None;
    weaker[2].lock = Some(LockMode::Unlocked);
    for weaker in weaker {
        let changed = scene
            .backend
            .set_retention(&name, &record.etag, &weaker, &act)
            .await;
        assert_fails(changed, ErrorKind::Retained, "a locked blob");
    }
    assert_eq!(blobs.head(&name).await.expect("a record"), record);
    let until = record
        .retention
        .until
        .map(|until| until + TimeDelta::minutes(1));
    let longer = blobs
        .extend_retention(&name, until.expect("an end"), "a request")
        .await;
    assert_eq!(longer.expect("it is extended").retention.until, until);
    // A lock keeps the bytes, not the place.
    let moved = blobs
        .set_tier(&name, Tier::Cool)
        .await
        .expect("it is moved");
    assert_eq!((moved.tier, moved.retention.until), (Tier::Cool, until));
    assert_eq!(blobs.get(&name).await.expect("its bytes").bytes, "sealed");
}

pub(super) async fn an_unlocked_lock_is_shortened_by_an_act_until_it_is_locked(scene: &Scene) {
    let name = put(&scene.one, Retention::period(MINUTES).unlocked(), "sealed").await;
    let blobs = &scene.one;
    assert_fails(blobs.delete(&name).await, ErrorKind::Retained, "a lock");
    let until = scene.backend.now() + TimeDelta::minutes(5);
    let shorter = blobs.shorten_retention(&name, until, "a request").await;
    assert_eq!(
        shorter.expect("it is shortened").retention.until,
        Some(until)
    );
    let locked = blobs
        .lock_retention(&name, "it is right")
        .await
        .expect("it is locked");
    assert_eq!(locked.retention.lock, Some(LockMode::Locked));
    let shorter = blobs
        .shorten_retention(&name, until - TimeDelta::minutes(1), "a whim")
        .await;
    assert_fails(shorter, ErrorKind::Retained, "a locked blob");
    let early = put(blobs, Retention::period(MINUTES).unlocked(), "sealed").await;
    blobs
        .delete_early(&early, "a request")
        .await
        .expect("it is deleted");
}

pub(super) async fn a_hold_keeps_whatever_else_is_said(scene: &Scene) {
    let blobs = &scene.one;
    let tag = HoldTag::new("case17").expect("a tag");
    let name = put(blobs, Retention::days(0), "evidence").await;
    assert_fails(
        blobs.place_hold(&name, &tag, "").await,
        ErrorKind::InvalidInput,
        "no reason",
    );
    let held = blobs
        .place_hold(&name, &tag, "they sue")
        .await
        .expect("it is held");
    assert!(held.retention.is_held());
    assert_eq!(
        blobs
            .place_hold(&name, &tag, "again")
            .await
            .expect("it is held"),
        held
    );
    assert_fails(
        blobs.delete(&name).await,
        ErrorKind::Retained,
        "a held blob",
    );
    let early = blobs.delete_early(&name, "a whim").await;
    assert_fails(early, ErrorKind::Retained, "a held blob");
    let deletion = Deletion {
        name: name.clone(),
        etag: held.etag,
        act: None,
    };
    for answer in scene.backend.delete(&[deletion]).await {
        assert_fails(answer, ErrorKind::Retained, "a held blob");
    }
    let why = blobs.why_retained(&name).await.expect("an answer");
    assert!(matches!(why.reasons[..], [RetainedBy::Hold(_)]) && why.deletable_from.is_none());
    let absent = HoldTag::new("case18").expect("a tag");
    let cleared = blobs.clear_hold(&name, &absent, "why").await;
    assert_fails(cleared, ErrorKind::InvalidInput, "a hold that is not there");
    let placed = why.reasons.into_iter().find_map(|reason| match reason {
        RetainedBy::Hold(hold) => Some(hold.tag),
        _ => None,
    });
    let cleared = blobs
        .clear_hold(&name, &placed.expect("a hold"), "it was settled")
        .await;
    assert!(!cleared.expect("it is cleared").retention.is_held());
    blobs.delete(&name).await.expect("nothing keeps it");
}

pub(super) async fn what_is_locked_or_held_outlives_an_erasure(scene: &Scene) {
    let scene = scene.anew();
    let tag = HoldTag::new("case17").expect("a tag");
    let locked = put(&scene.one, Retention::period(MINUTES).locked(), "sealed").await;
    let held = put(&scene.one, Retention::days(0), "evidence").await;
    scene
        .one
        .place_hold(&held, &tag, "they sue")
        .await
        .expect("it is held");
    let usual = put(&scene.one, Retention::days(1), "usual").await;
    let theirs = put(&scene.other, Retention::days(1), "theirs").await;
    let report = scene.one.erase("they left").await.expect("a report");
    assert_eq!(report.erased.len(), 1);
    let mut kept: Vec<_> = report.kept.iter().map(|it| it.name.clone()).collect();
    kept.sort();
    let mut expected = vec![locked.clone(), held.clone()];
    expected.sort();
    assert_eq!(kept, expected);
    for name in [&locked, &held] {
        assert!(scene.one.get(name).await.is_ok());
    }
    assert_fails(
        scene.one.get(&usual).await,
        ErrorKind::NotFound,
        "an erased blob",
    );
    assert!(scene.other.get(&theirs).await.is_ok());
}

pub(super) async fn a_lock_ends_exactly_at_its_end(scene: &Scene, clock: &ManualClock) {
    let name = put(&scene.one, Retention::days(7).locked(), "sealed").await;
    let record = scene.one.head(&name).await.expect("a record");
    let until = record.retention.until.expect("an end");
    clock.set(until - TimeDelta::microseconds(1));
    assert_fails(
        scene.one.delete(&name).await,
        ErrorKind::Retained,
        "a moment before",
    );
    let page = scene
        .backend
        .due(clock.now(), None, 5_000)
        .await
        .expect("a page");
    assert!(
        page.items.iter().all(|due| due.name != name),
        "it is not due yet"
    );
    clock.set(until);
    let page = scene
        .backend
        .due(clock.now(), None, 5_000)
        .await
        .expect("a page");
    assert!(page.items.iter().any(|due| due.name == name), "it is due");
    scene.one.delete(&name).await.expect("its time is over");
}

pub(super) async fn nothing_ends_by_a_clock_that_was_set_back(scene: &Scene, clock: &ManualClock) {
    let right = clock.now();
    let period = put(&scene.one, Retention::days(9), "kept").await;
    // For a while the clock ran ahead, and something looked at it.
    clock.set(right + TimeDelta::days(10));
    scene.backend.now();
    clock.set(right);
    let name = put(&scene.one, Retention::days(1), "new").await;
    let record = scene.one.head(&name).await.expect("a record");
    assert!(
        record.retention.until >= Some(right + TimeDelta::days(11)),
        "it is kept no less long than by the clock as it was"
    );
    let check = scene.backend.check_clock("end");
    assert_fails(check, ErrorKind::Retained, "by a clock that was set back");
    for name in [&period, &name] {
        assert_fails(
            scene.one.delete(name).await,
            ErrorKind::Retained,
            "by a clock that was set back",
        );
        let early = scene.one.delete_early(name, "a whim").await;
        assert_fails(early, ErrorKind::Retained, "by a clock that was set back");
        let shorter = scene.one.shorten_retention(name, right, "a whim").await;
        assert_fails(shorter, ErrorKind::Retained, "by a clock that was set back");
    }
    clock.set(right + TimeDelta::days(10));
    let check = scene.backend.check_clock("end");
    check.expect("the clock has caught up");
    scene
        .one
        .delete(&period)
        .await
        .expect("the clock has caught up");
}
