//! The documents that are written and read.

use serde_json::{Value, json};

use super::*;
use crate::lifecycle::policy::LifecyclePolicy;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn rich() -> LifecyclePlan {
    let exports = class("report-exports", Retention::days(365)).with_ceiling_days(730);
    let attachments = class(
        "notification_attachments",
        Retention::days(730).archived_after_days(90),
    );
    let imports = LifecycleRule::new("imports")
        .disabled()
        .with_filter(
            LifecycleFilter::all()
                .with_prefix("imports/raw/")
                .with_prefix("staging-")
                .with_kind(&BlobKind::new("customer-imports").unwrap())
                .with_tag("team", "data platform"),
        )
        .with_base(
            LifecycleActions::none()
                .with_tier(Tier::Cool, LifecycleAge::accessed(30))
                .with_tier(Tier::Cold, LifecycleAge::accessed(60))
                .with_hot_again(),
        )
        .with_versions(delete_after(7))
        .with_snapshots(delete_after(1));
    plan()
        .with_class_rule(
            ClassLifecycle::new(&exports)
                .with_tier_after_days(Tier::Cool, 30)
                .deleted()
                .with_slack_days(2)
                .with_versions(),
        )
        .with_class_rule(ClassLifecycle::new(&attachments))
        .with_rule(imports)
}

#[test]
fn a_plan_is_written_as_the_service_documents_it() {
    let policy = rich().compile().unwrap();
    assert_eq!(policy.to_json(), golden());
    assert_eq!(
        policy.to_request(),
        json!({ "properties": { "policy": golden() } })
    );
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let policy = rich().compile().unwrap();
    for document in [policy.to_json(), policy.to_request()] {
        let read = LifecyclePolicy::from_json(&document).unwrap();
        assert_eq!(read, policy);
        assert!(read.rules().iter().all(|rule| rule.rule().is_ok()));
    }
}

#[test]
fn an_answer_of_the_service_is_read_with_its_points_and_nulls() {
    let answer = json!({
        "id": "/subscriptions/s/…/managementPolicies/default",
        "name": "DefaultManagementPolicy",
        "type": "Microsoft.Storage/storageAccounts/managementPolicies",
        "properties": {
            "lastModifiedTime": "2026-01-31T12:00:00.0932539Z",
            "policy": { "rules": [{
                "enabled": true, "name": "a", "type": "Lifecycle",
                "definition": {
                    "filters": {"blobTypes": ["BlockBlob"], "prefixMatch": null, "blobIndexMatch": null},
                    "actions": {
                        "version": null,
                        "baseBlob": {
                            "tierToCool": null, "enableAutoTierToHotFromCool": null,
                            "delete": {
                                "daysAfterModificationGreaterThan": 30.0,
                                "daysAfterLastAccessTimeGreaterThan": null,
                            },
                        },
                    },
                },
            }] },
        },
    });
    let policy = LifecyclePolicy::from_json(&answer).unwrap();
    let rule = policy.rule("a").unwrap().rule().unwrap();
    let delete = rule.actions(BlobPart::Base).delete();
    assert_eq!(delete, Some(LifecycleAge::modified(30)));
    assert!(rule.filter().prefixes().is_empty());
}

#[test]
fn what_is_not_understood_is_said_and_kept_as_it_is() {
    let base = golden()["rules"][0].clone();
    let with = |pointer: &str, name: &str, value: Value| {
        let mut rule = base.clone();
        rule["name"] = json!("theirs");
        rule.pointer_mut(pointer).unwrap()[name] = value;
        rule
    };
    let age = json!({"daysAfterCreationGreaterThan": 3});
    let two = json!({"daysAfterCreationGreaterThan": 3, "daysAfterModificationGreaterThan": 3});
    for (rule, why) in [
        (
            with("", "schedule", json!("hourly")),
            "rule has a field schedule",
        ),
        (
            with("", "type", json!("Lifecycle2")),
            "another than Lifecycle",
        ),
        (with("", "enabled", json!("yes")), "neither true nor false"),
        (
            with("/definition", "scope", json!({})),
            "definition has a field scope",
        ),
        (
            with("/definition/filters", "sizeMatch", json!(3)),
            "filters has a field sizeMatch",
        ),
        (
            with("/definition/filters", "blobTypes", json!(["pageBlob"])),
            "type of blobs",
        ),
        (
            with("/definition/filters/blobIndexMatch/0", "op", json!(">")),
            "another operator",
        ),
        (
            with("/definition/actions", "page", json!({})),
            "actions has a field page",
        ),
        (
            with("/definition/actions/baseBlob", "tierToHot", age),
            "baseBlob has a field tierToHot",
        ),
        (
            with("/definition/actions/baseBlob", "delete", two),
            "counted from two times",
        ),
        (
            with("/definition/actions/baseBlob", "delete", json!({})),
            "no age",
        ),
        (
            with(
                "/definition/actions/baseBlob",
                "delete",
                json!({"daysAfterCreationGreaterThan": 1.5}),
            ),
            "no number of days",
        ),
        (
            with(
                "/definition/actions/baseBlob",
                "delete",
                json!({"daysAfterCreationGreaterThan": -1}),
            ),
            "no number of days",
        ),
    ] {
        let document = json!({ "rules": [rule], "version": 2 });
        let policy = LifecyclePolicy::from_json(&document).unwrap();
        let told = policy.rules()[0].rule().unwrap_err();
        assert!(told.contains(why), "{told} / {why}");
        assert_eq!(policy.to_json(), document, "nothing is lost");
        assert_eq!(
            LifecycleSimulator::new(&policy, day(0)).unjudged(),
            ["theirs"]
        );
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    for document in [
        json!(null),
        json!([]),
        json!({}),
        json!({"rules": {}}),
        json!({"rules": [{"type": "Lifecycle"}]}),
        json!({"rules": [{"name": 3}]}),
        json!({"rules": [{"name": "a"}, {"name": "a"}]}),
    ] {
        let error = LifecyclePolicy::from_json(&document).unwrap_err();
        assert_eq!(
            error.kind(),
            tenantry_core::ErrorKind::InvalidInput,
            "{document}"
        );
    }
    assert!(
        LifecyclePolicy::from_json(&json!({"rules": []}))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_rule_reads_as_a_sentence() {
    let policy = rich().compile().unwrap();
    let texts: Vec<_> = policy.rules().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "tenantry-report-exports: block blobs under t- with tenantry_class=report-exports: \
             tierToCool 30 days after modification, delete 732 days after creation; of versions \
             tierToCool 30 days after creation, delete 732 days after creation",
            "tenantry-notificationUattachments: block blobs under t- with \
             tenantry_class=notification_attachments: tierToArchive 90 days after modification and \
             7 after the last tier change",
            "tenantry-imports: block blobs under imports/raw/, staging- with \
             tenantry_kind=customer-imports and team=data platform (disabled): tierToCool 30 days \
             after the last access, tierToCold 60 days after the last access, hot again when read; \
             of versions delete 7 days after creation; of snapshots delete 1 days after creation",
        ]
    );
}
