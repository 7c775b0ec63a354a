//! Why a blob is still there.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::hold::LegalHold;
use super::rules::shown;
use super::state::{LockMode, RetentionState};
use crate::name::BlobName;

/// One thing that keeps a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetainedBy {
    /// A legal hold, until it is cleared.
    Hold(LegalHold),
    /// A lock that the storage service keeps.
    Lock {
        /// How firmly.
        mode: LockMode,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// A locked policy of immutability that others have put on it.
    LockOfOthers {
        /// Until when.
        until: DateTime<Utc>,
    },
    /// The time of its class.
    Period {
        /// The class.
        class: String,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// The least time of its class, before which nobody ends it, for whatever reason.
    Floor {
        /// Until when.
        until: DateTime<Utc>,
    },
    /// An event that was not reported yet.
    Event {
        /// The class.
        class: String,
        /// How long it is kept from the event on.
        then: Duration,
    },
}

impl RetainedBy {
    /// Returns what may stand in an error: who placed a hold and why is not for everybody.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Hold(hold) => format!("legal hold {} keeps it", hold.tag),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for RetainedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(hold) => write!(
                f,
                "legal hold {} of {} keeps it since {}: {}",
                hold.tag,
                hold.by.as_str(),
                shown(hold.at),
                hold.reason
            ),
            Self::Lock { mode, until } => {
                write!(f, "a lock ({mode}) keeps it until {}", shown(*until))
            }
            Self::LockOfOthers { until } => write!(
                f,
                "a locked policy that others have put on it keeps it until {}",
                shown(*until)
            ),
            Self::Period { class, until } => {
                write!(f, "the class {class} keeps it until {}", shown(*until))
            }
            Self::Floor { until } => write!(
                f,
                "the floor of its class: nobody ends it early before {}",
                shown(*until)
            ),
            Self::Event { class, then } => write!(
                f,
                "the class {class} keeps it until its event is reported, and {} days from then on",
                then.as_secs() / 86_400
            ),
        }
    }
}

/// Explains why a blob is still there, and from when on it may be deleted.
///
/// As text, one sentence a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhyRetained {
    /// The blob.
    pub name: BlobName,
    /// The time for which it was asked.
    pub at: DateTime<Utc>,
    /// All that keeps it; nothing where it may be deleted.
    pub reasons: Vec<RetainedBy>,
    /// From when on it may be deleted, where that is known: not under a hold, and not before its event.
    pub deletable_from: Option<DateTime<Utc>>,
}

impl WhyRetained {
    /// Returns what keeps a blob at a time.
    #[must_use]
    pub fn new(name: BlobName, state: &RetentionState, now: DateTime<Utc>) -> Self {
        Self {
            name,
            at: now,
            reasons: reasons(state, now),
            deletable_from: state.until.filter(|_| !state.is_held()),
        }
    }

    /// Returns whether something keeps it.
    #[must_use]
    pub const fn is_retained(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl fmt::Display for WhyRetained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        if self.reasons.is_empty() {
            f.write_str(": nothing keeps it")?;
        }
        for (number, reason) in self.reasons.iter().enumerate() {
            f.write_str(if number == 0 { ": " } else { "\n" })?;
            reason.fmt(f)?;
        }
        match self.deletable_from {
            Some(from) if from > self.at => {
                write!(f, "\nit may be deleted from {} on", shown(from))
            }
            Some(from) => write!(f, "\nit may be deleted since {}", shown(from)),
            None => f.write_str("\nfrom when on it may be deleted is not known yet"),
        }
    }
}

pub(crate) fn reasons(state: &RetentionState, now: DateTime<Utc>) -> Vec<RetainedBy> {
    let mut reasons: Vec<_> = state.holds.iter().cloned().map(RetainedBy::Hold).collect();
    if let Some(until) = state.locked_by_others.filter(|until| *until > now) {
        reasons.push(RetainedBy::LockOfOthers { until });
    }
    match (state.until, state.lock) {
        (None, _) => reasons.push(RetainedBy::Event {
            class: state.class.clone(),
            then: state.after_event.unwrap_or_default(),
        }),
        (Some(until), _) if until <= now => {}
        (Some(until), Some(mode)) => reasons.push(RetainedBy::Lock { mode, until }),
        (Some(until), None) => reasons.push(RetainedBy::Period {
            class: state.class.clone(),
            until,
        }),
    }
    // Where it is kept anyway, an act could end it, but for this.
    if let Some(until) = state.floor.filter(|floor| *floor > now)
        && state.until.is_none_or(|end| end > now)
        && state.lock != Some(LockMode::Locked)
    {
        reasons.push(RetainedBy::Floor { until });
    }
    reasons
}
