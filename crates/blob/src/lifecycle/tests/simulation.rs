//! What a policy does with a blob.

use tenantry_core::Actor;

use super::*;
use crate::{HoldTag, LegalHold};

fn simulate(rule: LifecycleRule, blob: &LifecycleBlob, now: DateTime<Utc>) -> BlobForecast {
    LifecycleSimulator::new(&LifecyclePolicy::of([rule]), now).forecast(blob)
}

fn steps(forecast: &BlobForecast) -> Vec<(StepAction, DateTime<Utc>)> {
    forecast
        .steps
        .iter()
        .map(|step| (step.action, step.from))
        .collect()
}

fn staged() -> LifecycleRule {
    LifecycleRule::new("staged").with_base(
        LifecycleActions::none()
            .with_tier(Tier::Cool, LifecycleAge::created(30))
            .with_tier(
                Tier::Archive,
                LifecycleAge::modified(60).and_since_tier_change(7),
            )
            .with_delete(LifecycleAge::created(365)),
    )
}

const fn to(tier: Tier) -> StepAction {
    StepAction::MoveTo(tier)
}

#[test]
fn a_blob_goes_its_way() {
    let blob = LifecycleBlob::new("abc/x", day(0));
    let forecast = simulate(staged(), &blob, day(0));
    assert_eq!(
        steps(&forecast),
        [
            (to(Tier::Cool), day(30)),
            (to(Tier::Archive), day(60)),
            (StepAction::Delete, day(365))
        ]
    );
    assert_eq!(forecast.steps[0].by, day(32), "within 48 hours");
    assert_eq!(
        forecast.to_string(),
        "abc/x: move to cool from 2026-01-31T00:00Z by staged, move to archive from \
         2026-03-02T00:00Z by staged, delete from 2027-01-01T00:00Z by staged"
    );
}

#[test]
fn of_what_is_due_at_once_the_cheapest_is_done() {
    let blob = LifecycleBlob::new("abc/x", day(0));
    assert_eq!(
        steps(&simulate(staged(), &blob, day(100))),
        [
            (to(Tier::Archive), day(100)),
            (StepAction::Delete, day(365))
        ]
    );
    assert_eq!(
        steps(&simulate(staged(), &blob, day(400))),
        [(StepAction::Delete, day(400))]
    );
}

#[test]
fn what_was_brought_back_stays_for_its_days() {
    let mut blob = LifecycleBlob::new("abc/x", day(0));
    blob.tier_changed_at = Some(day(99));
    assert_eq!(
        steps(&simulate(staged(), &blob, day(100)))[..2],
        [(to(Tier::Cool), day(100)), (to(Tier::Archive), day(107))]
    );
}

#[test]
fn no_rule_makes_a_blob_warmer() {
    let mut blob = LifecycleBlob::new("abc/x", day(0));
    blob.tier = Tier::Archive;
    assert_eq!(
        steps(&simulate(staged(), &blob, day(0))),
        [(StepAction::Delete, day(365))]
    );
}

#[test]
fn a_scope_keeps_a_blob_out_of_the_archive() {
    let mut blob = LifecycleBlob::new("abc/x", day(0));
    blob.is_scoped = true;
    assert_eq!(
        steps(&simulate(staged(), &blob, day(0))),
        [(to(Tier::Cool), day(30)), (StepAction::Delete, day(365))]
    );
}

#[test]
fn a_filter_asks_for_a_prefix_and_all_tags_in_their_letters() {
    let filter = LifecycleFilter::all()
        .with_prefix("abc/In")
        .with_tag("a", "1")
        .with_tag("b", "2");
    let rule = LifecycleRule::new("a")
        .with_filter(filter)
        .with_base(delete_after(1));
    let deleted = |path: &str, tags: &[(&str, &str)]| {
        let mut blob = LifecycleBlob::new(path, day(0));
        blob.tags = tags
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        simulate(rule.clone(), &blob, day(0)).deletion().is_some()
    };
    let both = [("a", "1"), ("b", "2")];
    assert!(deleted("abc/In/x", &both));
    assert!(deleted("abc/Inx", &[("a", "1"), ("b", "2"), ("c", "3")]));
    assert!(!deleted("abc/in/x", &both));
    assert!(!deleted("abcd/In/x", &both));
    assert!(!deleted("abc/In/x", &[("a", "1")]));
    assert!(!deleted("abc/In/x", &[("a", "1"), ("b", "3")]));
}

