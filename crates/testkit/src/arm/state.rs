//! What accounts are, and what may be done to them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::refusal::Refusal;

/// How often a locked policy is extended.
const EXTENSIONS: u32 = 5;
/// The longest time of a policy, in days.
const LONGEST: u64 = 146_000;
/// How many tags of holds a container has.
const HOLDS: usize = 10;

/// A storage account.
pub(super) struct Account {
    pub(super) properties: Map<String, Value>,
    pub(super) service: Map<String, Value>,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) policy: Option<(Value, DateTime<Utc>)>,
    pub(super) scopes: BTreeMap<String, Map<String, Value>>,
    /// Counts changes: what makes etags.
    changes: u64,
}

#[derive(Default)]
pub(super) struct Container {
    /// What was put, without what the service adds.
    pub(super) properties: Map<String, Value>,
    pub(super) policy: Option<Policy>,
    pub(super) holds: BTreeSet<String>,
    pub(super) etag: String,
}

/// A policy of immutability.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) days: u64,
    pub(super) is_locked: bool,
    pub(super) extensions: u32,
    pub(super) appends: Option<&'static str>,
    pub(super) etag: String,
}

impl Account {
    /// Returns an account without folders, as one is created by default.
    pub(super) fn new() -> Self {
        let mut properties = Map::new();
        properties.insert("supportsHttpsTrafficOnly".to_owned(), json!(true));
        Self {
            properties,
            service: Map::new(),
            containers: BTreeMap::new(),
            policy: None,
            scopes: BTreeMap::new(),
            changes: 0,
        }
    }

    fn next_etag(&mut self) -> String {
        self.changes += 1;
        format!("\"8d{:013x}\"", 0x59f_830c_b130_u64 + self.changes)
    }

    pub(super) fn has_versions(&self) -> bool {
        self.service.get("isVersioningEnabled") == Some(&json!(true))
    }

    fn is_hierarchical(&self) -> bool {
        self.properties.get("isHnsEnabled") == Some(&json!(true))
    }

    pub(super) fn container(&mut self, name: &str) -> Result<&mut Container, Refusal> {
        self.containers
            .get_mut(name)
            .ok_or_else(Refusal::no_container)
    }

    /// Creates a container, or changes what can be changed of one; returns whether it is new.
    pub(super) fn put_container(
        &mut self,
        name: &str,
        properties: Map<String, Value>,
    ) -> Result<bool, Refusal> {
        let wants_versions = properties
            .get("immutableStorageWithVersioning")
            .is_some_and(|it| it["enabled"] == json!(true));
        if wants_versions && (!self.has_versions() || self.is_hierarchical()) {
            return Err(Refusal::new(
                409,
                "ImmutableStorageWithVersioningNotAllowed",
                "Versioning must be enabled on an account without a hierarchical namespace.",
            ));
        }
        if let Some(scope) = properties
            .get("defaultEncryptionScope")
            .and_then(Value::as_str)
            && scope != "$account-encryption-key"
            && !self.scopes.contains_key(scope)
        {
            return Err(Refusal::new(
                404,
                "EncryptionScopeNotFound",
                "There is no such scope.",
            ));
        }
        let etag = self.next_etag();
        match self.containers.get_mut(name) {
            None => {
                let container = Container {
                    properties,
                    etag,
                    ..Container::default()
                };
                self.containers.insert(name.to_owned(), container);
                Ok(true)
            }
            Some(container) => {
                // What was said when it was created stays; of this one the service says so.
                let versions = "immutableStorageWithVersioning";
                if wants_versions && !container.properties.contains_key(versions) {
                    return Err(Refusal::new(
                        409,
                        "ContainerImmutableStorageWithVersioningCannotBeChanged",
                        "It can only be set when the container is created.",
                    ));
                }
                if let Some(access) = properties.get("publicAccess") {
                    container
                        .properties
                        .insert("publicAccess".to_owned(), access.clone());
                }
                container.etag = etag;
                Ok(false)
            }
        }
    }

    pub(super) fn put_policy(
        &mut self,
        container: &str,
        properties: &Map<String, Value>,
        if_match: Option<&str>,
    ) -> Result<Policy, Refusal> {
        let days = days(properties)?;
        let flag = |name| properties.get(name) == Some(&json!(true));
        let (some, all) = (
            flag("allowProtectedAppendWrites"),
            flag("allowProtectedAppendWritesAll"),
        );
        let appends = match (some, all) {
            (true, true) => {
                let message = "allowProtectedAppendWrites and allowProtectedAppendWritesAll are \
                               mutually exclusive.";
                return Err(Refusal::invalid(message));
            }
            (true, false) => Some("allowProtectedAppendWrites"),
            (false, true) => Some("allowProtectedAppendWritesAll"),
            (false, false) => None,
        };
        let etag = self.next_etag();
        let slot = &mut self.container(container)?.policy;
        check(slot.as_ref(), if_match)?;
        if slot.as_ref().is_some_and(|policy| policy.is_locked) {
            return Err(Refusal::locked());
        }
        let policy = Policy {
            days,
            is_locked: false,
            extensions: 0,
            appends,
            etag,
        };
        *slot = Some(policy.clone());
        Ok(policy)
    }

    pub(super) fn lock_policy(
        &mut self,
        container: &str,
        if_match: Option<&str>,
    ) -> Result<Policy, Refusal> {
        let etag = self.next_etag();
        let policy = self.policy_of(container, if_match)?;
        if policy.is_locked {
            return Err(Refusal::locked());
        }
        policy.is_locked = true;
        policy.etag = etag;
        Ok(policy.clone())
    }

