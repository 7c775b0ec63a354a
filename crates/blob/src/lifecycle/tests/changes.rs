//! What changes when one policy takes the place of another.

use futures_util::stream;
use tenantry_core::{Error, ErrorKind};

use super::*;

fn policy(days: u32) -> LifecyclePolicy {
    LifecyclePolicy::of([LifecycleRule::new("all").with_base(delete_after(days))])
}

fn effect(before: &LifecyclePolicy, after: &LifecyclePolicy) -> Option<ChangeEffect> {
    let change = LifecycleChange::new(before, after, day(10));
    let blob = blob(TenantId::generate(), &Retention::days(1), 0);
    change.of(&blob).map(|change| change.effect)
}

#[test]
fn each_effect_has_a_name() {
    let none = LifecyclePolicy::none();
    let cool = LifecycleActions::none()
        .with_tier(Tier::Cool, LifecycleAge::created(20))
        .with_delete(LifecycleAge::created(30));
    let cool = LifecyclePolicy::of([LifecycleRule::new("all").with_base(cool)]);
    assert_eq!(effect(&none, &policy(30)), Some(ChangeEffect::NewlyDeleted));
    assert_eq!(
        effect(&policy(30), &none),
        Some(ChangeEffect::NoLongerDeleted)
    );
    assert_eq!(
        effect(&policy(30), &policy(20)),
        Some(ChangeEffect::DeletedSooner)
    );
    assert_eq!(
        effect(&policy(20), &policy(30)),
        Some(ChangeEffect::DeletedLater)
    );
    assert_eq!(effect(&policy(30), &cool), Some(ChangeEffect::OtherTiers));
    assert_eq!(effect(&policy(30), &policy(30)), None);
    assert_eq!(effect(&policy(3), &policy(5)), None, "both are due");
}

#[test]
fn a_report_counts_what_is_lost_and_from_when_on() {
    let tenants = [TenantId::generate(), TenantId::generate()];
    let kept = Retention::days(365);
    let blobs = (0..300).map(|number| {
        let tenant = tenants[number % 2];
        blob(tenant, &kept, number.try_into().unwrap())
    });
    let change = LifecycleChange::new(&policy(365), &policy(30), day(100));
    let report = change.report(blobs);
    assert_eq!((report.examined, report.deleted_sooner), (300, 300));
    assert_eq!(report.lost_bytes, 300_000);
    assert_eq!(report.first_deletion, Some(day(100)));
    assert_eq!(report.too_early, 300, "their class keeps them for a year");
    assert_eq!(report.changes.len(), 100);
    let text = report.to_string();
    assert!(
        text.starts_with("of 300 blobs 0 are newly deleted and 300 sooner"),
        "{text}"
    );
    let of = |tenant: &TenantId| text.contains(&tenant.to_string());
    assert!(tenants.iter().all(of));
}

#[tokio::test]
async fn a_stream_is_counted_as_it_comes_and_fails_as_it_does() {
    let change = LifecycleChange::new(&LifecyclePolicy::none(), &policy(30), day(100));
    let of = |days| Ok(blob(TenantId::generate(), &Retention::days(1), days));
    let report = change
        .report_stream(stream::iter([of(0), of(1)]))
        .await
        .unwrap();
    assert_eq!(report.newly_deleted, 2);
    let broken = stream::iter([of(0), Err(Error::new(ErrorKind::Unavailable, "list blobs"))]);
    let error = change.report_stream(broken).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn rules_that_are_not_understood_are_named() {
    let odd = LifecyclePolicy::from_json(&serde_json::json!({"rules": [{"name": "odd"}]})).unwrap();
    let report = LifecycleChange::new(&odd, &policy(30), day(0)).report([]);
    assert_eq!(report.unjudged, ["odd"]);
    assert!(report.to_string().ends_with("not judged: odd"), "{report}");
}
