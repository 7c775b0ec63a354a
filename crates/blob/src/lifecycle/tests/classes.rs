//! A rule never deletes earlier than a class allows.

use super::*;
use crate::lifecycle::LifecycleProblem as Problem;

fn problems(plan: &LifecyclePlan) -> Vec<Problem> {
    plan.faults()
        .into_iter()
        .map(|fault| fault.problem)
        .collect()
}

fn too_early(class: &str, days: u32, needed: u32) -> Problem {
    Problem::TooEarly {
        class: class.to_owned(),
        days,
        needed,
    }
}

fn unbounded(class: &str) -> Problem {
    Problem::Unbounded {
        class: class.to_owned(),
    }
}

/// A rule that deletes after days what has the tag of a class.
fn of_class(class: &str, days: u32) -> LifecycleRule {
    LifecycleRule::new("rule")
        .with_filter(LifecycleFilter::all().with_class(class))
        .with_base(delete_after(days))
}

#[test]
fn a_class_is_deleted_after_its_ceiling_and_not_after_what_is_usual() {
    let exports = class("exports", Retention::days(365))
        .with_floor_days(30)
        .with_ceiling_days(730);
    let plan = plan().with_class(&exports);
    let with = |days| problems(&plan.clone().with_rule(of_class("exports", days)));
    assert_eq!(with(29), [too_early("exports", 29, 730)], "below the floor");
    assert_eq!(with(365), [too_early("exports", 365, 730)]);
    assert_eq!(with(729), [too_early("exports", 729, 730)]);
    assert_eq!(with(730), []);
}

#[test]
fn a_locked_class_is_deleted_after_its_lock_for_the_service_keeps_what_was_extended() {
    let archive = class("audit", Retention::days(2_557).locked());
    let plan = plan().with_class(&archive);
    let with = |days| problems(&plan.clone().with_rule(of_class("audit", days)));
    assert_eq!(with(2_556), [too_early("audit", 2_556, 2_557)]);
    assert_eq!(with(2_557), []);
}

#[test]
fn a_class_without_a_bound_is_deleted_by_no_rule() {
    let ceiling = class("until", Retention::until(day(9))).with_ceiling_days(90);
    for (class, expected) in [
        (class("open", Retention::days(30)), unbounded("open")),
        (
            class("trial", Retention::days(30).unlocked()),
            unbounded("trial"),
        ),
        (
            class("contract", Retention::until_event_then_days(30)),
            unbounded("contract"),
        ),
        (
            class("contract", Retention::until_event_then_days(30)).with_ceiling_days(3_650),
            unbounded("contract"),
        ),
        (class("fixed", Retention::until(day(9))), unbounded("fixed")),
        (ceiling, too_early("until", 9, 90)),
    ] {
        let rule = of_class(class.name(), 9);
        assert_eq!(
            problems(&plan().with_class(&class).with_rule(rule)),
            [expected]
        );
        let made = plan().with_class_rule(ClassLifecycle::new(&class).deleted());
        if class.longest().is_none() {
            assert_eq!(problems(&made), [unbounded(class.name())]);
        }
    }
}

#[test]
fn part_of_a_day_counts_as_one() {
    let hours = std::time::Duration::from_secs(25 * 60 * 60);
    let short = class("short", Retention::period(hours)).with_ceiling(hours);
    let policy = plan()
        .with_class_rule(ClassLifecycle::new(&short).deleted())
        .compile()
        .unwrap();
    let rule = policy.rules()[0].rule().unwrap();
    assert_eq!(
        rule.actions(BlobPart::Base).delete(),
        Some(LifecycleAge::created(2))
    );
}

