//! What the service takes as rules of a life cycle.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;

const PARTS: [&str; 3] = ["baseBlob", "snapshot", "version"];
const ACTIONS: [&str; 5] = [
    "tierToCool",
    "tierToCold",
    "tierToArchive",
    "tierToHot",
    "delete",
];
const AGES: [&str; 4] = [
    "daysAfterModificationGreaterThan",
    "daysAfterCreationGreaterThan",
    "daysAfterLastAccessTimeGreaterThan",
    "daysAfterLastTierChangeGreaterThan",
];

/// Checks a policy, and returns it as the service writes it: days with a point.
pub(super) fn checked(policy: &Value) -> Result<Value, Refusal> {
    let Some(rules) = policy["rules"].as_array().filter(|rules| !rules.is_empty()) else {
        return Err(Refusal::invalid("A policy has at least one rule."));
    };
    if rules.len() > 100 {
        let message = "A policy has at most 100 rules.";
        return Err(Refusal::new(
            400,
            "ManagementPolicyRulesLimitExceeded",
            message,
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    let mut written = Vec::new();
    for rule in rules {
        let name = rule["name"].as_str().unwrap_or_default();
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=256).contains(&name.len()) || !name.bytes().all(is_of_name) {
            return Err(Refusal::invalid(
                "The name of a rule is alphanumeric, up to 256.",
            ));
        }
        if names.contains(&name) {
            return Err(Refusal::invalid("The name of a rule is unique."));
        }
        names.push(name);
        if rule["type"] != json!("Lifecycle") {
            return Err(Refusal::invalid("The type of a rule is Lifecycle."));
        }
        check_filters(&rule["definition"]["filters"])?;
        let mut rule = rule.clone();
        let actions = rule["definition"]["actions"].as_object_mut();
        check_actions(actions.ok_or_else(|| Refusal::invalid("A rule has actions."))?)?;
        if rule.get("enabled").is_none() {
            rule["enabled"] = json!(true);
        }
        written.push(rule);
    }
    Ok(json!({ "rules": written }))
}

fn check_filters(filters: &Value) -> Result<(), Refusal> {
    let types = filters["blobTypes"].as_array();
    let is_type = |it: &Value| matches!(it.as_str(), Some("blockBlob" | "appendBlob"));
    if !types.is_some_and(|types| !types.is_empty() && types.iter().all(is_type)) {
        return Err(Refusal::invalid("blobTypes are blockBlob and appendBlob."));
    }
    for (name, limit) in [("prefixMatch", 10), ("blobIndexMatch", 10)] {
        if filters[name].as_array().is_some_and(|it| it.len() > limit) {
            return Err(Refusal::invalid(format!(
                "{name} has at most {limit} entries."
            )));
        }
    }
    let tags = filters["blobIndexMatch"].as_array().into_iter().flatten();
    let is_tag = |it: &Value| {
        let length = |name: &str| it[name].as_str().map_or(usize::MAX, str::len);
        (1..=128).contains(&length("name")) && length("value") <= 256 && it["op"] == json!("==")
    };
    match tags.into_iter().all(is_tag) {
        true => Ok(()),
        false => Err(Refusal::invalid(
            "A tag has a name, the operator == and a value.",
        )),
    }
}

fn check_actions(actions: &mut Map<String, Value>) -> Result<(), Refusal> {
    let mut count = 0;
    for (part, actions) in actions {
        if !PARTS.contains(&&**part) {
            return Err(Refusal::invalid(format!("{part} is no part of a blob.")));
        }
        for (action, age) in actions.as_object_mut().into_iter().flatten() {
            if action == "enableAutoTierToHotFromCool" {
                if part != "baseBlob" || !age.is_boolean() {
                    return Err(Refusal::invalid("Only a base blob becomes hot again."));
                }
                continue;
            }
            if !ACTIONS.contains(&&**action) {
                return Err(Refusal::invalid(format!("{action} is no action.")));
            }
            count += 1;
            check_age(part, action, age)?;
        }
    }
    match count {
        0 => Err(Refusal::invalid("A rule has at least one action.")),
        _ => Ok(()),
    }
}

fn check_age(part: &str, action: &str, age: &mut Value) -> Result<(), Refusal> {
    let Some(age) = age.as_object_mut() else {
        return Err(Refusal::invalid(format!("{action} has no condition.")));
    };
    for (name, days) in age.iter_mut() {
        let is_of_base = name.contains("Modification") || name.contains("LastAccess");
        if !AGES.contains(&&**name) || part != "baseBlob" && is_of_base {
            return Err(Refusal::invalid(format!(
                "{name} is no condition of {part}."
            )));
        }
        match days
            .as_f64()
            .filter(|days| *days >= 0.0 && days.fract() == 0.0)
        {
            Some(whole) => *days = json!(whole),
            None => return Err(Refusal::invalid(format!("{name} is a whole number."))),
        }
    }
    let has_change = age.contains_key("daysAfterLastTierChangeGreaterThan");
    if age.len() - usize::from(has_change) != 1 || has_change && action != "tierToArchive" {
        return Err(Refusal::invalid(format!("{action} has one condition.")));
    }
    Ok(())
}