#[test]
fn the_rules_of_a_tenant_s_neighbour_do_not_reach_it() {
    let (one, other) = (TenantId::generate(), TenantId::generate());
    let rule = LifecycleRule::new("one")
        .with_filter(LifecycleFilter::all().with_prefix(format!("t-{one}/")))
        .with_base(delete_after(1));
    let retention = Retention::days(1);
    assert!(
        simulate(rule.clone(), &blob(one, &retention, 0), day(0))
            .deletion()
            .is_some()
    );
    assert!(
        simulate(rule, &blob(other, &retention, 0), day(0))
            .deletion()
            .is_none()
    );
}

#[test]
fn versions_and_snapshots_have_actions_of_their_own() {
    let rule = LifecycleRule::new("a")
        .with_versions(delete_after(5))
        .with_snapshots(delete_after(9));
    let mut blob = LifecycleBlob::new("abc/x", day(0));
    assert!(simulate(rule.clone(), &blob, day(0)).steps.is_empty());
    blob.part = BlobPart::Version;
    assert_eq!(
        steps(&simulate(rule.clone(), &blob, day(0))),
        [(StepAction::Delete, day(5))]
    );
    blob.part = BlobPart::Snapshot;
    assert_eq!(
        steps(&simulate(rule, &blob, day(0))),
        [(StepAction::Delete, day(9))]
    );
}

#[test]
fn an_access_that_is_not_known_is_the_beginning_of_the_record() {
    let cool = LifecycleActions::none().with_tier(Tier::Cool, LifecycleAge::accessed(10));
    let policy = LifecyclePolicy::of([LifecycleRule::new("a").with_base(cool)]);
    let simulator = LifecycleSimulator::new(&policy, day(0));
    let mut blob = LifecycleBlob::new("abc/x", day(0));
    let from = |simulator: &LifecycleSimulator, blob: &LifecycleBlob| {
        steps(&simulator.forecast(blob))[0].1
    };
    assert_eq!(from(&simulator, &blob), day(10));
    let tracked = simulator.with_access_tracked_since(day(5));
    assert_eq!(from(&tracked, &blob), day(15));
    blob.accessed_at = Some(day(20));
    assert_eq!(from(&tracked, &blob), day(30));
}

#[test]
fn a_lock_withholds_the_deletion_and_lets_the_tier_change() {
    let blob = blob(TenantId::generate(), &Retention::days(400).locked(), 0);
    let forecast = simulate(staged(), &blob, day(0));
    assert_eq!(
        steps(&forecast),
        [
            (to(Tier::Cool), day(30)),
            (to(Tier::Archive), day(60)),
            (StepAction::Delete, day(400))
        ]
    );
    let withheld = forecast.withheld.unwrap();
    assert_eq!((withheld.due, withheld.until), (day(365), Some(day(400))));
    assert_eq!(forecast.steps[2].breaks, None);
}

#[test]
fn a_hold_and_an_immutable_container_withhold_it_for_good() {
    let mut held = blob(TenantId::generate(), &Retention::days(1), 0);
    if let Some(retention) = &mut held.retention {
        retention.holds.push(LegalHold {
            tag: HoldTag::new("case17").unwrap(),
            reason: "they sue".to_owned(),
            by: Actor::system(),
            at: day(0),
        });
    }
    let mut contained = blob(TenantId::generate(), &Retention::days(1), 0);
    contained.is_in_immutable_container = true;
    for blob in [held, contained] {
        let forecast = simulate(staged(), &blob, day(0));
        assert_eq!(forecast.deletion(), None);
        assert_eq!(forecast.steps.len(), 2, "its tier changes");
        assert_eq!(forecast.withheld.unwrap().until, None);
    }
}

#[test]
fn what_only_tenantry_keeps_is_deleted_and_told() {
    let kept = blob(TenantId::generate(), &Retention::days(730), 0);
    let event = blob(
        TenantId::generate(),
        &Retention::until_event_then_days(1),
        0,
    );
    for blob in [kept, event] {
        let forecast = simulate(staged(), &blob, day(0));
        assert!(forecast.deletion().unwrap().breaks.is_some(), "{forecast}");
        assert!(forecast.to_string().contains("TOO EARLY"), "{forecast}");
    }
}

#[test]
fn a_disabled_rule_does_nothing() {
    let blob = LifecycleBlob::new("abc/x", day(0));
    let forecast = simulate(staged().disabled(), &blob, day(900));
    assert_eq!(forecast.to_string(), "abc/x: stays as it is");
}
