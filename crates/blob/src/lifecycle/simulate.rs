//! What a policy would do with a blob, and when.

use std::fmt;

use chrono::{DateTime, Duration, Utc};

use super::blob::LifecycleBlob;
use super::policy::LifecyclePolicy;
use super::rule::{AgeBasis, LifecycleAge, LifecycleRule};
use crate::record::Tier;
use crate::retention::RetainedBy;

/// How long after it is due the service may take: it looks through an account about once a day, and
/// begins with a new policy within a day.
const WITHIN: Duration = Duration::hours(48);

/// Tells what a policy would do with blobs, if it was put now and nothing else happened.
///
/// # What it does as the service does
///
/// - What is due when its age is exceeded is done from then on, and within 48 hours in an account that
///   is not at its limits.
/// - Of what is due at once, the cheapest is done. No rule brings a blob to a warmer tier.
/// - Of a blob that is locked or held, nothing is deleted; its tier changes. Out of a container with a
///   policy of immutability nothing is deleted at all, and what is encrypted by a scope is not archived.
///
/// # What it cannot know
///
/// - What reading does: [`with_hot_again`](super::LifecycleActions::with_hot_again), and accesses to come.
/// - Rules that are [not understood](super::PolicyRule::rule): [`unjudged`](Self::unjudged) names them.
/// - The service deletes a blob only after its versions and snapshots: give each of these as well.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{
///     LifecycleActions, LifecycleAge, LifecycleBlob, LifecycleLayout, LifecyclePlan, LifecycleRule,
///     LifecycleSimulator,
/// };
///
/// let rule = LifecycleRule::new("all")
///     .with_base(LifecycleActions::none().with_delete(LifecycleAge::created(30)));
/// let policy = LifecyclePlan::new(LifecycleLayout::prefix_per_tenant("blobs"))
///     .with_rule(rule)
///     .compile()?;
///
/// let now = "2026-01-11T00:00:00Z".parse()?;
/// let blob = LifecycleBlob::new("imports/a.csv", "2026-01-01T00:00:00Z".parse()?);
/// let forecast = LifecycleSimulator::new(&policy, now).forecast(&blob);
/// let deletion = forecast.deletion().unwrap();
/// assert_eq!(deletion.from.to_rfc3339(), "2026-01-31T00:00:00+00:00");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LifecycleSimulator {
    rules: Vec<LifecycleRule>,
    unjudged: Vec<String>,
    now: DateTime<Utc>,
    access_tracked_since: Option<DateTime<Utc>>,
}

impl LifecycleSimulator {
    /// Returns what tells what a policy does that is put at a time.
    #[must_use]
    pub fn new(policy: &LifecyclePolicy, now: DateTime<Utc>) -> Self {
        let known = policy.rules().iter().filter_map(|rule| rule.rule().ok());
        let unjudged = policy.rules().iter().filter(|rule| rule.rule().is_err());
        Self {
            rules: known.filter(|rule| rule.is_enabled()).cloned().collect(),
            unjudged: unjudged.map(|rule| rule.name().to_owned()).collect(),
            now,
            access_tracked_since: None,
        }
    }

    /// Says since when the account keeps track of accesses: that stands for the last access of a blob
    /// that was not read since.
    #[must_use]
    pub const fn with_access_tracked_since(mut self, since: DateTime<Utc>) -> Self {
        self.access_tracked_since = Some(since);
        self
    }

    /// Returns the names of rules of which it is not known what they do.
    #[must_use]
    pub fn unjudged(&self) -> &[String] {
        &self.unjudged
    }

    /// Tells what is done with a blob from now on, in order.
    #[must_use]
    pub fn forecast(&self, blob: &LifecycleBlob) -> BlobForecast {
        let mut at = Course {
            now: self.now,
            tier: blob.tier,
            tier_changed_at: blob.tier_changed_at.unwrap_or(blob.created_at),
        };
        let mut forecast = BlobForecast {
            path: blob.path.clone(),
            length: blob.length,
            steps: Vec::new(),
            withheld: None,
        };
        while let Some(step) = self.next(blob, &at, &mut forecast.withheld) {
            at.now = step.from;
            at.tier_changed_at = step.from;
            let ends = match step.action {
                StepAction::Delete => true,
                StepAction::MoveTo(tier) => {
                    at.tier = tier;
                    false
                }
            };
            forecast.steps.push(step);
            if ends {
                break;
            }
        }
        forecast
    }

    /// Returns what comes first, and of that which comes at once the cheapest.
    fn next(
        &self,
        blob: &LifecycleBlob,
        at: &Course,
        withheld: &mut Option<Withheld>,
    ) -> Option<LifecycleStep> {
        let mut first: Option<LifecycleStep> = None;
        for rule in &self.rules {
            if !rule.filter().includes(&blob.path, &blob.tags) {
                continue;
            }
            let actions = rule.actions(blob.part);
            let moves = actions.tiers.iter().filter(|(tier, _)| {
                **tier > at.tier && !(blob.is_scoped && **tier == Tier::Archive)
            });
            let moves = moves.map(|(tier, age)| (StepAction::MoveTo(*tier), *age));
            let delete = actions.delete.map(|age| (StepAction::Delete, age));
            for (action, age) in moves.chain(delete) {
                let due = self.due(blob, at, age);
                let (from, breaks) = match action {
                    StepAction::MoveTo(_) => (due, None),
                    StepAction::Delete => match self.kept(blob, due, rule, withheld) {
                        Some(from) => (from, breaks(blob, from)),
                        None => continue,
                    },
                };
                let is_first = first
                    .as_ref()
                    .is_none_or(|it| from < it.from || from == it.from && action > it.action);
                if is_first {
                    first = Some(LifecycleStep {
                        action,
                        rule: rule.name().to_owned(),
                        from,
                        by: from.checked_add_signed(WITHIN).unwrap_or(from),
                        breaks,
                    });
                }
            }
        }
        first
    }

