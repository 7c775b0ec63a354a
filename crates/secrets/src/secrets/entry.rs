//! What is known of one secret.

use std::borrow::Borrow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tenantry_core::{
    Error, ErrorKind, Result, RetiringGeneration, SecretGeneration, SecretGenerations,
    SecretLocation, SecretReference, SecretScheme,
};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use super::policy::CachePolicy;
use crate::tenant::missing;
use crate::vault::{SecretRecord, Validity};

/// A read that is under way, for all who wait for it.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    end: Shared<BoxFuture<'static, Result<(), Failure>>>,
    task: AbortHandle,
}

impl Flight {
    /// Returns the read that a task does; `lost` says what is told if the task does not end.
    pub(super) fn of(
        task: JoinHandle<Result<(), Failure>>,
        lost: fn(&JoinError) -> Failure,
    ) -> Self {
        let handle = task.abort_handle();
        let end = task.map(move |ended| ended.unwrap_or_else(|error| Err(lost(&error))));
        Self {
            end: end.boxed().shared(),
            task: handle,
        }
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.end.await
    }

    /// Says whether it has ended, also with its runtime, which tells nobody.
    fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

/// What a read failed with, for all who waited for it.
#[derive(Debug, Clone)]
pub(super) struct Failure(Arc<Error>);

impl Failure {
    pub(super) fn new(error: Error) -> Self {
        Self(Arc::new(error))
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    /// Returns the error of one of them.
    pub(super) fn error(&self, operation: &'static str, reference: &SecretReference) -> Error {
        if self.kind() == ErrorKind::NotFound && reference.scheme() == SecretScheme::KeyVault {
            // As the secret of another tenant answers, which is not looked for at all.
            return missing(operation, reference);
        }
        told(operation, reference.to_string(), Arc::clone(&self.0))
    }

    fn forbids(&self) -> bool {
        forbids(self.kind())
    }
}

/// Says whether a vault that fails so has answered that the secret may not be used, which ends its
/// use.
pub(super) const fn forbids(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::SecretDisabled
            | ErrorKind::SecretExpired
            | ErrorKind::SecretNotYetValid
            | ErrorKind::SecretDeleted
            | ErrorKind::InvalidValue
    )
}

/// One secret, whichever references name it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) reference: SecretReference,
    state: Mutex<State>,
    numbers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The last value that was read, which stays the one to compare with when it may no longer be
    /// used.
    current: Option<SecretGeneration>,
    previous: Option<RetiringGeneration>,
    /// When the value may be used, unless the vault has said that it may not.
    fresh: Option<Freshness>,
    failed: Option<Failed>,
    failures: u32,
    flight: Option<Flight>,
    /// A read that begins when the one under way has ended.
    renewal: Option<Flight>,
    /// The version that was switched off here, until a read begins that can tell what became of it.
    switched_off: Option<Box<str>>,
    reported: Option<Duration>,
    used: Duration,
    /// When it may be read next because somebody has heard of a new value, and whether it will be.
    push_after: Duration,
    is_push_due: bool,
    /// Those who follow it.
    following: Weak<Following>,
}

#[derive(Debug, Clone, Copy)]
struct Freshness {
    validity: Validity,
    refresh_at: Duration,
    until: Duration,
    stale_until: Duration,
}

impl Freshness {
    /// Of a value that the vault has just been asked for.
    fn new(validity: Validity, policy: &CachePolicy, now: Duration) -> Self {
        let lasts = policy.some_time_to_live();
        Self {
            validity,
            refresh_at: now.saturating_add(lasts - lasts / 5),
            until: now.saturating_add(lasts),
            stale_until: now.saturating_add(policy.max_stale),
        }
    }
}

#[derive(Debug)]
struct Failed {
    failure: Failure,
    until: Duration,
}

/// Is there for as long as somebody follows a secret, with the task that reads it time and again.
#[derive(Debug)]
pub(super) struct Following(Mutex<AbortHandle>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.lock().abort();
    }
}