    pub(super) fn extend_policy(
        &mut self,
        container: &str,
        properties: &Map<String, Value>,
        if_match: Option<&str>,
    ) -> Result<Policy, Refusal> {
        let days = days(properties)?;
        let etag = self.next_etag();
        let policy = self.policy_of(container, if_match)?;
        if !policy.is_locked {
            return Err(Refusal::new(
                409,
                "ContainerImmutabilityPolicyNotLocked",
                "Only a locked policy is extended.",
            ));
        }
        if days <= policy.days {
            return Err(Refusal::new(
                409,
                "ContainerImmutabilityPolicyCannotBeReduced",
                "A locked policy only gets a longer time.",
            ));
        }
        if policy.extensions == EXTENSIONS {
            return Err(Refusal::new(
                409,
                "ContainerImmutabilityPolicyExtensionLimit",
                "A locked policy is extended five times at most.",
            ));
        }
        policy.extensions += 1;
        policy.days = days;
        policy.etag = etag;
        Ok(policy.clone())
    }

    /// Takes a policy off, and returns what the service answers then: one of no days.
    pub(super) fn delete_policy(
        &mut self,
        container: &str,
        if_match: Option<&str>,
    ) -> Result<Policy, Refusal> {
        let etag = self.next_etag();
        let policy = self.policy_of(container, if_match)?;
        if policy.is_locked {
            return Err(Refusal::locked());
        }
        self.container(container)?.policy = None;
        Ok(Policy {
            days: 0,
            is_locked: false,
            extensions: 0,
            appends: None,
            etag,
        })
    }

    fn policy_of(
        &mut self,
        container: &str,
        if_match: Option<&str>,
    ) -> Result<&mut Policy, Refusal> {
        let Some(if_match) = if_match else {
            let message =
                "An HTTP header that's mandatory for this request is not specified: If-Match";
            return Err(Refusal::new(400, "MissingRequiredHeader", message));
        };
        let slot = &mut self.container(container)?.policy;
        check(slot.as_ref(), Some(if_match))?;
        slot.as_mut().ok_or_else(|| {
            Refusal::new(
                404,
                "ImmutabilityPolicyNotFound",
                "The container has no policy.",
            )
        })
    }

    pub(super) fn hold(
        &mut self,
        container: &str,
        tags: &[String],
        is_set: bool,
    ) -> Result<&BTreeSet<String>, Refusal> {
        let is_tag = |tag: &String| {
            (3..=23).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if tags.is_empty() || !tags.iter().all(is_tag) {
            let message = "A tag has 3 to 23 alphanumeric characters.";
            return Err(Refusal::invalid(message));
        }
        let container = self.container(container)?;
        let tags = tags.iter().map(|tag| tag.to_ascii_lowercase());
        let mut holds = container.holds.clone();
        match is_set {
            true => holds.extend(tags),
            false => tags.for_each(|tag| {
                holds.remove(&tag);
            }),
        }
        if holds.len() > HOLDS {
            return Err(Refusal::invalid("A container has 10 tags at most."));
        }
        container.holds = holds;
        Ok(&container.holds)
    }

    pub(super) fn put_scope(
        &mut self,
        name: &str,
        properties: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<bool, Refusal> {
        let source = properties.get("source").and_then(Value::as_str);
        let has_key = properties.get("keyVaultProperties").is_some_and(|it| {
            it["keyUri"]
                .as_str()
                .is_some_and(|it| it.starts_with("https://"))
        });
        match source.unwrap_or("Microsoft.Storage") {
            "Microsoft.Storage" => {}
            "Microsoft.KeyVault" if has_key => {}
            _ => return Err(Refusal::invalid("The source of the key, or its address.")),
        }
        let is_new = !self.scopes.contains_key(name);
        let scope = self.scopes.entry(name.to_owned()).or_default();
        if is_new {
            scope.insert("source".to_owned(), json!("Microsoft.Storage"));
            scope.insert("state".to_owned(), json!("Enabled"));
            scope.insert("creationTime".to_owned(), json!(stamp(now)));
        }
        merge(scope, properties, now)?;
        Ok(is_new)
    }

    pub(super) fn patch_scope(
        &mut self,
        name: &str,
        properties: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let scope = self.scopes.get_mut(name).ok_or_else(|| {
            Refusal::new(404, "EncryptionScopeNotFound", "There is no such scope.")
        })?;
        merge(scope, properties, now)
    }
}

fn merge(
    scope: &mut Map<String, Value>,
    properties: &Map<String, Value>,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    if let Some(state) = properties.get("state")
        && !matches!(state.as_str(), Some("Enabled" | "Disabled"))
    {
        return Err(Refusal::invalid("A scope is Enabled or Disabled."));
    }
    for (name, value) in properties {
        scope.insert(name.clone(), value.clone());
    }
    scope.insert("lastModifiedTime".to_owned(), json!(stamp(now)));
    Ok(())
}

fn days(properties: &Map<String, Value>) -> Result<u64, Refusal> {
    let days = properties
        .get("immutabilityPeriodSinceCreationInDays")
        .and_then(Value::as_u64);
    days.filter(|days| (1..=LONGEST).contains(days))
        .ok_or_else(|| Refusal::invalid("The period is from 1 to 146000 days."))
}

/// Quotes are a part of an etag; a client that leaves them out is understood.
fn check(policy: Option<&Policy>, if_match: Option<&str>) -> Result<(), Refusal> {
    let Some(wanted) = if_match.filter(|wanted| *wanted != "*") else {
        return Ok(());
    };
    let is_it = |policy: &Policy| policy.etag.trim_matches('"') == wanted.trim_matches('"');
    match policy.is_some_and(is_it) {
        true => Ok(()),
        false => Err(Refusal::changed()),
    }
}

pub(super) fn stamp(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Micros, true)
}
