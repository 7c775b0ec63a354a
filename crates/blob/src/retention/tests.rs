use std::time::Duration;

use chrono::{DateTime, Utc};
use tenantry_core::{Actor, ErrorKind, TenantId};

use super::*;
use crate::name::{BlobId, BlobKind, BlobName};

fn at(day: u32) -> DateTime<Utc> {
    format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
}

fn name() -> BlobName {
    let kind = BlobKind::new("exports").unwrap();
    BlobName::new(TenantId::generate(), &kind, at(1), BlobId::generate()).unwrap()
}

fn act(action: RetentionAction) -> RetentionAct {
    RetentionAct {
        name: name(),
        action,
        actor: Actor::new("user:1").unwrap(),
        reason: "a reason".into(),
        at: at(1),
        trace: None,
        until_before: None,
        until_after: None,
    }
}

fn state(retention: &Retention) -> RetentionState {
    retention.resolve(at(1)).unwrap()
}

fn with_until(state: &RetentionState, day: u32) -> RetentionState {
    RetentionState {
        until: Some(at(day)),
        ..state.clone()
    }
}

fn held(state: &RetentionState) -> RetentionState {
    RetentionState {
        holds: vec![LegalHold {
            tag: HoldTag::new("case17").unwrap(),
            reason: "they sue".into(),
            by: Actor::new("user:lawyer").unwrap(),
            at: at(1),
        }],
        ..state.clone()
    }
}

fn change(
    from: &RetentionState,
    to: &RetentionState,
    action: RetentionAction,
) -> Result<(), ErrorKind> {
    from.check_change(to, at(2), &act(action))
        .map_err(|error| error.kind())
}

fn deletion(
    state: &RetentionState,
    day: u32,
    action: Option<RetentionAction>,
) -> Result<(), ErrorKind> {
    let act = action.map(act);
    state
        .check_deletion(at(day), act.as_ref())
        .map_err(|error| error.kind())
}

const RETAINED: Result<(), ErrorKind> = Err(ErrorKind::Retained);
const INVALID: Result<(), ErrorKind> = Err(ErrorKind::InvalidInput);

#[test]
fn a_blob_may_be_deleted_from_its_end_on_and_not_a_moment_before() {
    let period = state(&Retention::days(9));
    assert_eq!(period.until, Some(at(10)));
    assert_eq!(deletion(&period, 9, None), RETAINED);
    let last = at(10) - chrono::TimeDelta::microseconds(1);
    assert!(period.check_deletion(last, None).is_err());
    assert_eq!(deletion(&period, 10, None), Ok(()));
    assert_eq!(deletion(&held(&period), 10, None), RETAINED);
}

#[test]
fn only_what_is_neither_locked_nor_held_nor_below_its_floor_is_deleted_early() {
    let early = Some(RetentionAction::DeletedEarly);
    let period = state(&Retention::days(9));
    assert_eq!(deletion(&period, 2, early), Ok(()));
    assert_eq!(
        deletion(&period, 2, Some(RetentionAction::Extended)),
        RETAINED
    );
    assert_eq!(
        deletion(&state(&Retention::days(9).unlocked()), 2, early),
        Ok(())
    );
    assert_eq!(
        deletion(&state(&Retention::days(9).locked()), 2, early),
        RETAINED
    );
    assert_eq!(deletion(&held(&period), 2, early), RETAINED);
    assert_eq!(
        deletion(&held(&period), 2, Some(RetentionAction::Erased)),
        RETAINED
    );
    let class = RetentionClass::new("exports", Retention::days(9)).unwrap();
    let class = class.with_floor_days(4);
    assert_eq!(deletion(&state(&class.retention()), 4, early), RETAINED);
    assert_eq!(deletion(&state(&class.retention()), 5, early), Ok(()));
}

#[test]
fn an_event_ends_what_waits_for_it_and_nothing_else_does() {
    let waiting = state(&Retention::until_event_then_days(3));
    assert_eq!(waiting.until, None);
    assert_eq!(deletion(&waiting, 31, None), RETAINED);
    let told = with_until(&waiting, 5);
    assert_eq!(
        change(&waiting, &told, RetentionAction::EventReported),
        Ok(())
    );
    assert_eq!(change(&waiting, &told, RetentionAction::Extended), RETAINED);
    assert_eq!(
        change(&told, &with_until(&told, 4), RetentionAction::EventReported),
        RETAINED
    );
}

