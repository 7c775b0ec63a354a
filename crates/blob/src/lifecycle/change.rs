//! What changes for blobs when one policy takes the place of another.

use std::fmt;

use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _};
use tenantry_core::Result;

use super::blob::LifecycleBlob;
use super::policy::LifecyclePolicy;
use super::simulate::{BlobForecast, LifecycleSimulator};

/// How many blobs a report names; it counts all.
const NAMED: usize = 100;

/// Tells what changes for blobs when one policy takes the place of another.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{
///     LifecycleActions, LifecycleAge, LifecycleBlob, LifecycleChange, LifecycleLayout, LifecyclePlan,
///     LifecyclePolicy, LifecycleRule,
/// };
///
/// let rule = LifecycleRule::new("all")
///     .with_base(LifecycleActions::none().with_delete(LifecycleAge::created(30)));
/// let policy = LifecyclePlan::new(LifecycleLayout::prefix_per_tenant("blobs"))
///     .with_rule(rule)
///     .compile()?;
/// let now = "2026-03-01T00:00:00Z".parse()?;
/// let old = LifecycleBlob::new("imports/a.csv", "2026-01-01T00:00:00Z".parse()?);
///
/// let change = LifecycleChange::new(&LifecyclePolicy::none(), &policy, now);
/// let report = change.report([old]);
/// assert_eq!(report.newly_deleted, 1);
/// assert_eq!(report.first_deletion, Some(now));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LifecycleChange {
    before: LifecycleSimulator,
    after: LifecycleSimulator,
}

impl LifecycleChange {
    /// Returns what tells of a change at a time.
    #[must_use]
    pub fn new(before: &LifecyclePolicy, after: &LifecyclePolicy, now: DateTime<Utc>) -> Self {
        Self {
            before: LifecycleSimulator::new(before, now),
            after: LifecycleSimulator::new(after, now),
        }
    }

    /// Says since when the account keeps track of accesses.
    #[must_use]
    pub fn with_access_tracked_since(mut self, since: DateTime<Utc>) -> Self {
        self.before = self.before.with_access_tracked_since(since);
        self.after = self.after.with_access_tracked_since(since);
        self
    }

    /// Tells what changes for a blob; `None` where nothing does.
    #[must_use]
    pub fn of(&self, blob: &LifecycleBlob) -> Option<BlobChange> {
        let (before, after) = (self.before.forecast(blob), self.after.forecast(blob));
        let at = |forecast: &BlobForecast| forecast.deletion().map(|step| step.from);
        let effect = match (at(&before), at(&after)) {
            (None, Some(_)) => ChangeEffect::NewlyDeleted,
            (Some(_), None) => ChangeEffect::NoLongerDeleted,
            (Some(was), Some(is)) if is < was => ChangeEffect::DeletedSooner,
            (Some(was), Some(is)) if is > was => ChangeEffect::DeletedLater,
            _ if tiers(&before) != tiers(&after) => ChangeEffect::OtherTiers,
            _ => return None,
        };
        Some(BlobChange {
            effect,
            before,
            after,
        })
    }

    /// Tells what changes for many blobs.
    #[must_use]
    pub fn report(&self, blobs: impl IntoIterator<Item = LifecycleBlob>) -> LifecycleChangeReport {
        let mut report = self.empty_report();
        for blob in blobs {
            self.count(&mut report, &blob);
        }
        report
    }

    /// Tells what changes for many blobs as they come, such as from the lists of a store.
    ///
    /// # Errors
    ///
    /// That of the stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping it changes nothing.
    pub async fn report_stream(
        &self,
        blobs: impl Stream<Item = Result<LifecycleBlob>> + Send,
    ) -> Result<LifecycleChangeReport> {
        let mut report = self.empty_report();
        let mut blobs = std::pin::pin!(blobs);
        while let Some(blob) = blobs.next().await {
            self.count(&mut report, &blob?);
        }
        Ok(report)
    }

    fn empty_report(&self) -> LifecycleChangeReport {
        let mut unjudged = [self.before.unjudged(), self.after.unjudged()].concat();
        unjudged.sort();
        unjudged.dedup();
        LifecycleChangeReport {
            unjudged,
            ..LifecycleChangeReport::default()
        }
    }

