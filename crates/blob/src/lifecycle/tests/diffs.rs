//! What a plan changes in an account, and what it leaves alone.

use serde_json::{Value, json};
use tenantry_core::ErrorKind;

use super::*;

fn theirs(name: &str, days: u32) -> Value {
    json!({
        "enabled": true, "name": name, "type": "Lifecycle",
        "definition": {
            "filters": {"blobTypes": ["blockBlob"], "prefixMatch": ["logs/"]},
            "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": days}}},
        },
    })
}

fn live(rules: Vec<Value>) -> LifecyclePolicy {
    LifecyclePolicy::from_json(&json!({ "rules": Value::Array(rules) })).unwrap()
}

fn exports() -> RetentionClass {
    class("exports", Retention::days(30)).with_ceiling_days(90)
}

fn wanted() -> LifecyclePlan {
    plan().with_class_rule(ClassLifecycle::new(&exports()).deleted())
}

fn names(rules: &[PolicyRule]) -> Vec<&str> {
    rules.iter().map(PolicyRule::name).collect()
}

#[test]
fn rules_are_added_beside_those_of_others() {
    let live = live(vec![theirs("logs", 3), theirs("tenantrylogs", 3)]);
    let diff = wanted().diff(&live).unwrap();
    assert_eq!(names(&diff.added), ["tenantry-exports"]);
    assert_eq!(diff.foreign, ["logs", "tenantrylogs"]);
    let merged = diff.merged().unwrap();
    assert_eq!(
        names(merged.rules()),
        ["logs", "tenantrylogs", "tenantry-exports"]
    );
    assert_eq!(merged.rules()[0].to_json(), &theirs("logs", 3));
    assert!(diff.hazards.is_empty());
}

#[test]
fn what_says_the_same_in_other_words_is_no_change() {
    let mut document = wanted().compile().unwrap().to_json();
    let rule = &mut document["rules"][0];
    rule["definition"]["actions"]["baseBlob"]["delete"] =
        json!({"daysAfterCreationGreaterThan": 90.0, "daysAfterModificationGreaterThan": null});
    let live = LifecyclePolicy::from_json(&document).unwrap();
    let diff = wanted().diff(&live).unwrap();
    assert!(diff.is_empty());
    assert_eq!(diff.unchanged, ["tenantry-exports"]);
    assert_eq!(diff.merged().unwrap(), &live);
    assert_eq!(
        diff.to_string(),
        "nothing would change; as they are: 1 rules of this owner, 0 of others"
    );
}

#[test]
fn a_rule_that_was_changed_by_hand_is_put_right_in_its_place() {
    let mut altered = wanted().compile().unwrap().to_json()["rules"][0].clone();
    altered["definition"]["actions"]["baseBlob"]["delete"] =
        json!({"daysAfterCreationGreaterThan": 5});
    let live = live(vec![altered, theirs("logs", 3)]);
    let diff = wanted().diff(&live).unwrap();
    assert_eq!(diff.changed.len(), 1);
    assert_eq!(
        names(diff.merged().unwrap().rules()),
        ["tenantry-exports", "logs"]
    );
    let text = diff.to_string();
    assert!(text.contains("~ tenantry-exports: "), "{text}");
    assert!(text.contains("was tenantry-exports: "), "{text}");
    assert!(text.contains("delete 5 days after creation"), "{text}");
}

#[test]
fn a_rule_of_ours_that_nobody_understands_is_put_right_as_well() {
    let mut altered = wanted().compile().unwrap().to_json()["rules"][0].clone();
    altered["definition"]["filters"]["new"] = json!(1);
    let diff = wanted().diff(&live(vec![altered])).unwrap();
    assert_eq!(diff.changed.len(), 1);
}

#[test]
fn what_is_no_longer_wanted_goes_and_that_of_another_owner_stays() {
    let of_billing = theirs("billing-exports", 3);
    let live = live(vec![theirs("tenantry-old", 3), of_billing.clone()]);
    let diff = wanted().diff(&live).unwrap();
    assert_eq!(names(&diff.removed), ["tenantry-old"]);
    assert_eq!(diff.foreign, ["billing-exports"]);
    let none = plan().diff(&live).unwrap();
    assert_eq!(none.merged().unwrap().rules()[0].to_json(), &of_billing);
    let all = plan().with_owner("billing").diff(&live).unwrap();
    assert_eq!(names(&all.removed), ["billing-exports"]);
}

#[test]
fn a_policy_without_rules_is_one_to_delete() {
    let live = live(vec![theirs("tenantry-old", 3)]);
    assert!(plan().diff(&live).unwrap().merged().unwrap().is_empty());
}

#[test]
fn what_else_is_in_a_policy_stays() {
    let live =
        LifecyclePolicy::from_json(&json!({"rules": [theirs("logs", 3)], "version": 2})).unwrap();
    let merged = wanted().diff(&live).unwrap().merged().unwrap().to_json();
    assert_eq!(merged["version"], 2);
}

#[test]
fn with_those_of_others_there_are_a_hundred_rules() {
    let of = |count: usize| live((0..count).map(|it| theirs(&format!("r{it}"), 3)).collect());
    assert!(wanted().diff(&of(99)).unwrap().merged().is_ok());
    let error = wanted().diff(&of(100)).unwrap().merged().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert!(error.to_string().contains("100 of others"), "{error}");
}

#[test]
fn what_others_would_delete_of_ours_is_told() {
    let mut everywhere = theirs("cleanup", 7);
    everywhere["definition"]["filters"] = json!({"blobTypes": ["blockBlob"]});
    let mut unknown = theirs("odd", 7);
    unknown["definition"]["filters"]["new"] = json!(1);
    let diff = wanted()
        .diff(&live(vec![everywhere, unknown, theirs("logs", 1)]))
        .unwrap();
    assert_eq!(diff.hazards.len(), 2, "{:?}", diff.hazards);
    assert!(diff.hazards[0].contains("rule cleanup of others: it deletes after 7 days what"));
    assert!(diff.hazards[1].contains("rule odd of others: what it deletes is not known"));
    assert!(diff.to_string().contains("! rule cleanup"), "{diff}");
}
