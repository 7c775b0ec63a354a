//! What is asked for when a blob is put.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenantry_core::{Error, ErrorKind, Result};

use super::state::{LockMode, RetentionState};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 400 years, which is what Azure takes for a policy of immutability: 146,000 days.
const LONGEST: Duration = Duration::from_secs(146_000 * 24 * 60 * 60);
const RESOLVE: &str = "resolve retention";
const FIXED_PERIOD: &str = "fixed-period";
const FIXED_END: &str = "fixed-end";
const UNTIL_EVENT: &str = "until-event";

/// How long a blob is to be kept, and how firmly; each put names one.
///
/// # Strengths
///
/// - Without a lock, Tenantry refuses to delete the blob before its time; an explicit act with an actor
///   and a reason can shorten it.
/// - An *unlocked* lock is kept by the storage service as well, also against other programs, and can
///   still be shortened or taken off by an act.
/// - A *locked* lock can only be extended, by nobody shortened.
///
/// A legal hold is placed on a blob later, and wins over all of them.
///
/// # Examples
///
/// ```
/// use tenantry_blob::Retention;
///
/// let export = Retention::days(30);
/// let contract = Retention::until_event_then_days(3_650);        // ten years from its end on
/// let archive = Retention::days(7 * 365 + 2).locked();           // WORM
/// let attachment = Retention::days(730).archived_after_days(90);
/// # let _ = (export, contract, archive, attachment);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    class: Cow<'static, str>,
    keep: Keep,
    lock: Option<LockMode>,
    archive_after: Option<Duration>,
    anchor: Option<DateTime<Utc>>,
    floor: Option<Duration>,
    ceiling: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    For(Duration),
    Until(DateTime<Utc>),
    UntilEventThen(Duration),
}

impl Retention {
    /// Keeps the blob for a fixed time from its creation on.
    #[must_use]
    pub const fn period(period: Duration) -> Self {
        Self::new(Cow::Borrowed(FIXED_PERIOD), Keep::For(period))
    }

    /// Keeps the blob for days of 24 hours from its creation on.
    #[must_use]
    pub const fn days(days: u32) -> Self {
        Self::period(length_of(days))
    }

    /// Keeps the blob until a moment.
    #[must_use]
    pub const fn until(end: DateTime<Utc>) -> Self {
        Self::new(Cow::Borrowed(FIXED_END), Keep::Until(end))
    }

    /// Keeps the blob until an event is reported of it, and for a time from then on.
    #[must_use]
    pub const fn until_event_then(period: Duration) -> Self {
        Self::new(Cow::Borrowed(UNTIL_EVENT), Keep::UntilEventThen(period))
    }

    /// Keeps the blob until an event is reported of it, and for days of 24 hours from then on.
    #[must_use]
    pub const fn until_event_then_days(days: u32) -> Self {
        Self::until_event_then(length_of(days))
    }

    const fn new(class: Cow<'static, str>, keep: Keep) -> Self {
        Self {
            class,
            keep,
            lock: None,
            archive_after: None,
            anchor: None,
            floor: None,
            ceiling: None,
        }
    }

    /// Has the storage service refuse changes and deletion until the end, which an act can still
    /// shorten: for trying out what [`locked`](Self::locked) will do.
    #[must_use]
    pub const fn unlocked(mut self) -> Self {
        self.lock = Some(LockMode::Unlocked);
        self
    }

    /// Has the storage service refuse changes and deletion until the end, which nobody can shorten:
    /// write once, read many.
    #[must_use]
    pub const fn locked(mut self) -> Self {
        self.lock = Some(LockMode::Locked);
        self
    }

    /// Moves the blob to the archive tier after a time.
    #[must_use]
    pub const fn archived_after(mut self, period: Duration) -> Self {
        self.archive_after = Some(period);
        self
    }

    /// Moves the blob to the archive tier after days of 24 hours.
    #[must_use]
    pub const fn archived_after_days(self, days: u32) -> Self {
        self.archived_after(length_of(days))
    }

    /// Counts from a moment instead of the creation, such as the day on which a notification was sent.
    #[must_use]
    pub const fn counted_from(mut self, anchor: DateTime<Utc>) -> Self {
        self.anchor = Some(anchor);
        self
    }

    /// Returns what holds of a blob that is created now.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is longer than 146,000 days, it ends before its
    ///   floor or after its ceiling, an event is to end a lock, or a lock is over before it begins.
    pub fn resolve(&self, now: DateTime<Utc>) -> Result<RetentionState> {
        let refused = |detail| {
            Err(Error::new(ErrorKind::InvalidInput, RESOLVE)
                .with_subject(self.class.clone())
                .with_detail(detail))
        };
        let from = self.anchor.unwrap_or(now);
        let (until, after_event) = match self.keep {
            Keep::For(period) => (Some(later(from, period)?), None),
            Keep::Until(end) => (Some(end), None),
            Keep::UntilEventThen(period) => (None, Some(bounded(period)?)),
        };
        let resolved = |period: Option<Duration>| period.map(|it| later(from, it)).transpose();
        let state = RetentionState {
            class: self.class.clone().into_owned(),
            until,
            after_event,
            lock: self.lock,
            archive_at: resolved(self.archive_after)?,
            floor: resolved(self.floor)?,
            ceiling: resolved(self.ceiling)?,
            locked_by_others: None,
            holds: Vec::new(),
        };
        match (state.lock, until) {
            (Some(_), None) => refused("an event cannot end a lock: place a legal hold instead"),
            (Some(_), Some(end)) if end <= now => refused("the lock would end before it begins"),
            (_, Some(end)) if state.floor.is_some_and(|floor| end < floor) => {
                refused("it ends before the floor of its class")
            }
            (_, Some(end)) if state.ceiling.is_some_and(|ceiling| end > ceiling) => {
                refused("it ends after the ceiling of its class")
            }
            _ => Ok(state),
        }
    }
}