/// What an entry has for somebody who asks.
pub(super) enum Found {
    /// A value; `is_due` says that it should be read again, by somebody else.
    Value {
        generation: SecretGeneration,
        how: How,
        is_due: bool,
    },
    /// Nothing before it is read.
    Nothing,
    Failed(Failure),
}

/// What is done about a value that did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It is over already, or the vault was read for it just now.
    Nothing,
    /// It is being read for another who has said the same.
    Join,
    ReadAnew,
}

/// How a value came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It was known.
    Known,
    /// It was read.
    Read,
    /// It is older than it should be, and the vault does not answer.
    Stale,
}

impl How {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Read => "read",
            Self::Stale => "stale",
        }
    }
}

impl Entry {
    pub(super) fn new(reference: SecretReference, now: Duration) -> Self {
        Self {
            reference,
            state: Mutex::new(State {
                used: now,
                ..State::default()
            }),
            numbers: watch::Sender::new(0),
        }
    }

    /// Tells which entry is missed least: one of a secret that is not there, one that is being read for
    /// the first time, then the one that was used the longest ago.
    pub(super) fn worth(&self) -> (bool, bool, Duration) {
        let state = self.state.lock();
        let is_missing = state.current.is_none() && state.failed.is_some();
        (state.current.is_some(), !is_missing, state.used)
    }

    pub(super) fn is_followed(&self) -> bool {
        self.state.lock().following.strong_count() > 0
    }

    /// Returns the version that is known, if the reference leaves the version to the vault.
    pub(super) fn known_version(&self) -> Option<Arc<str>> {
        match self.reference.location() {
            SecretLocation::KeyVault { version: None, .. } => {
                let state = self.state.lock();
                state.current.as_ref()?.version().map(Arc::from)
            }
            _ => None,
        }
    }

    /// Returns what a read has just given, which may have taken longer than values are kept.
    pub(super) fn just_read(&self, wall: DateTime<Utc>) -> Option<SecretGeneration> {
        let state = self.state.lock();
        let validity = state.fresh?.validity;
        validity.check(wall).ok()?;
        state.current.clone()
    }

    /// Looks what is known.
    pub(super) fn look(&self, now: Duration, wall: DateTime<Utc>) -> Found {
        let mut state = self.state.lock();
        state.used = now;
        state.forget_past(wall);
        let failed = state.failed.as_ref().filter(|failed| now < failed.until);
        let failure = failed.map(|failed| failed.failure.clone());
        if let (Some(fresh), Some(current)) = (state.fresh, &state.current) {
            if let Err(error) = fresh.validity.check(wall) {
                // By the clock; the vault may have a newer one.
                return failure.map_or(Found::Nothing, |failure| match failure.forbids() {
                    true => Found::Failed(failure),
                    false => Found::Failed(Failure::new(error)),
                });
            }
            let generation = current.clone();
            if now < fresh.until {
                return Found::Value {
                    generation,
                    how: How::Known,
                    is_due: now >= fresh.refresh_at && failure.is_none(),
                };
            }
            if let Some(failure) = failure {
                return match now < fresh.stale_until {
                    true => Found::Value {
                        generation,
                        how: How::Stale,
                        is_due: false,
                    },
                    false => Found::Failed(failure),
                };
            }
            return Found::Nothing;
        }
        failure.map_or(Found::Nothing, Found::Failed)
    }

    /// Returns the read that is under way, or the one that `start` begins.
    pub(super) fn flight(&self, start: impl FnOnce() -> Flight) -> Flight {
        let mut state = self.state.lock();
        state.forget_ended();
        state.flight.get_or_insert_with(start).clone()
    }

    /// Says that no read is under way any more, however it ended.
    pub(super) fn landed(&self) {
        self.state.lock().flight = None;
    }

