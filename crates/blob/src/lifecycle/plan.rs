//! The rules that a service wants, checked as a whole.

use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

use super::check;
use super::diff::LifecycleDiff;
use super::fault::{LifecycleFault, LifecycleFaults, LifecycleProblem as Problem};
use super::layout::LifecycleLayout;
use super::policy::{LifecyclePolicy, PolicyRule};
use super::rule::{BlobPart, LifecycleActions, LifecycleAge, LifecycleFilter, LifecycleRule};
use crate::record::Tier;
use crate::retention::RetentionClass;

const COMPILE: &str = "compile life cycle";
const DAY: u64 = 24 * 60 * 60;
/// How long what was brought back stays, unless a rule says otherwise.
const SINCE_TIER_CHANGE: u32 = 7;

/// The rules that a service wants for its blobs in a storage account.
///
/// # What is refused
///
/// What the service refuses (more than 100 rules, 10 prefixes or 10 tags; names and prefixes of another
/// form), what it takes and does not do (a tier that comes after the deletion), and what must not be: **a
/// rule never deletes earlier than a class allows**. Each rule that deletes is held against each class
/// whose blobs it can reach: that which it names, or all where it names none and reaches the layout. A
/// class allows deletion after its ceiling; where it is locked, after its period, since the service
/// itself keeps what was extended; and never by age where it ends with an event or has no ceiling.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{ClassLifecycle, LifecycleLayout, LifecyclePlan, Retention, RetentionClass, Tier};
///
/// let exports = RetentionClass::new("report-exports", Retention::days(365))?.with_ceiling_days(730);
/// let plan = LifecyclePlan::new(LifecycleLayout::container_per_tenant("t"))
///     .with_class_rule(ClassLifecycle::new(&exports).with_tier_after_days(Tier::Cool, 30).deleted());
/// let policy = plan.compile()?;
/// let rule = &policy.to_json()["rules"][0];
/// assert_eq!(rule["name"], "tenantry-report-exports");
/// assert_eq!(rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterCreationGreaterThan"], 730);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecyclePlan {
    owner: String,
    layout: LifecycleLayout,
    classes: Vec<RetentionClass>,
    rules: Vec<LifecycleRule>,
    are_scoped: bool,
}

impl LifecyclePlan {
    /// Returns a plan without rules for blobs that are placed so.
    #[must_use]
    pub fn new(layout: LifecycleLayout) -> Self {
        Self {
            owner: "tenantry".to_owned(),
            layout,
            classes: Vec::new(),
            rules: Vec::new(),
            are_scoped: false,
        }
    }

    /// Says whose rules these are, where several services share an account: 1 to 32 characters of
    /// `[a-z0-9]`, `tenantry` if nothing is said.
    ///
    /// It stands before the name of each rule. A rule without it is another's, and left alone.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// Adds a class without a rule of its own: no rule deletes its blobs early.
    #[must_use]
    pub fn with_class(mut self, class: &RetentionClass) -> Self {
        self.classes.push(class.clone());
        self
    }

    /// Adds a class, and the rule that is made of it.
    #[must_use]
    pub fn with_class_rule(mut self, class: ClassLifecycle) -> Self {
        let rule = class.rule(&self.layout);
        self.classes.push(class.class);
        self.rules.push(rule);
        self
    }

