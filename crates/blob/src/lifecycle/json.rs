//! Rules as the service writes them: `Microsoft.Storage/storageAccounts/managementPolicies`.

use serde_json::{Map, Value, json};

use super::check::{DELETE, action};
use super::rule::{
    AgeBasis, BlobPart, LifecycleActions, LifecycleAge, LifecycleFilter, LifecycleRule,
};
use crate::record::Tier;

const HOT_AGAIN: &str = "enableAutoTierToHotFromCool";
const SINCE_TIER_CHANGE: &str = "daysAfterLastTierChangeGreaterThan";
const BASES: [(AgeBasis, &str); 3] = [
    (AgeBasis::Modification, "daysAfterModificationGreaterThan"),
    (AgeBasis::Creation, "daysAfterCreationGreaterThan"),
    (AgeBasis::LastAccess, "daysAfterLastAccessTimeGreaterThan"),
];
const TIERS: [Tier; 3] = [Tier::Cool, Tier::Cold, Tier::Archive];

pub(super) fn write(rule: &LifecycleRule) -> Value {
    let mut actions = Map::new();
    for part in BlobPart::ALL {
        if !rule.actions(part).is_empty() {
            actions.insert(part.as_str().to_owned(), write_actions(rule.actions(part)));
        }
    }
    json!({
        "enabled": rule.is_enabled,
        "name": rule.name,
        "type": "Lifecycle",
        "definition": { "filters": write_filter(&rule.filter), "actions": actions },
    })
}

fn write_filter(filter: &LifecycleFilter) -> Value {
    let types = [
        ("blockBlob", filter.has_block_blobs),
        ("appendBlob", filter.has_append_blobs),
    ];
    let types = types
        .iter()
        .filter(|(_, is_in)| *is_in)
        .map(|(name, _)| *name);
    let mut written = json!({ "blobTypes": types.collect::<Vec<_>>() });
    if !filter.prefixes.is_empty() {
        written["prefixMatch"] = json!(filter.prefixes);
    }
    if !filter.tags.is_empty() {
        let tag =
            |(name, value): &(String, String)| json!({ "name": name, "op": "==", "value": value });
        written["blobIndexMatch"] = filter.tags.iter().map(tag).collect();
    }
    written
}

fn write_actions(actions: &LifecycleActions) -> Value {
    let mut written = Map::new();
    for (tier, age) in &actions.tiers {
        written.insert(action(*tier).to_owned(), write_age(*age));
    }
    if let Some(age) = actions.delete {
        written.insert(DELETE.to_owned(), write_age(age));
    }
    if actions.is_hot_again {
        written.insert(HOT_AGAIN.to_owned(), json!(true));
    }
    Value::Object(written)
}

fn write_age(age: LifecycleAge) -> Value {
    let mut written = Map::new();
    for (basis, name) in BASES {
        if basis == age.basis {
            written.insert(name.to_owned(), json!(age.days));
        }
    }
    if let Some(days) = age.since_tier_change {
        written.insert(SINCE_TIER_CHANGE.to_owned(), json!(days));
    }
    Value::Object(written)
}

/// Reads a rule, or says what of it is not understood.
pub(super) fn read(document: &Value) -> Result<LifecycleRule, String> {
    let mut rule = Fields::of(document, "rule")?;
    let name = rule.text("name")?;
    let is_enabled = rule.flag("enabled")?.unwrap_or(true);
    if rule.text("type")? != "Lifecycle" {
        return Err("its type is another than Lifecycle".to_owned());
    }
    let mut definition = rule.object("definition")?.ok_or("it has no definition")?;
    rule.end()?;
    let filter = match definition.object("filters")? {
        Some(filters) => read_filter(filters)?,
        None => return Err("it has no filters".to_owned()),
    };
    let mut actions = definition.object("actions")?.ok_or("it has no actions")?;
    definition.end()?;
    let mut part = |part: BlobPart| match actions.object(part.as_str())? {
        Some(fields) => read_actions(fields),
        None => Ok(LifecycleActions::none()),
    };
    let (base, versions, snapshots) = (
        part(BlobPart::Base)?,
        part(BlobPart::Version)?,
        part(BlobPart::Snapshot)?,
    );
    actions.end()?;
    Ok(LifecycleRule {
        name,
        is_enabled,
        filter,
        base,
        versions,
        snapshots,
    })
}