    fn due(&self, blob: &LifecycleBlob, at: &Course, age: LifecycleAge) -> DateTime<Utc> {
        let basis = match age.basis {
            AgeBasis::Creation => blob.created_at,
            AgeBasis::Modification => blob.modified_at,
            AgeBasis::LastAccess => blob.accessed_at.unwrap_or_else(|| {
                self.access_tracked_since
                    .map_or(blob.created_at, |since| since.max(blob.created_at))
            }),
        };
        let mut due = days_after(basis, age.days);
        if let Some(days) = age.since_tier_change {
            due = due.max(days_after(at.tier_changed_at, days));
        }
        due.max(at.now)
    }

    /// Returns from when on the service lets a rule delete that is due, if it ever does.
    fn kept(
        &self,
        blob: &LifecycleBlob,
        due: DateTime<Utc>,
        rule: &LifecycleRule,
        withheld: &mut Option<Withheld>,
    ) -> Option<DateTime<Utc>> {
        let retention = blob.retention.as_ref();
        let locked_until = retention
            .filter(|it| it.lock.is_some())
            .and_then(|it| it.until);
        let is_kept_for_good =
            blob.is_in_immutable_container || retention.is_some_and(|it| it.is_held());
        let from = locked_until.map_or(due, |until| until.max(due));
        if is_kept_for_good || from > due {
            let until = (!is_kept_for_good).then_some(from);
            let is_sooner = withheld.as_ref().is_none_or(|it| due < it.due);
            if is_sooner {
                *withheld = Some(Withheld {
                    rule: rule.name().to_owned(),
                    due,
                    until,
                });
            }
        }
        (!is_kept_for_good).then_some(from)
    }
}

/// Where a blob is in its course.
struct Course {
    now: DateTime<Utc>,
    tier: Tier,
    tier_changed_at: DateTime<Utc>,
}

fn days_after(basis: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    basis
        .checked_add_signed(Duration::days(days.into()))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns what keeps a blob for Tenantry at a time, and not for the storage service.
fn breaks(blob: &LifecycleBlob, at: DateTime<Utc>) -> Option<RetainedBy> {
    let retention = blob.retention.as_ref()?;
    let kept = |it: &RetainedBy| matches!(it, RetainedBy::Period { .. } | RetainedBy::Event { .. });
    crate::retention::reasons(retention, at)
        .into_iter()
        .find(kept)
}

/// What a policy does with one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobForecast {
    /// Its container and its name.
    pub path: String,
    /// How many bytes it has.
    pub length: u64,
    /// What is done with it, in order; a deletion is the last.
    pub steps: Vec<LifecycleStep>,
    /// The deletion that a lock, a hold or its container keeps it from, for a time or for good.
    pub withheld: Option<Withheld>,
}

impl BlobForecast {
    /// Returns its deletion, if it comes to that.
    #[must_use]
    pub fn deletion(&self) -> Option<&LifecycleStep> {
        let last = self.steps.last();
        last.filter(|step| step.action == StepAction::Delete)
    }
}

impl fmt::Display for BlobForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.steps.is_empty() {
            f.write_str(": stays as it is")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            f.write_str(if number == 0 { ": " } else { ", " })?;
            step.fmt(f)?;
        }
        if let Some(withheld) = &self.withheld {
            write!(f, "; {withheld}")?;
        }
        Ok(())
    }
}

/// One thing that is done with a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifecycleStep {
    /// What is done.
    pub action: StepAction,
    /// The rule that does it, by its full name.
    pub rule: String,
    /// Before which moment it is not done.
    pub from: DateTime<Utc>,
    /// By when the service has done it, as it says.
    pub by: DateTime<Utc>,
    /// What keeps the blob until later, and is not known to the service: the rule breaks a promise.
    pub breaks: Option<RetainedBy>,
}

impl fmt::Display for LifecycleStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, rule, .. } = self;
        let from = self.from.format("%Y-%m-%dT%H:%MZ");
        write!(f, "{action} from {from} by {rule}")?;
        match &self.breaks {
            Some(kept) => write!(f, " TOO EARLY: {kept}"),
            None => Ok(()),
        }
    }
}

/// What is done with a blob, from the dearest to the cheapest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StepAction {
    /// It goes to a tier.
    MoveTo(Tier),
    /// It is deleted.
    Delete,
}

impl fmt::Display for StepAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MoveTo(tier) => write!(f, "move to {tier}"),
            Self::Delete => f.write_str("delete"),
        }
    }
}

/// A deletion that the service does not do, though it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Withheld {
    /// The rule, by its full name.
    pub rule: String,
    /// When it is due.
    pub due: DateTime<Utc>,
    /// When the lock ends that keeps the blob; `None` for a hold, or a container out of which nothing is
    /// deleted.
    pub until: Option<DateTime<Utc>>,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, due, until } = self;
        let due = due.format("%Y-%m-%dT%H:%MZ");
        write!(f, "deletion by {rule} of {due} is withheld ")?;
        match until {
            Some(until) => write!(f, "by a lock until {}", until.format("%Y-%m-%dT%H:%MZ")),
            None => f.write_str("by a hold or by its container"),
        }
    }
}