    /// Adds a rule.
    #[must_use]
    pub fn with_rule(mut self, rule: LifecycleRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Says that the blobs are encrypted by scopes, which the service does not archive by a rule.
    #[must_use]
    pub const fn with_encryption_scopes(mut self) -> Self {
        self.are_scoped = true;
        self
    }

    /// Returns whose rules these are.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns all that is wrong with the plan.
    #[must_use]
    pub fn faults(&self) -> Vec<LifecycleFault> {
        let mut faults = Vec::new();
        let mut of_plan = |problem| {
            faults.push(LifecycleFault {
                rule: None,
                problem,
            });
        };
        if self.rules.is_empty() {
            of_plan(Problem::NoRules);
        }
        faults.extend(self.faults_of_rules());
        faults
    }

    fn faults_of_rules(&self) -> Vec<LifecycleFault> {
        let mut faults = Vec::new();
        let count = self.rules.len();
        let mut of_plan = |problem| {
            faults.push(LifecycleFault {
                rule: None,
                problem,
            });
        };
        if count > check::RULES {
            of_plan(Problem::TooManyRules { count });
        }
        let is_owner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=32).contains(&self.owner.len()) || !self.owner.bytes().all(is_owner) {
            of_plan(Problem::BadOwner);
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let mut problems = Vec::new();
            // Its own part as well: `tenantry-` is no name.
            if !check::is_name(&rule.name) || !check::is_name(&self.full_name(rule)) {
                problems.push(Problem::BadName);
            }
            if self.rules.iter().take(at).any(|it| it.name == rule.name) {
                problems.push(Problem::DuplicateName);
            }
            problems.extend(check::problems(rule, self.are_scoped));
            problems.extend(self.early_deletions(rule));
            faults.extend(problems.into_iter().map(|problem| LifecycleFault {
                rule: Some(rule.name.clone()),
                problem,
            }));
        }
        faults
    }

    /// Returns the policy of these rules and no others.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): something is [wrong](Self::faults). The subject
    ///   is the first rule, the detail tells all, and the source is a [`LifecycleFaults`].
    pub fn compile(&self) -> Result<LifecyclePolicy> {
        refuse(self.faults())?;
        Ok(self.policy())
    }

    /// Compares what is wanted with what an account has.
    ///
    /// A plan without rules takes all away that its owner has.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile), but for a plan without rules.
    pub fn diff(&self, live: &LifecyclePolicy) -> Result<LifecycleDiff> {
        refuse(self.faults_of_rules())?;
        let hazards = live
            .rules()
            .iter()
            .filter(|rule| !rule.is_of(&self.owner))
            .flat_map(|rule| self.hazards_of(rule))
            .collect();
        Ok(LifecycleDiff::new(
            live,
            self.policy(),
            &self.owner,
            hazards,
        ))
    }

    fn policy(&self) -> LifecyclePolicy {
        let named = |rule: &LifecycleRule| LifecycleRule {
            name: self.full_name(rule),
            ..rule.clone()
        };
        LifecyclePolicy::of(self.rules.iter().map(named))
    }

    fn full_name(&self, rule: &LifecycleRule) -> String {
        format!("{}-{}", self.owner, rule.name)
    }

    /// Returns what a rule would delete early, of blobs as they are and of their versions.
    fn early_deletions(&self, rule: &LifecycleRule) -> Vec<Problem> {
        let deletions = [BlobPart::Base, BlobPart::Version].map(|part| rule.actions(part).delete);
        let Some(days) = deletions.iter().flatten().map(|age| age.days).min() else {
            return Vec::new();
        };
        let class = rule.filter.class();
        if !rule.is_enabled || class.is_none() && !rule.filter.reaches(&self.layout.prefix()) {
            return Vec::new();
        }
        let is_meant = |it: &&RetentionClass| class.is_none_or(|class| class == it.name());
        let meant: Vec<_> = self.classes.iter().filter(is_meant).collect();
        let unknown = class.filter(|_| meant.is_empty());
        let early = meant.into_iter().filter_map(|class| {
            let name = class.name().to_owned();
            match class.longest().map(whole_days) {
                None => Some(Problem::Unbounded { class: name }),
                Some(needed) if days < needed => Some(Problem::TooEarly {
                    class: name,
                    days,
                    needed,
                }),
                Some(_) => None,
            }
        });
        let unknown = unknown.map(|class| Problem::UnknownClass {
            class: class.to_owned(),
        });
        unknown.into_iter().chain(early).collect()
    }

    /// Returns what a rule of others would delete early; of one that is not understood, that it may.
    fn hazards_of(&self, rule: &PolicyRule) -> Vec<String> {
        let told = |what: &dyn std::fmt::Display| format!("rule {} of others: {what}", rule.name());
        match rule.rule() {
            Ok(known) => {
                let early = self.early_deletions(known);
                early.iter().map(|problem| told(problem)).collect()
            }
            Err(why) => vec![told(&format_args!("what it deletes is not known: {why}"))],
        }
    }
}