    /// Takes note of what a read gave; returns the generation that took another's place, if one did.
    pub(super) fn settle(
        &self,
        outcome: Result<SecretRecord>,
        policy: &CachePolicy,
        now: Duration,
        wall: DateTime<Utc>,
    ) -> Result<Option<SecretGeneration>, Failure> {
        let mut state = self.state.lock();
        state.forget_past(wall);
        state.forget_ended();
        let outcome = outcome.and_then(|record| match &state.switched_off {
            // It was read before it was switched off.
            Some(off) if record.version.as_deref() == Some(off) => Err(switched_off()),
            _ => Ok(record),
        });
        let record = match outcome {
            Ok(record) => record,
            Err(error) => {
                let failure = Failure::new(error);
                let pause = match failure.forbids() {
                    true => {
                        state.fresh = None;
                        policy.negative
                    }
                    false => {
                        let doubled = FIRST_PAUSE.saturating_mul(1 << state.failures.min(5));
                        state.failures += 1;
                        doubled.mul_f64(1.0 + 0.5 * rand::random::<f64>())
                    }
                };
                state.failed = Some(Failed {
                    failure: failure.clone(),
                    until: now.saturating_add(pause),
                });
                return Err(failure);
            }
        };
        state.failed = None;
        state.failures = 0;
        // What the vault has refused meanwhile is no value to go back to.
        let was_usable = state.fresh.is_some();
        let mut fresh = Freshness::new(record.validity, policy, now);
        if state.renewal.is_some() {
            // Something has changed since this read began, or somebody says so.
            (fresh.refresh_at, fresh.until) = (now, now);
        }
        state.fresh = Some(fresh);
        let is_new = !state.current.as_ref().is_some_and(|current| {
            let is_same_version = match (current.version(), record.version.as_deref()) {
                (Some(known), Some(read)) => known == read,
                _ => false,
            };
            // Stored twice it is no other value, and the one before is still the one before.
            is_same_version || current.secret().constant_time_eq(record.secret.expose())
        });
        if !is_new {
            // The vault may know the value by another version now.
            state.current = state.current.take().map(|current| {
                let secret = Arc::clone(current.secret());
                SecretGeneration::new(current.number(), record.version, secret)
            });
            return Ok(None);
        }
        let number = state
            .current
            .as_ref()
            .map_or(0, |current| current.number() + 1);
        let generation = SecretGeneration::new(number, record.version, record.secret);
        state.previous = state
            .current
            .replace(generation.clone())
            .filter(|_| was_usable)
            .map(|generation| RetiringGeneration {
                generation,
                retire_at: later(wall, policy.overlap),
            });
        self.numbers.send_replace(number);
        Ok(Some(generation).filter(|_| number > 0))
    }

    /// Says that something was written: what is known is read again before it is used, or is stale.
    pub(super) fn outdate(&self, now: Duration) {
        let mut state = self.state.lock();
        if let Some(fresh) = &mut state.fresh {
            fresh.until = fresh.until.min(now);
            fresh.refresh_at = fresh.refresh_at.min(now);
        }
    }

    /// Says that a version was switched off, whatever comes of reading it again.
    pub(super) fn switch_off(&self, version: &str, policy: &CachePolicy, now: Duration) {
        let is_it = |generation: &SecretGeneration| generation.version() == Some(version);
        let mut state = self.state.lock();
        state.switched_off = Some(version.into());
        state
            .previous
            .take_if(|previous| is_it(&previous.generation));
        if state.current.as_ref().is_some_and(is_it) {
            state.fresh = None;
            state.failed = Some(Failed {
                failure: Failure::new(switched_off()),
                until: now.saturating_add(policy.negative),
            });
        }
    }

    /// Returns the generations, if there is any.
    pub(super) fn generations(&self, wall: DateTime<Utc>) -> Option<SecretGenerations> {
        let mut state = self.state.lock();
        state.forget_past(wall);
        Some(SecretGenerations {
            current: state.current.clone()?,
            previous: state.previous.clone(),
        })
    }

    pub(super) fn numbers(&self) -> watch::Receiver<u64> {
        self.numbers.subscribe()
    }

    /// Says that a value did not work; returns what may be done about it now.
    pub(super) fn report(&self, number: u64, interval: Duration, now: Duration) -> Reaction {
        let mut state = self.state.lock();
        state.forget_ended();
        let is_current = state
            .current
            .as_ref()
            .is_some_and(|current| current.number() == number);
        let is_early = state
            .reported
            .is_some_and(|last| now < last.saturating_add(interval));
        match (is_current, is_early) {
            (true, true) if state.flight.is_some() || state.renewal.is_some() => Reaction::Join,
            (true, false) => {
                state.reported = Some(now);
                Reaction::ReadAnew
            }
            _ => Reaction::Nothing,
        }
    }

