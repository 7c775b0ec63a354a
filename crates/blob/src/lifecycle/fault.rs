//! What is wrong with a plan, by rule.

use std::fmt;

/// What is wrong with a rule of a plan, or with the plan itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifecycleFault {
    /// The rule; `None` for the plan itself.
    pub rule: Option<String>,
    /// What is wrong.
    pub problem: LifecycleProblem,
}

/// What can be wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifecycleProblem {
    /// A policy has one rule at least.
    NoRules,
    /// A policy has 100 rules at most.
    TooManyRules {
        /// How many there would be.
        count: usize,
    },
    /// An owner is 1 to 32 characters of `[a-z0-9]`.
    BadOwner,
    /// A name is letters, digits and hyphens, up to 256 with that of its owner.
    BadName,
    /// Another rule has the name.
    DuplicateName,
    /// The rule does nothing.
    NoActions,
    /// A rule has 10 prefixes at most.
    TooManyPrefixes {
        /// How many it has.
        count: usize,
    },
    /// A prefix begins with a container, or with how the names of containers begin, and has no
    /// wildcards.
    BadPrefix {
        /// The prefix.
        prefix: String,
    },
    /// Another prefix of the rule includes all of it.
    CoveredPrefix {
        /// The prefix.
        prefix: String,
    },
    /// A rule asks for 10 tags at most.
    TooManyTags {
        /// How many it asks for.
        count: usize,
    },
    /// A tag has a name of 1 to 128 and a value of up to 256 characters of `[A-Za-z0-9 +-./:=_]`.
    BadTag {
        /// Its name.
        tag: String,
    },
    /// The rule asks for a tag twice.
    RepeatedTag {
        /// Its name.
        tag: String,
    },
    /// No rule moves to the hot tier.
    HotTier,
    /// Append blobs have no tier.
    TierOfAppendBlobs,
    /// What comes later is due first, so that the other is never done.
    Order {
        /// What never comes.
        never: &'static str,
        /// What comes before it.
        first: &'static str,
    },
    /// An age is 99,999 days at most.
    TooOld {
        /// What is done then.
        action: &'static str,
    },
    /// Versions and snapshots have a creation, and no other time to count from.
    NotOfBase {
        /// What is done then.
        action: &'static str,
    },
    /// The move to a tier is counted from for the archive alone, beside the creation of a version or
    /// the modification of a blob.
    TierChange {
        /// What is done then.
        action: &'static str,
    },
    /// What is to be hot again was cooled by its last access.
    HotAgain,
    /// No rule archives a blob that is encrypted by a scope.
    ArchiveOfScope,
    /// The rule names a class that the plan does not know.
    UnknownClass {
        /// The class.
        class: String,
    },
    /// The rule would delete a blob that its class still keeps.
    TooEarly {
        /// The class.
        class: String,
        /// After how many days the rule deletes.
        days: u32,
        /// After how many days no blob of the class is kept any more.
        needed: u32,
    },
    /// The rule deletes blobs of a class that may be kept without end.
    Unbounded {
        /// The class.
        class: String,
    },
}

impl fmt::Display for LifecycleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "rule {rule}: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl fmt::Display for LifecycleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("a policy has one rule at least: delete it instead"),
            Self::TooManyRules { count } => write!(
                f,
                "{count} rules, and an account has 100: let one rule serve a class of retention"
            ),
            Self::BadOwner => f.write_str("expected an owner of 1 to 32 characters of [a-z0-9]"),
            Self::BadName => f.write_str(
                "expected a name of [A-Za-z0-9-], up to 256 characters with that of its owner",
            ),
            Self::DuplicateName => f.write_str("another rule has this name"),
            Self::NoActions => f.write_str("it does nothing: give it an action, or leave it out"),
            Self::TooManyPrefixes { count } => {
                write!(f, "{count} prefixes, and a rule has 10: find blobs by a tag")
            }
            Self::BadPrefix { prefix } => write!(
                f,
                "the prefix {prefix} does not begin with a container, or has a wildcard, which is \
                 taken as it is"
            ),
            Self::CoveredPrefix { prefix } => {
                write!(f, "another prefix includes all of {prefix}: leave one out")
            }
            Self::TooManyTags { count } => write!(f, "{count} tags, and a rule asks for 10"),
            Self::BadTag { tag } => write!(
                f,
                "the tag {tag} has a name or a value of another form than [A-Za-z0-9 +-./:=_]"
            ),
            Self::RepeatedTag { tag } => {
                write!(f, "it asks for the tag {tag} twice, and a blob has it once")
            }
            Self::HotTier => f.write_str("no rule moves a blob to the hot tier: rehydrate it"),
            Self::TierOfAppendBlobs => {
                f.write_str("append blobs have no tier: leave them out, or delete alone")
            }
            Self::Order { never, first } => {
                write!(f, "{never} never comes, for {first} is due by then")
            }
            Self::TooOld { action } => write!(f, "{action} is due after 99,999 days at most"),
            Self::NotOfBase { action } => write!(
                f,
                "{action} of a version or a snapshot is counted from its creation"
            ),
            Self::TierChange { action } => write!(
                f,
                "{action} cannot wait for the last move to a tier: the archive can, beside the \
                 modification of a blob or the creation of a version"
            ),
            Self::HotAgain => f.write_str(
                "a blob becomes hot again where it was cooled by its last access, and no version does",
            ),
            Self::ArchiveOfScope => f.write_str(
                "no rule archives a blob that is encrypted by a scope: leave it to the sweeper",
            ),
            Self::UnknownClass { class } => write!(
                f,
                "it deletes blobs of the class {class}, which the plan does not know: add it"
            ),
            Self::TooEarly {
                class,
                days,
                needed,
            } => write!(
                f,
                "it deletes after {days} days what the class {class} may keep for {needed}"
            ),
            Self::Unbounded { class } => write!(
                f,
                "it deletes blobs of the class {class}, which may be kept without end: give the \
                 class a ceiling, or leave them to the sweeper"
            ),
        }
    }
}

impl std::error::Error for LifecycleFault {}

/// All that is wrong with a plan.
///
/// It is the [`source`](std::error::Error::source) of the error that
/// [`LifecyclePlan::compile`](super::LifecyclePlan::compile) fails with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleFaults(pub(super) Vec<LifecycleFault>);

impl LifecycleFaults {
    /// Returns each.
    pub fn iter(&self) -> impl Iterator<Item = &LifecycleFault> {
        self.0.iter()
    }
}

impl fmt::Display for LifecycleFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for LifecycleFaults {}