#[test]
fn shortening_is_an_act_of_its_own_and_stops_at_the_floor() {
    let class = RetentionClass::new("exports", Retention::days(9)).unwrap();
    let class = class.with_floor_days(4).with_ceiling_days(20);
    let period = state(&class.retention());
    let shorter = with_until(&period, 6);
    assert_eq!(
        change(&period, &shorter, RetentionAction::Shortened),
        Ok(())
    );
    assert_eq!(
        change(&period, &shorter, RetentionAction::Extended),
        RETAINED
    );
    assert_eq!(
        change(&period, &shorter, RetentionAction::HoldPlaced),
        RETAINED
    );
    assert_eq!(
        change(&period, &with_until(&period, 4), RetentionAction::Shortened),
        RETAINED
    );
    assert_eq!(
        change(&period, &with_until(&period, 20), RetentionAction::Extended),
        Ok(())
    );
    assert_eq!(
        change(&period, &with_until(&period, 22), RetentionAction::Extended),
        INVALID
    );
}

#[test]
fn the_bounds_of_a_class_stay_what_they_were() {
    let class = RetentionClass::new("exports", Retention::days(9)).unwrap();
    let period = state(&class.with_floor_days(4).with_ceiling_days(20).retention());
    let others = [
        RetentionState {
            class: "other".into(),
            ..period.clone()
        },
        RetentionState {
            floor: None,
            ..period.clone()
        },
        RetentionState {
            ceiling: None,
            ..period.clone()
        },
    ];
    for other in others {
        assert_eq!(change(&period, &other, RetentionAction::Shortened), INVALID);
    }
}

#[test]
fn a_locked_lock_only_grows_whatever_is_asked_for_and_after_its_end_as_well() {
    use RetentionAction as Act;
    let all = [
        Act::Extended,
        Act::Shortened,
        Act::Locked,
        Act::EventReported,
        Act::HoldPlaced,
        Act::HoldCleared,
        Act::DeletedEarly,
        Act::Erased,
    ];
    let locked = state(&Retention::days(9).locked());
    let weaker = [
        with_until(&locked, 9),
        RetentionState {
            until: None,
            lock: None,
            ..locked.clone()
        },
        RetentionState {
            lock: None,
            ..locked.clone()
        },
        RetentionState {
            lock: Some(LockMode::Unlocked),
            ..locked.clone()
        },
    ];
    for (action, weaker) in all
        .iter()
        .flat_map(|it| weaker.iter().map(move |weak| (it, weak)))
    {
        for day in [2, 20] {
            let error = locked
                .check_change(weaker, at(day), &act(*action))
                .unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Retained,
                "{action:?} {weaker:?} on day {day}"
            );
        }
    }
    assert_eq!(
        change(&locked, &with_until(&locked, 11), Act::Extended),
        Ok(())
    );
    assert_eq!(change(&locked, &held(&locked), Act::HoldPlaced), Ok(()));
    let endless = RetentionState {
        until: None,
        ..locked.clone()
    };
    assert_eq!(change(&locked, &endless, Act::Extended), INVALID);
}

#[test]
fn an_unlocked_lock_is_taken_off_and_shortened_by_an_act() {
    let unlocked = state(&Retention::days(9).unlocked());
    let off = RetentionState {
        lock: None,
        ..unlocked.clone()
    };
    assert_eq!(change(&unlocked, &off, RetentionAction::Shortened), Ok(()));
    assert_eq!(change(&unlocked, &off, RetentionAction::Extended), RETAINED);
    assert_eq!(
        change(
            &unlocked,
            &with_until(&unlocked, 5),
            RetentionAction::Shortened
        ),
        Ok(())
    );
    let locked = RetentionState {
        lock: Some(LockMode::Locked),
        ..unlocked.clone()
    };
    assert_eq!(change(&unlocked, &locked, RetentionAction::Locked), Ok(()));
}

#[test]
fn a_lock_of_others_forbids_an_early_end_and_is_never_stored() {
    let period = state(&Retention::days(9));
    let locked = RetentionState {
        locked_by_others: Some(at(5)),
        ..period.clone()
    };
    let erased = act(RetentionAction::Erased);
    let refused = locked.check_deletion(at(4), Some(&erased)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Retained);
    assert!(refused.detail().contains("others"), "{refused}");
    assert!(locked.is_locked_at(at(4)) && !locked.is_locked_at(at(5)));
    locked.check_deletion(at(5), Some(&erased)).unwrap();
    let json = serde_json::to_string(&locked).unwrap();
    assert_eq!(json, serde_json::to_string(&period).unwrap());
}

