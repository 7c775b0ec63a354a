//! What a rule says: of which blobs, what is done, and at which age.

use std::collections::BTreeMap;

use crate::name::BlobKind;
use crate::record::Tier;

use super::layout::LifecycleLayout;

/// The tag in which a blob says its [`RetentionClass`](crate::RetentionClass) to the storage service.
///
/// Rules find blobs by it: an account has 100 rules, and more tenants than that.
pub const CLASS_TAG: &str = crate::record::CLASS_TAG;
/// The tag in which a blob says its [`BlobKind`] to the storage service.
pub const KIND_TAG: &str = crate::record::KIND_TAG;

/// One rule of a life cycle: which blobs, and what is done with them at which age.
///
/// A rule is not checked when it is made, but by the [`LifecyclePlan`](super::LifecyclePlan) that it
/// becomes a part of.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{LifecycleActions, LifecycleAge, LifecycleFilter, LifecycleRule, Tier};
///
/// let rule = LifecycleRule::new("imports")
///     .with_filter(LifecycleFilter::all().with_prefix("imports/"))
///     .with_base(
///         LifecycleActions::none()
///             .with_tier(Tier::Cool, LifecycleAge::created(7))
///             .with_delete(LifecycleAge::created(30)),
///     );
/// assert_eq!(rule.name(), "imports");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRule {
    pub(super) name: String,
    pub(super) is_enabled: bool,
    pub(super) filter: LifecycleFilter,
    pub(super) base: LifecycleActions,
    pub(super) versions: LifecycleActions,
    pub(super) snapshots: LifecycleActions,
}

impl LifecycleRule {
    /// Returns a rule of a name for all blobs of an account, which does nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_enabled: true,
            filter: LifecycleFilter::all(),
            base: LifecycleActions::none(),
            versions: LifecycleActions::none(),
            snapshots: LifecycleActions::none(),
        }
    }

    /// Keeps the rule in the policy and lets it do nothing.
    #[must_use]
    pub const fn disabled(mut self) -> Self {
        self.is_enabled = false;
        self
    }

    /// Narrows the rule to some blobs.
    #[must_use]
    pub fn with_filter(mut self, filter: LifecycleFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Says what is done with blobs as they are now.
    #[must_use]
    pub fn with_base(mut self, actions: LifecycleActions) -> Self {
        self.base = actions;
        self
    }

    /// Says what is done with the versions of blobs that others came after.
    #[must_use]
    pub fn with_versions(mut self, actions: LifecycleActions) -> Self {
        self.versions = actions;
        self
    }

    /// Says what is done with snapshots of blobs.
    #[must_use]
    pub fn with_snapshots(mut self, actions: LifecycleActions) -> Self {
        self.snapshots = actions;
        self
    }

    /// Returns the name: in a policy, that of its owner stands before it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the rule does anything.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Returns of which blobs it is.
    #[must_use]
    pub const fn filter(&self) -> &LifecycleFilter {
        &self.filter
    }

    /// Returns what is done with a part of a blob.
    #[must_use]
    pub const fn actions(&self, part: BlobPart) -> &LifecycleActions {
        match part {
            BlobPart::Base => &self.base,
            BlobPart::Version => &self.versions,
            BlobPart::Snapshot => &self.snapshots,
        }
    }

    /// Returns whether two rules say the same, in whatever order they say it.
    pub(super) fn says_what(&self, other: &Self) -> bool {
        let rest = |rule: &Self| {
            (
                rule.name.clone(),
                rule.is_enabled,
                rule.base.clone(),
                rule.versions.clone(),
                rule.snapshots.clone(),
            )
        };
        rest(self) == rest(other) && self.filter.sorted() == other.filter.sorted()
    }
}

/// What of a blob an action is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BlobPart {
    /// The blob as it is now.
    Base,
    /// A version of it that another came after.
    Version,
    /// A snapshot of it.
    Snapshot,
}

impl BlobPart {
    pub(super) const ALL: [Self; 3] = [Self::Base, Self::Version, Self::Snapshot];

    /// Returns the name that a policy has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "baseBlob",
            Self::Version => "version",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Which blobs a rule is for: those with one of the prefixes and all of the tags.
///
/// There is no way to leave some out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleFilter {
    pub(super) prefixes: Vec<String>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) has_append_blobs: bool,
    pub(super) has_block_blobs: bool,
}

