//! What the service refuses, what it takes and does not do, and how it is told.

use std::error::Error as _;

use tenantry_core::ErrorKind;

use super::*;
use crate::lifecycle::LifecycleProblem as Problem;

/// Returns what is wrong with a plan of one rule.
fn problems(rule: LifecycleRule) -> Vec<Problem> {
    let faults = plan().with_rule(rule).faults();
    faults.into_iter().map(|fault| fault.problem).collect()
}

fn rule() -> LifecycleRule {
    LifecycleRule::new("a").with_base(delete_after(30))
}

fn filtered(filter: LifecycleFilter) -> LifecycleRule {
    rule().with_filter(filter)
}

#[test]
fn an_account_has_a_hundred_rules() {
    let of = |count: u32| {
        (0..count).fold(plan(), |plan, number| {
            plan.with_rule(LifecycleRule::new(format!("r{number}")).with_base(delete_after(1)))
        })
    };
    assert_eq!(of(100).compile().unwrap().rules().len(), 100);
    assert_eq!(
        of(101).faults(),
        [LifecycleFault {
            rule: None,
            problem: Problem::TooManyRules { count: 101 }
        }]
    );
    assert_eq!(plan().faults()[0].problem, Problem::NoRules);
}

#[test]
fn a_rule_has_ten_prefixes_and_ten_tags() {
    let prefixes = |count: u32| {
        filtered(
            (0..count)
                .fold(LifecycleFilter::all(), |filter, number| {
                    filter.with_prefix(format!("con{number}/"))
                })
                .with_prefix("zzz/"),
        )
    };
    assert_eq!(problems(prefixes(9)), [], "con1/ and zzz/ are apart");
    let tags = |count: u32| {
        filtered((0..count).fold(LifecycleFilter::all(), |filter, number| {
            filter.with_tag(format!("t{number}"), "x")
        }))
    };
    assert_eq!(problems(tags(10)), []);
    assert_eq!(problems(tags(11)), [Problem::TooManyTags { count: 11 }]);
    let many = filtered((0..11).fold(LifecycleFilter::all(), |filter, number| {
        filter.with_prefix(format!("con{number}/"))
    }));
    assert_eq!(problems(many), [Problem::TooManyPrefixes { count: 11 }]);
}

#[test]
fn a_name_is_letters_digits_and_hyphens() {
    let named = |name: &str| problems(LifecycleRule::new(name).with_base(delete_after(1)));
    assert_eq!(named("Exports-2026"), []);
    assert_eq!(named(&"a".repeat(256 - "tenantry-".len())), []);
    for name in [
        "",
        "a b",
        "a_b",
        "ä",
        "a/b",
        &"a".repeat(257 - "tenantry-".len()),
    ] {
        assert_eq!(named(name), [Problem::BadName], "{name}");
    }
    for owner in ["", "Tenantry", "a-b", &"a".repeat(33)] {
        let plan = plan().with_owner(owner).with_rule(rule());
        assert!(
            plan.faults()
                .iter()
                .any(|it| it.problem == Problem::BadOwner),
            "{owner}"
        );
    }
    let twice = plan().with_rule(rule()).with_rule(rule()).faults();
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].problem, Problem::DuplicateName);
}

#[test]
fn a_prefix_begins_with_a_container() {
    let prefixed = |prefix: &str| problems(filtered(LifecycleFilter::all().with_prefix(prefix)));
    for prefix in [
        "t-",
        "artifacts",
        "artifacts/",
        "artifacts/2026/01/",
        "abc/A ä",
    ] {
        assert_eq!(prefixed(prefix), [], "{prefix}");
    }
    let long = format!("{}/", "a".repeat(64));
    for prefix in [
        "", "/", "/a", "ab/", "-a/", "A/", "a_b/", "$logs/", "abc/*", "abc/?x", "abc/\n", &long,
    ] {
        let prefix = prefix.to_owned();
        assert_eq!(prefixed(&prefix), [Problem::BadPrefix { prefix }]);
    }
}

#[test]
fn a_prefix_that_another_includes_is_refused_once() {
    let filter = LifecycleFilter::all()
        .with_prefix("abc/x")
        .with_prefix("abc/")
        .with_prefix("abc/");
    let covered = |prefix: &str| Problem::CoveredPrefix {
        prefix: prefix.to_owned(),
    };
    assert_eq!(
        problems(filtered(filter)),
        [covered("abc/x"), covered("abc/")]
    );
}

#[test]
fn a_tag_has_a_form_and_is_asked_for_once() {
    let tagged =
        |name: &str, value: &str| problems(filtered(LifecycleFilter::all().with_tag(name, value)));
    assert_eq!(tagged("a b", ""), []);
    assert_eq!(tagged(&"a".repeat(128), &"x".repeat(256)), []);
    let long = "a".repeat(129);
    for (name, value) in [("", "x"), (&*long, "x"), ("a&b", "x"), ("a", "ä")] {
        let tag = name.to_owned();
        assert_eq!(tagged(name, value), [Problem::BadTag { tag }]);
    }
    let twice = LifecycleFilter::all().with_tag("a", "1").with_tag("a", "2");
    let tag = "a".to_owned();
    assert_eq!(problems(filtered(twice)), [Problem::RepeatedTag { tag }]);
}