#[test]
fn a_rule_without_a_class_is_held_against_all_that_it_reaches() {
    let exports = class("exports", Retention::days(30)).with_ceiling_days(90);
    let contracts = class("contracts", Retention::until_event_then_days(30));
    let plan = plan().with_class(&exports).with_class(&contracts);
    let within = |prefix: &str, days| {
        let filter = LifecycleFilter::all().with_prefix(prefix);
        let rule = LifecycleRule::new("rule")
            .with_filter(filter)
            .with_base(delete_after(days));
        problems(&plan.clone().with_rule(rule))
    };
    let both = [too_early("exports", 89, 90), unbounded("contracts")];
    assert_eq!(within("t", 89), both);
    assert_eq!(within("t-", 89), both);
    assert_eq!(within("t-0190", 89), both);
    assert_eq!(within("t-", 90), [unbounded("contracts")]);
    assert_eq!(within("temporary/", 1), [], "no tenant is there");
    let everywhere = LifecycleRule::new("rule").with_base(delete_after(1));
    assert_eq!(
        problems(&plan.clone().with_rule(everywhere.clone())).len(),
        2
    );
    assert_eq!(problems(&plan.clone().with_rule(everywhere.disabled())), []);
    let versions = LifecycleRule::new("rule").with_versions(delete_after(1));
    assert_eq!(problems(&plan.clone().with_rule(versions)).len(), 2);
    let tiers = LifecycleActions::none().with_tier(Tier::Cool, LifecycleAge::created(1));
    let tiers = LifecycleRule::new("rule").with_base(tiers);
    assert_eq!(problems(&plan.with_rule(tiers)), []);
}

#[test]
fn a_class_that_the_plan_does_not_know_is_deleted_by_no_rule() {
    let class = "exprots".to_owned();
    assert_eq!(
        problems(&plan().with_rule(of_class("exprots", 90_000))),
        [Problem::UnknownClass { class }]
    );
}

#[test]
fn what_was_put_without_a_class_is_deleted_by_no_rule() {
    for plain in [
        Retention::days(3_650),
        Retention::until(day(9)),
        Retention::until_event_then_days(30),
    ] {
        let name = plain.resolve(day(0)).unwrap().class;
        assert!(RetentionClass::new(&name, Retention::days(30)).is_err());
        assert_eq!(
            problems(&plan().with_rule(of_class(&name, 90_000))),
            [Problem::UnknownClass { class: name }]
        );
    }
}

#[test]
fn names_of_classes_stay_apart_as_rules() {
    let names: Vec<_> = ["a-b", "a_b", "a--b", "aub"]
        .map(|name| {
            let class = class(name, Retention::days(9).archived_after_days(3));
            let plan = plan().with_class_rule(ClassLifecycle::new(&class));
            plan.compile().unwrap().rules()[0].name().to_owned()
        })
        .to_vec();
    assert_eq!(
        names,
        [
            "tenantry-a-b",
            "tenantry-aUb",
            "tenantry-a--b",
            "tenantry-aub"
        ]
    );
}

#[test]
fn a_hundred_tenants_take_one_rule() {
    let exports = class("exports", Retention::days(30)).with_ceiling_days(90);
    let policy = plan()
        .with_class_rule(ClassLifecycle::new(&exports).deleted())
        .compile()
        .unwrap();
    let simulator = LifecycleSimulator::new(&policy, day(0));
    for _ in 0..100 {
        let forecast = simulator.forecast(&blob(TenantId::generate(), &exports.retention(), 0));
        assert_eq!(forecast.deletion().unwrap().from, day(90));
    }
    assert_eq!(policy.rules().len(), 1);
}

proptest::proptest! {
    /// Whatever a tenant has chosen and however far it was extended, no compiled plan ends it early.
    #[test]
    fn no_plan_that_compiles_deletes_a_blob_before_its_end(
        period in 1_u32..400,
        beyond in 0_u32..400,
        chosen in 0_u32..800,
        days in 0_u32..1_000,
        is_locked in proptest::bool::ANY,
        has_ceiling in proptest::bool::ANY,
        age in 0_i64..900,
    ) {
        let retention = match is_locked {
            true => Retention::days(period).locked(),
            false => Retention::days(period),
        };
        let mut of = class("any", retention);
        if has_ceiling {
            of = of.with_ceiling_days(period + beyond);
        }
        let plan = plan().with_class(&of).with_rule(of_class("any", days));
        let Ok(policy) = plan.compile() else {
            return Ok(());
        };
        let retention = of.retention_of_days(chosen.max(1)).unwrap_or_else(|_| of.retention());
        for tenant in [TenantId::generate(), TenantId::generate()] {
            let blob = blob(tenant, &retention, 0);
            let end = blob.retention.clone().unwrap().until.unwrap();
            let forecast = LifecycleSimulator::new(&policy, day(age)).forecast(&blob);
            let deletion = forecast.deletion().unwrap();
            proptest::prop_assert!(deletion.from >= end, "{} {end}", forecast);
            proptest::prop_assert_eq!(&deletion.breaks, &None);
        }
    }
}