impl LifecycleFilter {
    /// Returns the filter of all block blobs of an account, as which Tenantry keeps its blobs.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            prefixes: Vec::new(),
            tags: Vec::new(),
            has_append_blobs: false,
            has_block_blobs: true,
        }
    }

    /// Lets blobs in whose container and name begin so, beside those with other prefixes: such as
    /// `imports/2026/`, or `imp` for all containers that begin with it.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Lets the blobs of all tenants in, as a layout places them.
    #[must_use]
    pub fn with_layout(self, layout: &LifecycleLayout) -> Self {
        self.with_prefix(layout.prefix())
    }

    /// Narrows it to blobs with a tag of this value.
    #[must_use]
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// Narrows it to blobs of a class of retention, by its name.
    #[must_use]
    pub fn with_class(self, class: impl Into<String>) -> Self {
        self.with_tag(CLASS_TAG, class)
    }

    /// Narrows it to blobs of a kind, of all tenants.
    #[must_use]
    pub fn with_kind(self, kind: &BlobKind) -> Self {
        self.with_tag(KIND_TAG, kind.as_str())
    }

    /// Lets append blobs in as well, which can be deleted and have no tier.
    #[must_use]
    pub const fn with_append_blobs(mut self) -> Self {
        self.has_append_blobs = true;
        self
    }

    /// Returns the prefixes; none where every container is meant.
    #[must_use]
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// Returns the tags that a blob must have.
    #[must_use]
    pub fn tags(&self) -> &[(String, String)] {
        &self.tags
    }

    /// Returns whether a block blob is meant, by its path with the container before it.
    pub(super) fn includes(&self, path: &str, tags: &BTreeMap<String, String>) -> bool {
        let is_in = self.prefixes.is_empty() || self.prefixes.iter().any(|it| path.starts_with(it));
        let has = |(name, value): &(String, String)| tags.get(name) == Some(value);
        self.has_block_blobs && is_in && self.tags.iter().all(has)
    }

    /// Returns the class that it is narrowed to.
    pub(super) fn class(&self) -> Option<&str> {
        let tag = self.tags.iter().find(|(name, _)| name == CLASS_TAG);
        tag.map(|(_, class)| &**class)
    }

    /// Returns whether a blob whose path begins so can be meant.
    pub(super) fn reaches(&self, prefix: &str) -> bool {
        let meets = |it: &String| it.starts_with(prefix) || prefix.starts_with(&**it);
        self.prefixes.is_empty() || self.prefixes.iter().any(meets)
    }

    fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        sorted.prefixes.sort();
        sorted.tags.sort();
        sorted
    }
}

/// What is done with a part of a blob, each thing at an age.
///
/// Where several are due at once, the service does the one after which the blob costs least: deleting
/// before archiving before cooling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleActions {
    pub(super) tiers: BTreeMap<Tier, LifecycleAge>,
    pub(super) delete: Option<LifecycleAge>,
    pub(super) is_hot_again: bool,
}

impl LifecycleActions {
    /// Returns nothing to do.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            tiers: BTreeMap::new(),
            delete: None,
            is_hot_again: false,
        }
    }

    /// Moves it to a tier at an age, unless it is in a colder one; not to the hot one.
    #[must_use]
    pub fn with_tier(mut self, tier: Tier, age: LifecycleAge) -> Self {
        self.tiers.insert(tier, age);
        self
    }

    /// Deletes it at an age.
    #[must_use]
    pub const fn with_delete(mut self, age: LifecycleAge) -> Self {
        self.delete = Some(age);
        self
    }

    /// Moves a blob that the rule has cooled back to the hot tier when it is read, once in 30 days; for
    /// rules that cool by [`LifecycleAge::accessed`].
    #[must_use]
    pub const fn with_hot_again(mut self) -> Self {
        self.is_hot_again = true;
        self
    }

    /// Returns at which age it is moved to a tier.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> Option<LifecycleAge> {
        self.tiers.get(&tier).copied()
    }

    /// Returns at which age it is deleted.
    #[must_use]
    pub const fn delete(&self) -> Option<LifecycleAge> {
        self.delete
    }

    /// Returns whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty() && self.delete.is_none() && !self.is_hot_again
    }
}

/// An age in days of 24 hours that has to be exceeded, and from when on it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LifecycleAge {
    pub(super) basis: AgeBasis,
    pub(super) days: u32,
    pub(super) since_tier_change: Option<u32>,
}

/// From when on an age is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AgeBasis {
    /// From the creation of the blob, the version or the snapshot.
    Creation,
    /// From the last change of a blob or of its metadata; a move to a tier is none, nor is a tag.
    Modification,
    /// From the last time that a blob was read or written, in an account that keeps track of it.
    LastAccess,
}

impl LifecycleAge {
    /// Counts from the creation.
    #[must_use]
    pub const fn created(days: u32) -> Self {
        Self::new(AgeBasis::Creation, days)
    }

    /// Counts from the last change; of blobs as they are now alone.
    #[must_use]
    pub const fn modified(days: u32) -> Self {
        Self::new(AgeBasis::Modification, days)
    }

    /// Counts from the last access; of blobs as they are now alone.
    #[must_use]
    pub const fn accessed(days: u32) -> Self {
        Self::new(AgeBasis::LastAccess, days)
    }

    pub(super) const fn new(basis: AgeBasis, days: u32) -> Self {
        Self {
            basis,
            days,
            since_tier_change: None,
        }
    }

    /// Waits so many days after the last move to a tier as well, so that what was brought back is not
    /// archived again at once; for the archive tier alone.
    #[must_use]
    pub const fn and_since_tier_change(mut self, days: u32) -> Self {
        self.since_tier_change = Some(days);
        self
    }

    /// Returns from when on it is counted.
    #[must_use]
    pub const fn basis(self) -> AgeBasis {
        self.basis
    }

    /// Returns how many days have to be exceeded.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.days
    }

    /// Returns how many days since the last move to a tier have to be exceeded as well.
    #[must_use]
    pub const fn since_tier_change(self) -> Option<u32> {
        self.since_tier_change
    }
}