/// A kind of retention by name, and within which bounds a tenant may have another.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{Retention, RetentionClass};
///
/// let exports = RetentionClass::new("report-exports", Retention::days(365))?
///     .with_floor_days(30)
///     .with_ceiling_days(3_650);
/// let usual = exports.retention();
/// let longer = exports.retention_of_days(730)?;       // as this tenant has it
/// assert!(exports.retention_of_days(7).is_err());
/// # let _ = (usual, longer);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionClass {
    retention: Retention,
}

impl RetentionClass {
    /// Returns a class of a name, which every blob of it shows, and what it has where a tenant says
    /// nothing else.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the name is not 1 to 63 characters of `[a-z0-9_-]`
    ///   that begin with a letter, or is one of `fixed-period`, `fixed-end` and `until-event`: a blob that
    ///   was put without a class shows that, and a rule for a class must not reach it.
    pub fn new(name: &str, mut retention: Retention) -> Result<Self> {
        crate::name::BlobKind::new(name).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "make retention class")
                .with_detail("expected a name of [a-z0-9_-] that begins with a letter")
        })?;
        if [FIXED_PERIOD, FIXED_END, UNTIL_EVENT].contains(&name) {
            return Err(Error::new(ErrorKind::InvalidInput, "make retention class")
                .with_subject(name.to_owned())
                .with_detail("what has no class is called so: take another name"));
        }
        retention.class = name.to_owned().into();
        Ok(Self { retention })
    }

    /// Sets the least that a tenant may have; blobs cannot be shortened below it.
    #[must_use]
    pub const fn with_floor(mut self, floor: Duration) -> Self {
        self.retention.floor = Some(floor);
        self
    }

    /// Sets the least in days of 24 hours.
    #[must_use]
    pub const fn with_floor_days(self, days: u32) -> Self {
        self.with_floor(length_of(days))
    }

    /// Sets the most that a tenant may have; blobs cannot be extended beyond it, but by a legal hold.
    #[must_use]
    pub const fn with_ceiling(mut self, ceiling: Duration) -> Self {
        self.retention.ceiling = Some(ceiling);
        self
    }

    /// Sets the most in days of 24 hours.
    #[must_use]
    pub const fn with_ceiling_days(self, days: u32) -> Self {
        self.with_ceiling(length_of(days))
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.retention.class
    }

    /// Returns what a blob of the class has.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention.clone()
    }

    /// Returns what a blob of the class has where its tenant wants another time.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is below the floor or above the ceiling, or the
    ///   class ends at a fixed moment.
    pub fn retention_of(&self, period: Duration) -> Result<Retention> {
        let refused = |detail: String| {
            Err(Error::new(ErrorKind::InvalidInput, "override retention")
                .with_subject(self.name().to_owned())
                .with_detail(detail))
        };
        let days = |time: Duration| time.as_secs_f64() / 86_400.0;
        let beyond = |where_, bound| {
            let (asked, bound) = (days(period), days(bound));
            refused(format!(
                "{asked} days are {where_} of the class, {bound} days"
            ))
        };
        let Retention { floor, ceiling, .. } = self.retention;
        if let Some(floor) = floor.filter(|floor| period < *floor) {
            return beyond("below the floor", floor);
        }
        if let Some(ceiling) = ceiling.filter(|ceiling| period > *ceiling) {
            return beyond("above the ceiling", ceiling);
        }
        let mut retention = self.retention();
        retention.keep = match retention.keep {
            Keep::For(_) => Keep::For(period),
            Keep::UntilEventThen(_) => Keep::UntilEventThen(period),
            Keep::Until(_) => return refused("the class ends at a fixed moment".to_owned()),
        };
        Ok(retention)
    }

    /// Returns the same for a time in days of 24 hours.
    ///
    /// # Errors
    ///
    /// As [`retention_of`](Self::retention_of).
    pub fn retention_of_days(&self, days: u32) -> Result<Retention> {
        self.retention_of(length_of(days))
    }
}

#[cfg(feature = "lifecycle")]
impl RetentionClass {
    /// Returns how long a blob of the class is kept at most by anything but the storage service itself,
    /// counted from its creation; `None` where no age tells.
    ///
    /// A locked blob that is kept longer, by its tenant or by an extension, is kept so by its lock.
    pub(crate) const fn longest(&self) -> Option<Duration> {
        let Retention {
            keep,
            lock,
            ceiling,
            ..
        } = &self.retention;
        match (keep, lock) {
            (Keep::UntilEventThen(_), _) => None,
            (Keep::For(period), Some(LockMode::Locked)) => Some(*period),
            _ => *ceiling,
        }
    }

    /// Returns after how long a blob of the class is archived.
    pub(crate) const fn archived_after(&self) -> Option<Duration> {
        self.retention.archive_after
    }
}

const fn length_of(days: u32) -> Duration {
    DAY.saturating_mul(days)
}

fn bounded(period: Duration) -> Result<Duration> {
    if period > LONGEST {
        return Err(Error::new(ErrorKind::InvalidInput, RESOLVE)
            .with_detail("expected 146,000 days at most"));
    }
    Ok(period)
}

/// Returns a moment so much later.
pub(crate) fn later(from: DateTime<Utc>, period: Duration) -> Result<DateTime<Utc>> {
    TimeDelta::from_std(bounded(period)?)
        .ok()
        .and_then(|period| from.checked_add_signed(period))
        .ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, RESOLVE)
                .with_detail("it ends later than a date can say")
        })
}
