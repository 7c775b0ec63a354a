//! What would change in an account, rule by rule.

use std::fmt;

use tenantry_core::{Error, ErrorKind, Result};

use super::check::RULES;
use super::policy::{LifecyclePolicy, PolicyRule};

/// What a plan would change in the policy of an account; rules of others are left alone.
///
/// As text, one rule a line: `+` is added, `~` changed, `-` removed, and `!` is what to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct LifecycleDiff {
    /// The rules that the account does not have.
    pub added: Vec<PolicyRule>,
    /// The rules of the owner that the plan does not have.
    pub removed: Vec<PolicyRule>,
    /// The rules that say something else in the account.
    pub changed: Vec<RuleChange>,
    /// The names of those that say the same.
    pub unchanged: Vec<String>,
    /// The names of rules of others.
    pub foreign: Vec<String>,
    /// What rules of others would delete too early, or may: no plan keeps them from it.
    pub hazards: Vec<String>,
    merged: LifecyclePolicy,
}

/// A rule that says something else than before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RuleChange {
    /// What it says in the account.
    pub before: PolicyRule,
    /// What it is to say.
    pub after: PolicyRule,
}

impl LifecycleDiff {
    pub(super) fn new(
        live: &LifecyclePolicy,
        wanted: LifecyclePolicy,
        owner: &str,
        hazards: Vec<String>,
    ) -> Self {
        let mut diff = Self {
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            unchanged: Vec::new(),
            foreign: Vec::new(),
            hazards,
            merged: wanted,
        };
        let mut merged = Vec::new();
        for before in live.rules() {
            let name = before.name().to_owned();
            match diff.merged.rule(&name) {
                None if before.is_of(owner) => diff.removed.push(before.clone()),
                None => {
                    diff.foreign.push(name);
                    merged.push(before.clone());
                }
                Some(after) if after.says_what(before) => {
                    diff.unchanged.push(name);
                    // As the service writes it.
                    merged.push(before.clone());
                }
                Some(after) => {
                    merged.push(after.clone());
                    diff.changed.push(RuleChange {
                        before: before.clone(),
                        after: after.clone(),
                    });
                }
            }
        }
        for rule in diff.merged.rules() {
            if live.rule(rule.name()).is_none() {
                diff.added.push(rule.clone());
                merged.push(rule.clone());
            }
        }
        diff.merged = live.with_rules(merged);
        diff
    }

    /// Returns whether nothing would change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Returns the whole policy as it would be, with the rules of others; one without rules is to be
    /// deleted.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): with those of others there would be more than
    ///   100 rules.
    pub fn merged(&self) -> Result<&LifecyclePolicy> {
        if self.merged.rules().len() > RULES {
            let detail = format!(
                "{} rules with {} of others, and an account has 100",
                self.merged.rules().len(),
                self.foreign.len()
            );
            return Err(
                Error::new(ErrorKind::InvalidSettings, "merge life cycle").with_detail(detail)
            );
        }
        Ok(&self.merged)
    }
}

impl fmt::Display for LifecycleDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in &self.added {
            writeln!(f, "+ {rule}")?;
        }
        for RuleChange { before, after } in &self.changed {
            writeln!(f, "~ {after}\n  was {before}")?;
        }
        for rule in &self.removed {
            writeln!(f, "- {rule}")?;
        }
        for hazard in &self.hazards {
            writeln!(f, "! {hazard}")?;
        }
        if self.is_empty() {
            f.write_str("nothing would change; ")?;
        }
        write!(
            f,
            "as they are: {} rules of this owner, {} of others",
            self.unchanged.len(),
            self.foreign.len()
        )
    }
}