fn refuse(faults: Vec<LifecycleFault>) -> Result<()> {
    let Some(first) = faults.first() else {
        return Ok(());
    };
    let subject = first.rule.clone().unwrap_or_default();
    let faults = LifecycleFaults(faults);
    Err(Error::new(ErrorKind::InvalidSettings, COMPILE)
        .with_subject(subject)
        .with_detail(faults.to_string())
        .with_source(faults))
}

/// Rounded up: a blob is kept to the end of its time.
fn whole_days(period: Duration) -> u32 {
    u32::try_from(period.as_secs().div_ceil(DAY)).unwrap_or(u32::MAX)
}

/// What the rule of a class of retention does; it finds the blobs by the tag of the class.
///
/// It archives as the class says. Deleting is for it to be [said](Self::deleted): the
/// [`Sweeper`](crate::Sweeper) deletes each blob at its own end, where a rule knows an age alone, and is
/// what remains where no sweeper runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLifecycle {
    class: RetentionClass,
    tiers: Vec<(Tier, u32)>,
    slack: u32,
    is_deleted: bool,
    has_versions: bool,
}

impl ClassLifecycle {
    /// Returns the rule of a class, which archives what the class has archived.
    #[must_use]
    pub fn new(class: &RetentionClass) -> Self {
        Self {
            class: class.clone(),
            tiers: Vec::new(),
            slack: 0,
            is_deleted: false,
            has_versions: false,
        }
    }

    /// Moves blobs to a tier as well, so many days after their last change.
    #[must_use]
    pub fn with_tier_after_days(mut self, tier: Tier, days: u32) -> Self {
        self.tiers.push((tier, days));
        self
    }

    /// Deletes blobs when none of the class is kept any more: after its ceiling, or after its period
    /// where it is locked.
    ///
    /// What is [counted from](crate::Retention::counted_from) a moment after its creation is kept longer
    /// than a rule knows: give it [slack](Self::with_slack_days).
    #[must_use]
    pub const fn deleted(mut self) -> Self {
        self.is_deleted = true;
        self
    }

    /// Deletes so many days later.
    #[must_use]
    pub const fn with_slack_days(mut self, days: u32) -> Self {
        self.slack = days;
        self
    }

    /// Does the same with versions, in an account that keeps them: what is deleted there becomes one.
    #[must_use]
    pub const fn with_versions(mut self) -> Self {
        self.has_versions = true;
        self
    }

    fn rule(&self, layout: &LifecycleLayout) -> LifecycleRule {
        let filter = LifecycleFilter::all()
            .with_layout(layout)
            .with_class(self.class.name());
        // Names of classes have no capitals, and those of rules no underscores.
        let rule = LifecycleRule::new(self.class.name().replace('_', "U"))
            .with_filter(filter)
            .with_base(self.actions(LifecycleAge::modified));
        match self.has_versions {
            true => rule.with_versions(self.actions(LifecycleAge::created)),
            false => rule,
        }
    }

    fn actions(&self, aged: fn(u32) -> LifecycleAge) -> LifecycleActions {
        let mut actions = LifecycleActions::none();
        if let Some(after) = self.class.archived_after() {
            let age = aged(whole_days(after)).and_since_tier_change(SINCE_TIER_CHANGE);
            actions = actions.with_tier(Tier::Archive, age);
        }
        for &(tier, days) in &self.tiers {
            let age = match tier {
                Tier::Archive => aged(days).and_since_tier_change(SINCE_TIER_CHANGE),
                _ => aged(days),
            };
            actions = actions.with_tier(tier, age);
        }
        if self.is_deleted {
            // Of a class without a bound the plan refuses any deletion.
            let needed = self.class.longest().map_or(0, whole_days);
            let days = needed.saturating_add(self.slack);
            actions = actions.with_delete(LifecycleAge::created(days));
        }
        actions
    }
}