#[test]
fn a_hold_is_cleared_by_that_act_alone() {
    let period = state(&Retention::days(9));
    let held = held(&period);
    assert_eq!(change(&held, &period, RetentionAction::Shortened), RETAINED);
    assert_eq!(change(&held, &period, RetentionAction::HoldCleared), Ok(()));
    assert_eq!(
        change(&held, &with_until(&held, 20), RetentionAction::Extended),
        Ok(())
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let days = |days| Retention::days(days);
    let class = RetentionClass::new("exports", days(9))
        .unwrap()
        .with_floor_days(4)
        .with_ceiling_days(20);
    let bad = [
        Retention::until_event_then_days(3).locked(),
        days(9)
            .counted_from(at(1) - chrono::TimeDelta::days(30))
            .locked(),
        days(0).unlocked(),
        days(146_001),
        days(9).archived_after_days(146_001),
        Retention::until_event_then(Duration::MAX),
        RetentionClass::new("a", days(3))
            .unwrap()
            .with_floor_days(4)
            .retention(),
        RetentionClass::new("a", days(30))
            .unwrap()
            .with_ceiling_days(20)
            .retention(),
    ];
    for retention in bad {
        let error = retention.resolve(at(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{retention:?}");
    }
    assert!(days(9).resolve(DateTime::<Utc>::MAX_UTC).is_err());
    assert!(class.retention_of_days(3).is_err() && class.retention_of_days(21).is_err());
    let own = class.retention_of_days(20).unwrap().resolve(at(1)).unwrap();
    assert_eq!((own.until, own.class.as_str()), (Some(at(21)), "exports"));
    for name in ["", "Exports", "a b", "../a"] {
        assert!(RetentionClass::new(name, days(1)).is_err(), "{name}");
    }
}

/// A rule that deletes blobs of a class finds them by its name.
#[test]
fn a_class_is_not_called_as_what_has_none() {
    for plain in [
        Retention::days(1),
        Retention::period(Duration::from_secs(1)),
        Retention::until(at(9)),
        Retention::until_event_then_days(1),
    ] {
        let name = state(&plain).class;
        let error = RetentionClass::new(&name, Retention::days(30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        assert_eq!(error.subject(), name);
        let longer = format!("{name}s");
        assert!(RetentionClass::new(&longer, Retention::days(30)).is_ok());
    }
}

#[test]
fn an_anchor_moves_all_that_is_counted() {
    let state = state(
        &Retention::days(20)
            .archived_after_days(5)
            .counted_from(at(3)),
    );
    assert_eq!((state.until, state.archive_at), (Some(at(23)), Some(at(8))));
}

#[test]
fn all_reasons_are_told_with_who_and_why_but_not_in_an_error() {
    let locked = state(&Retention::days(9).locked());
    let name = name();
    let why = WhyRetained::new(name.clone(), &held(&locked), at(2));
    assert_eq!(
        why.to_string(),
        format!(
            "{name}: legal hold case17 of user:lawyer keeps it since 2026-01-01T00:00:00Z: they sue\n\
             a lock (locked) keeps it until 2026-01-10T00:00:00Z\n\
             from when on it may be deleted is not known yet"
        )
    );
    let error = held(&locked).check_deletion(at(2), None).unwrap_err();
    assert_eq!(
        error.detail(),
        "legal hold case17 keeps it; a lock (locked) keeps it until 2026-01-10T00:00:00Z"
    );
    let over = WhyRetained::new(name.clone(), &locked, at(12));
    assert!(!over.is_retained());
    assert_eq!(
        over.to_string(),
        format!("{name}: nothing keeps it\nit may be deleted since 2026-01-10T00:00:00Z")
    );
    let waiting = state(&Retention::until_event_then_days(3));
    let why = WhyRetained::new(name.clone(), &waiting, at(2));
    assert_eq!(
        why.to_string(),
        format!(
            "{name}: the class until-event keeps it until its event is reported, and 3 days from then on\n\
             from when on it may be deleted is not known yet"
        )
    );
}

#[test]
fn a_tag_of_a_hold_is_what_azure_takes() {
    for bad in ["", "ab", "Case17", "case-17", &"a".repeat(24)] {
        assert!(HoldTag::new(bad).is_err(), "{bad}");
    }
    assert_eq!(HoldTag::new("abc").unwrap().as_str(), "abc");
}