    fn count(&self, report: &mut LifecycleChangeReport, blob: &LifecycleBlob) {
        report.examined += 1;
        let change = self.of(blob);
        // Also where the policy before broke it as well.
        let broken = match &change {
            Some(change) => change.after.deletion().and_then(|step| step.breaks.clone()),
            None => {
                let after = self.after.forecast(blob);
                after.deletion().and_then(|step| step.breaks.clone())
            }
        };
        report.too_early += u64::from(broken.is_some());
        let Some(change) = change else {
            return;
        };
        let (count, is_loss) = match change.effect {
            ChangeEffect::NewlyDeleted => (&mut report.newly_deleted, true),
            ChangeEffect::DeletedSooner => (&mut report.deleted_sooner, true),
            ChangeEffect::DeletedLater => (&mut report.deleted_later, false),
            ChangeEffect::NoLongerDeleted => (&mut report.no_longer_deleted, false),
            ChangeEffect::OtherTiers => (&mut report.other_tiers, false),
        };
        *count += 1;
        if is_loss {
            report.lost_bytes = report.lost_bytes.saturating_add(blob.length);
            let from = change.after.deletion().map(|step| step.from);
            report.first_deletion = report.first_deletion.into_iter().chain(from).min();
        }
        if report.changes.len() < NAMED {
            report.changes.push(change);
        }
    }
}

fn tiers(forecast: &BlobForecast) -> Vec<(super::StepAction, DateTime<Utc>)> {
    let steps = forecast.steps.iter();
    steps.map(|step| (step.action, step.from)).collect()
}

/// What changes for one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobChange {
    /// In short.
    pub effect: ChangeEffect,
    /// What the policy before would do.
    pub before: BlobForecast,
    /// What the policy after does.
    pub after: BlobForecast,
}

/// What a change of policies does to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ChangeEffect {
    /// It is deleted, and would have stayed.
    NewlyDeleted,
    /// It is deleted sooner.
    DeletedSooner,
    /// It is deleted later.
    DeletedLater,
    /// It stays, and would have been deleted.
    NoLongerDeleted,
    /// It is in another tier for some time.
    OtherTiers,
}

impl ChangeEffect {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NewlyDeleted => "newly deleted",
            Self::DeletedSooner => "deleted sooner",
            Self::DeletedLater => "deleted later",
            Self::NoLongerDeleted => "no longer deleted",
            Self::OtherTiers => "in other tiers",
        }
    }
}

impl fmt::Display for ChangeEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What changes for many blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifecycleChangeReport {
    /// How many blobs were looked at.
    pub examined: u64,
    /// How many are deleted that would have stayed.
    pub newly_deleted: u64,
    /// How many are deleted sooner.
    pub deleted_sooner: u64,
    /// How many bytes those of the two have.
    pub lost_bytes: u64,
    /// Before which moment none of the two is deleted.
    pub first_deletion: Option<DateTime<Utc>>,
    /// How many are deleted later.
    pub deleted_later: u64,
    /// How many stay that would have been deleted.
    pub no_longer_deleted: u64,
    /// How many are in other tiers for some time.
    pub other_tiers: u64,
    /// How many the policy after deletes before their retention is over: none, of a plan that was
    /// compiled here.
    pub too_early: u64,
    /// The first hundred for which something changes.
    pub changes: Vec<BlobChange>,
    /// Rules of either policy of which it is not known what they do.
    pub unjudged: Vec<String>,
}

impl fmt::Display for LifecycleChangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            examined,
            newly_deleted,
            deleted_sooner,
            lost_bytes,
            deleted_later,
            no_longer_deleted,
            other_tiers,
            too_early,
            ..
        } = self;
        write!(
            f,
            "of {examined} blobs {newly_deleted} are newly deleted and {deleted_sooner} sooner \
             ({lost_bytes} bytes)"
        )?;
        if let Some(first) = self.first_deletion {
            write!(f, ", the first from {} on", first.format("%Y-%m-%dT%H:%MZ"))?;
        }
        write!(
            f,
            "; {deleted_later} are deleted later, {no_longer_deleted} stay, {other_tiers} are in \
             other tiers; {too_early} are deleted before their retention is over"
        )?;
        for change in &self.changes {
            write!(f, "\n{}: {}", change.effect, change.after)?;
        }
        if !self.unjudged.is_empty() {
            write!(f, "\nnot judged: {}", self.unjudged.join(", "))?;
        }
        Ok(())
    }
}