    /// Begins to follow, by the task of those who do so already or the one that `start` begins.
    pub(super) fn follow(&self, start: impl FnOnce() -> AbortHandle) -> Arc<Following> {
        let mut state = self.state.lock();
        if let Some(following) = state.following.upgrade() {
            let mut task = following.0.lock();
            // One whose runtime has ended reads no more.
            if task.is_finished() {
                *task = start();
            }
            drop(task);
            return following;
        }
        let following = Arc::new(Following(Mutex::new(start())));
        state.following = Arc::downgrade(&following);
        following
    }

    /// Returns how long the vault can be left alone.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        let state = self.state.lock();
        let next = match (&state.failed, state.fresh) {
            (Some(failed), _) => failed.until,
            (None, Some(fresh)) => fresh.refresh_at,
            (None, None) => now,
        };
        next.saturating_sub(now)
    }

    /// Returns a read that begins after this call: the one that waits for that already, or the one that
    /// `start` makes wait for the read under way, if there is any.
    pub(super) fn renewal(&self, start: impl FnOnce(Option<Flight>) -> Flight) -> Flight {
        let mut state = self.state.lock();
        state.forget_ended();
        let earlier = state.flight.clone();
        state.renewal.get_or_insert_with(|| start(earlier)).clone()
    }

    /// Says that the read begins now, so that whoever wants a later one does not join it.
    pub(super) fn begin_renewal(&self) {
        let mut state = self.state.lock();
        state.renewal = None;
        state.switched_off = None;
    }

    /// Returns the read that is under way or waits, the last to begin.
    pub(super) fn awaited(&self) -> Option<Flight> {
        let state = self.state.lock();
        state.renewal.clone().or_else(|| state.flight.clone())
    }

    /// Says that somebody has heard of a new value; returns how long to wait before it is read, or
    /// nothing if that will be done already.
    pub(super) fn push(self: &Arc<Self>, now: Duration) -> Option<(Duration, Pushed)> {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_push_due, true) {
            return None;
        }
        let due = state.push_after.max(now);
        state.push_after = due + PUSH_INTERVAL;
        Some((due.saturating_sub(now), Pushed(Arc::clone(self))))
    }
}

/// A read that is due because somebody has heard of a new value. Dropped as it begins, or with its
/// runtime: who hears of a new value from there on has it read once more.
pub(super) struct Pushed(Arc<Entry>);

impl Drop for Pushed {
    fn drop(&mut self) {
        self.0.state.lock().is_push_due = false;
    }
}

impl State {
    /// Lets go of reads that have ended with their runtime.
    fn forget_ended(&mut self) {
        self.flight.take_if(|flight| flight.has_ended());
        self.renewal.take_if(|renewal| renewal.has_ended());
    }

    /// Lets go of the value before, which nobody uses any more.
    fn forget_past(&mut self, wall: DateTime<Utc>) {
        self.previous.take_if(|previous| previous.retire_at <= wall);
    }
}

fn switched_off() -> Error {
    Error::new(ErrorKind::SecretDisabled, "use secret")
        .with_detail("this version is switched off: enable it, or store a new one")
}

/// Says what an error of a vault was about, and keeps it as the cause.
pub(super) fn told<E>(operation: &'static str, subject: String, error: E) -> Error
where
    E: Borrow<Error> + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let cause: &Error = error.borrow();
    let (wait, told) = (cause.retry_after(), Error::new(cause.kind(), operation));
    let detail = cause.detail().to_owned();
    let told = told
        .with_subject(subject)
        .with_detail(detail)
        .with_source(error);
    match wait {
        Some(wait) => told.with_retry_after(wait),
        None => told,
    }
}

/// Returns a time that is later by a duration, or the last there is.
pub(super) fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
    time.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How often a secret is read, at most, because somebody has heard of a new value.
const PUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a vault that does not answer is left alone at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