#[test]
fn tiers_come_before_the_deletion_and_the_colder_after_the_warmer() {
    let of = |actions: LifecycleActions| problems(LifecycleRule::new("a").with_base(actions));
    let fine = LifecycleActions::none()
        .with_tier(Tier::Cool, LifecycleAge::created(10))
        .with_tier(
            Tier::Archive,
            LifecycleAge::modified(20).and_since_tier_change(7),
        )
        .with_delete(LifecycleAge::created(30));
    assert_eq!(of(fine.clone()), []);
    let never = |never, first| vec![Problem::Order { never, first }];
    assert_eq!(
        of(fine.clone().with_delete(LifecycleAge::created(20))),
        never("tierToArchive", "delete"),
        "the modification is never before the creation"
    );
    assert_eq!(
        of(fine.clone().with_delete(LifecycleAge::modified(20))),
        never("tierToArchive", "delete")
    );
    assert_eq!(
        of(LifecycleActions::none()
            .with_tier(Tier::Cool, LifecycleAge::created(10))
            .with_tier(Tier::Cold, LifecycleAge::created(10))),
        never("tierToCool", "tierToCold")
    );
    assert_eq!(
        of(LifecycleActions::none().with_tier(Tier::Hot, LifecycleAge::created(1))),
        [Problem::HotTier]
    );
    assert_eq!(
        of(delete_after(100_000)),
        [Problem::TooOld { action: "delete" }]
    );
    assert_eq!(of(LifecycleActions::none()), [Problem::NoActions]);
}

#[test]
fn each_part_of_a_blob_has_its_times() {
    let by_access = LifecycleActions::none().with_tier(Tier::Cool, LifecycleAge::accessed(1));
    let versions = |actions| problems(LifecycleRule::new("a").with_versions(actions));
    assert_eq!(
        versions(by_access.clone()),
        [Problem::NotOfBase {
            action: "tierToCool"
        }]
    );
    assert_eq!(
        versions(by_access.clone().with_hot_again()),
        [
            Problem::NotOfBase {
                action: "tierToCool"
            },
            Problem::HotAgain
        ]
    );
    let base = |actions| problems(LifecycleRule::new("a").with_base(actions));
    assert_eq!(base(by_access.with_hot_again()), []);
    assert_eq!(base(delete_after(1).with_hot_again()), [Problem::HotAgain]);
    for (age, action) in [
        (LifecycleAge::created(1), "tierToArchive"),
        (LifecycleAge::accessed(1), "tierToArchive"),
    ] {
        let actions =
            LifecycleActions::none().with_tier(Tier::Archive, age.and_since_tier_change(7));
        assert_eq!(base(actions), [Problem::TierChange { action }]);
    }
    let cool = LifecycleAge::modified(1).and_since_tier_change(7);
    assert_eq!(
        base(LifecycleActions::none().with_tier(Tier::Cool, cool)),
        [Problem::TierChange {
            action: "tierToCool"
        }]
    );
    let archive = LifecycleAge::created(1).and_since_tier_change(7);
    assert_eq!(
        versions(LifecycleActions::none().with_tier(Tier::Archive, archive)),
        []
    );
}

#[test]
fn append_blobs_have_no_tier_and_scopes_no_archive() {
    let appended = LifecycleFilter::all().with_append_blobs();
    assert_eq!(problems(filtered(appended.clone())), []);
    let archive = LifecycleActions::none().with_tier(Tier::Archive, LifecycleAge::modified(9));
    assert_eq!(
        problems(
            LifecycleRule::new("a")
                .with_filter(appended)
                .with_base(archive.clone())
        ),
        [Problem::TierOfAppendBlobs]
    );
    let rule = LifecycleRule::new("a").with_base(archive);
    let scoped = plan().with_encryption_scopes().with_rule(rule.clone());
    assert_eq!(scoped.faults()[0].problem, Problem::ArchiveOfScope);
    assert_eq!(problems(rule), []);
}

#[test]
fn an_error_names_the_rule_and_tells_all() {
    let wrong = LifecycleRule::new("exports")
        .with_filter(LifecycleFilter::all().with_prefix("/"))
        .with_base(delete_after(100_000));
    let error = plan().with_rule(wrong).compile().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert_eq!(error.subject(), "exports");
    let source = error.source().unwrap();
    let faults = source.downcast_ref::<LifecycleFaults>().unwrap();
    let rules: Vec<_> = faults.iter().map(|it| it.rule.as_deref()).collect();
    assert_eq!(rules, [Some("exports"), Some("exports")]);
    assert!(error.to_string().contains("99,999 days"), "{error}");
}

#[test]
fn every_problem_says_something_of_its_own() {
    let text = || "x".to_owned();
    let all = [
        Problem::NoRules,
        Problem::TooManyRules { count: 101 },
        Problem::BadOwner,
        Problem::BadName,
        Problem::DuplicateName,
        Problem::NoActions,
        Problem::TooManyPrefixes { count: 11 },
        Problem::BadPrefix { prefix: text() },
        Problem::CoveredPrefix { prefix: text() },
        Problem::TooManyTags { count: 11 },
        Problem::BadTag { tag: text() },
        Problem::RepeatedTag { tag: text() },
        Problem::HotTier,
        Problem::TierOfAppendBlobs,
        Problem::Order {
            never: "a",
            first: "b",
        },
        Problem::TooOld { action: "a" },
        Problem::NotOfBase { action: "a" },
        Problem::TierChange { action: "a" },
        Problem::HotAgain,
        Problem::ArchiveOfScope,
        Problem::UnknownClass { class: text() },
        Problem::TooEarly {
            class: text(),
            days: 1,
            needed: 2,
        },
        Problem::Unbounded { class: text() },
    ];
    let texts: std::collections::HashSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
}