fn read_filter(mut filters: Fields) -> Result<LifecycleFilter, String> {
    let mut filter = LifecycleFilter::all();
    filter.has_block_blobs = false;
    for kind in filters.list("blobTypes")? {
        match kind.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("blockblob") => filter.has_block_blobs = true,
            Some("appendblob") => filter.has_append_blobs = true,
            _ => return Err("it is for a type of blobs that is not known".to_owned()),
        }
    }
    for prefix in filters.list("prefixMatch")? {
        let prefix = prefix.as_str().ok_or("a prefix is no text")?;
        filter.prefixes.push(prefix.to_owned());
    }
    for tag in filters.list("blobIndexMatch")? {
        let mut tag = Fields::of(&tag, "blobIndexMatch")?;
        filter.tags.push((tag.text("name")?, tag.text("value")?));
        if tag.text("op")? != "==" {
            return Err("a tag is compared by another operator than ==".to_owned());
        }
        tag.end()?;
    }
    filters.end()?;
    Ok(filter)
}

fn read_actions(mut fields: Fields) -> Result<LifecycleActions, String> {
    let mut actions = LifecycleActions::none();
    for tier in TIERS {
        if let Some(age) = fields.object(action(tier))? {
            actions.tiers.insert(tier, read_age(age)?);
        }
    }
    if let Some(age) = fields.object(DELETE)? {
        actions.delete = Some(read_age(age)?);
    }
    actions.is_hot_again = fields.flag(HOT_AGAIN)?.unwrap_or_default();
    fields.end()?;
    Ok(actions)
}

fn read_age(mut fields: Fields) -> Result<LifecycleAge, String> {
    let mut age = None;
    for (basis, name) in BASES {
        if let Some(days) = fields.days(name)?
            && age.replace(LifecycleAge::new(basis, days)).is_some()
        {
            return Err("an age is counted from two times".to_owned());
        }
    }
    let mut age = age.ok_or("an action has no age")?;
    age.since_tier_change = fields.days(SINCE_TIER_CHANGE)?;
    fields.end()?;
    Ok(age)
}

/// The fields of an object that were not read yet; what is null is not there.
struct Fields {
    of: &'static str,
    left: Map<String, Value>,
}

impl Fields {
    fn of(value: &Value, of: &'static str) -> Result<Self, String> {
        let mut left = value
            .as_object()
            .cloned()
            .ok_or(format!("{of} is no object"))?;
        left.retain(|_, value| !value.is_null());
        Ok(Self { of, left })
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        match self.left.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("{} has no text {name}", self.of)),
        }
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, String> {
        let flag = self.left.remove(name);
        flag.map(|flag| {
            flag.as_bool()
                .ok_or(format!("{name} is neither true nor false"))
        })
        .transpose()
    }

    fn object(&mut self, name: &'static str) -> Result<Option<Self>, String> {
        let object = self.left.remove(name);
        object.map(|object| Self::of(&object, name)).transpose()
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>, String> {
        match self.left.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(format!("{name} is no list")),
        }
    }

    /// Days, which the service writes with a point: `30.0`.
    fn days(&mut self, name: &str) -> Result<Option<u32>, String> {
        let Some(value) = self.left.remove(name) else {
            return Ok(None);
        };
        let text = value.to_string();
        let whole = text.strip_suffix(".0").unwrap_or(&text);
        let days = whole
            .parse()
            .map_err(|_| format!("{name} is no number of days"))?;
        Ok(Some(days))
    }

    fn end(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                // Whose text it is, is not known.
                let name: String = name
                    .chars()
                    .filter(|it| !it.is_control())
                    .take(64)
                    .collect();
                Err(format!("{} has a field {name}", self.of))
            }
        }
    }
}
