//! A policy as an account has it, rule by rule.

use std::fmt;

use serde_json::{Map, Value, json};
use tenantry_core::{Error, ErrorKind, Result};

use super::json;
use super::rule::LifecycleRule;

const READ: &str = "read life cycle policy";

/// The policy of a storage account: at most one of them, with the rules of everybody.
///
/// What is not understood of it is kept as it is, so that writing it back loses nothing.
///
/// # Examples
///
/// ```
/// use tenantry_blob::LifecyclePolicy;
///
/// let live = LifecyclePolicy::from_json(&serde_json::json!({"rules": [{
///     "enabled": true, "name": "logs", "type": "Lifecycle", "definition": {
///         "filters": {"blobTypes": ["blockBlob"], "prefixMatch": ["logs/"]},
///         "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30}}},
///     },
/// }]}))?;
/// assert_eq!(live.rules()[0].to_string(), "logs: block blobs under logs/: delete 30 days after modification");
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LifecyclePolicy {
    rules: Vec<PolicyRule>,
    /// What else is said in it.
    rest: Map<String, Value>,
}

impl LifecyclePolicy {
    /// Returns the policy of an account that has none.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a policy: the document with `rules`, or the answer of the service with one in it.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is no policy, a rule has no name, or two have the
    ///   same.
    pub fn from_json(document: &Value) -> Result<Self> {
        let invalid = |detail| Err(Error::new(ErrorKind::InvalidInput, READ).with_detail(detail));
        let policy = match document.pointer("/properties/policy") {
            Some(policy) => policy,
            None => document,
        };
        let Some(Value::Array(rules)) = policy.get("rules") else {
            return invalid("expected an object with `rules`");
        };
        let rules: Option<Vec<_>> = rules.iter().map(PolicyRule::read).collect();
        let Some(rules) = rules else {
            return invalid("expected a `name` in each rule");
        };
        for (at, rule) in rules.iter().enumerate() {
            if rules.iter().take(at).any(|other| other.name == rule.name) {
                return invalid("two rules have one name");
            }
        }
        let mut rest = policy.as_object().cloned().unwrap_or_default();
        rest.remove("rules");
        Ok(Self { rules, rest })
    }

    pub(super) fn of(rules: impl IntoIterator<Item = LifecycleRule>) -> Self {
        Self {
            rules: rules.into_iter().map(PolicyRule::of).collect(),
            rest: Map::new(),
        }
    }

    pub(super) fn with_rules(&self, rules: Vec<PolicyRule>) -> Self {
        Self {
            rules,
            rest: self.rest.clone(),
        }
    }

    /// Returns the rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// Returns whether there is no rule: such a policy is deleted, and cannot be put.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns whether two policies say the same, in whatever order: none of the rules comes first.
    #[cfg(feature = "azure-management")]
    pub(crate) fn says_what(&self, other: &Self) -> bool {
        let is_in = |rule: &PolicyRule| other.rule(&rule.name).is_some_and(|it| rule.says_what(it));
        self.rules.len() == other.rules.len() && self.rules.iter().all(is_in)
    }

    /// Returns the rule of a name, that of its owner with it.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&PolicyRule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// Returns the document, as the portal and the command line of Azure take it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut policy = self.rest.clone();
        let rules = self.rules.iter().map(|rule| rule.document.clone());
        policy.insert("rules".to_owned(), rules.collect());
        Value::Object(policy)
    }

    /// Returns the body with which the document is put at `managementPolicies/default`.
    #[must_use]
    pub fn to_request(&self) -> Value {
        json!({ "properties": { "policy": self.to_json() } })
    }
}

/// A rule of a policy: as the account has it, and what is understood of that.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyRule {
    name: String,
    document: Value,
    read: Result<LifecycleRule, String>,
}

impl PolicyRule {
    fn of(rule: LifecycleRule) -> Self {
        Self {
            name: rule.name.clone(),
            document: json::write(&rule),
            read: Ok(rule),
        }
    }

    fn read(document: &Value) -> Option<Self> {
        Some(Self {
            name: document.get("name")?.as_str()?.to_owned(),
            document: document.clone(),
            read: json::read(document),
        })
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the rule says.
    ///
    /// # Errors
    ///
    /// What is not understood of it. Such a rule is kept as it is, and no simulation knows what it does.
    pub fn rule(&self) -> Result<&LifecycleRule, &str> {
        self.read.as_ref().map_err(|why| &**why)
    }

    /// Returns the rule as the account has it.
    #[must_use]
    pub const fn to_json(&self) -> &Value {
        &self.document
    }

    /// Returns whether the rule is that of an owner.
    #[must_use]
    pub fn is_of(&self, owner: &str) -> bool {
        self.name
            .split_once('-')
            .is_some_and(|(before, _)| before == owner)
    }

    /// Returns whether two rules say the same.
    pub(super) fn says_what(&self, other: &Self) -> bool {
        match (&self.read, &other.read) {
            (Ok(rule), Ok(other)) => rule.says_what(other),
            _ => self.document == other.document,
        }
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.read {
            Ok(rule) => rule.fmt(f),
            Err(why) => write!(f, "{}: not understood: {why}", self.name),
        }
    }
}
