//! What is known of one secret.

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
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use super::policy::CachePolicy;
use crate::tenant::missing;
use crate::vault::{SecretRecord, Validity};

/// A read that is under way, for all who wait for it.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    end: Shared<BoxFuture<'static, Result<(), Failure>>>,
    task: AbortHandle,
}

/// Which read it is, and how much of what was asked for it answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    id: u64,
    /// It began after so many demands.
    covers: u64,
}

impl Ticket {
    /// Says whether the read began after a demand.
    pub(super) const fn answers(self, demand: u64) -> bool {
        self.covers >= demand
    }
}

impl Flight {
    /// Returns the read that a task does; `lost` says what is told if the task does not end.
    pub(super) fn of(
        ticket: Ticket,
        task: JoinHandle<Result<(), Failure>>,
        lost: fn(&JoinError) -> Failure,
    ) -> Self {
        let handle = task.abort_handle();
        let end = task.map(move |ended| ended.unwrap_or_else(|error| Err(lost(&error))));
        Self {
            ticket,
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
pub(super) struct Failure {
    error: Arc<Error>,
    is_lost: bool,
    /// After which time another try may come to something else.
    wait: Option<Duration>,
}

impl Failure {
    pub(super) fn new(error: Error) -> Self {
        Self {
            error: Arc::new(error),
            is_lost: false,
            wait: None,
        }
    }

    /// Returns the same, which is not tried again before this time has passed.
    fn with_wait(self, wait: Duration) -> Self {
        let wait = self.kind().is_retryable().then_some(wait);
        Self { wait, ..self }
    }

    /// Returns that of a read which ended with its runtime: it tells nothing of the vault.
    pub(super) fn lost(error: Error) -> Self {
        Self {
            error: Arc::new(error),
            is_lost: true,
            wait: None,
        }
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// Returns the error of one of them.
    pub(super) fn error(&self, operation: &'static str, reference: &SecretReference) -> Error {
        if self.kind() == ErrorKind::NotFound && reference.scheme() == SecretScheme::KeyVault {
            // As the secret of another tenant answers, which is not looked for at all.
            return missing(operation, reference);
        }
        let error = Error::retold(operation, Arc::clone(&self.error));
        let error = error.with_subject(reference.to_string());
        match self.wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    fn told_wait(&self) -> Option<Duration> {
        let is_throttled = self.kind() == ErrorKind::Throttled;
        self.error.retry_after().filter(|_| is_throttled)
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
    /// Wakes who reads it time and again.
    pub(super) outdated: Notify,
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
    /// How many there were, and which of them was the last to end.
    flights: u64,
    settled: u64,
    /// How often something has happened after which what was read before says nothing any more.
    demands: u64,
    /// How many of them a read has answered.
    answered: u64,
    /// The versions that were switched off here, each with its demand: no read that began before tells
    /// what became of it.
    switched_off: Vec<(Box<str>, u64)>,
    /// When somebody has said last that a value did not work, and the demand of that.
    reported: Option<(Duration, u64)>,
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
    /// Another has said the same, and it is being read for that.
    Join(u64),
    /// It is to be read for this.
    Read(u64),
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
            outdated: Notify::new(),
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
        let failure = failed.map(|failed| {
            let failure = failed.failure.clone();
            failure.with_wait(failed.until.saturating_sub(now))
        });
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
    pub(super) fn flight(&self, start: impl FnOnce(Ticket) -> Flight) -> Flight {
        self.state.lock().flight(start)
    }

    /// As [`flight`](Self::flight), or nothing where a read has ended since the one that was the last to end: what it
    /// gave is to be looked at before it is read once more.
    pub(super) fn flight_since(
        &self,
        settled: u64,
        start: impl FnOnce(Ticket) -> Flight,
    ) -> Option<Flight> {
        let mut state = self.state.lock();
        let is_under_way = state.flight.as_ref().is_some_and(|it| !it.has_ended());
        (is_under_way || state.settled == settled).then(|| state.flight(start))
    }

    /// Returns which read was the last to end.
    pub(super) fn settled(&self) -> u64 {
        self.state.lock().settled
    }

    /// Says that a read is under way no more, however it ended, or that nobody waits for it any longer.
    pub(super) fn landed(&self, ticket: Ticket) {
        let is_it = |flight: &mut Flight| flight.ticket.id == ticket.id;
        self.state.lock().flight.take_if(is_it);
    }

    /// Asks for a read that begins after this call; returns what tells it from earlier ones.
    pub(super) fn demand(&self) -> u64 {
        let mut state = self.state.lock();
        state.demands += 1;
        state.demands
    }

    /// Says whether a read has answered a demand.
    pub(super) fn has_answered(&self, demand: u64) -> bool {
        self.state.lock().answered >= demand
    }

    /// Takes note of what a read gave; returns the generation that took another's place, if one did.
    pub(super) fn settle(
        &self,
        ticket: Ticket,
        outcome: Result<SecretRecord>,
        policy: &CachePolicy,
        now: Duration,
        wall: DateTime<Utc>,
    ) -> Result<Option<SecretGeneration>, Failure> {
        let mut state = self.state.lock();
        state.forget_past(wall);
        if ticket.id < state.settled {
            // A later one was quicker.
            return outcome.map(|_| None).map_err(Failure::new);
        }
        state.settled = ticket.id;
        let is_off = |record: &SecretRecord| {
            let mut off = state.switched_off.iter();
            off.any(|(off, demand)| {
                *demand > ticket.covers && is_version(record.version.as_deref(), off)
            })
        };
        let outcome = outcome.and_then(|record| match is_off(&record) {
            // It was read before it was switched off.
            true => Err(switched_off()),
            false => Ok(record),
        });
        state.answered = ticket.covers;
        let record = match outcome {
            Ok(record) => record,
            Err(error) => {
                let failure = Failure::new(error);
                let pause = match (failure.forbids(), failure.told_wait()) {
                    (true, _) => {
                        state.fresh = None;
                        policy.negative
                    }
                    // Whoever tells how long to wait means no more than that.
                    (false, Some(wait)) => wait.min(LONGEST_PAUSE),
                    (false, None) => {
                        let doubled = FIRST_PAUSE.saturating_mul(1 << state.failures.min(5));
                        state.failures += 1;
                        doubled.mul_f64(1.0 + 0.5 * rand::random::<f64>())
                    }
                };
                state.failed = Some(Failed {
                    failure: failure.clone(),
                    until: now.saturating_add(pause),
                });
                return Err(failure.with_wait(pause));
            }
        };
        state.failed = None;
        state.failures = 0;
        // What the vault has refused meanwhile is no value to go back to.
        let was_usable = state.fresh.is_some();
        state
            .switched_off
            .retain(|(_, demand)| *demand > ticket.covers);
        let mut fresh = Freshness::new(record.validity, policy, now);
        if ticket.covers < state.demands {
            // Something has changed since this read began, or somebody says so.
            (fresh.refresh_at, fresh.until) = (now, now);
        }
        state.fresh = Some(fresh);
        let is_new = !state.current.as_ref().is_some_and(|current| {
            let is_same_version = match (current.version(), record.version.as_deref()) {
                (Some(known), Some(read)) => known.eq_ignore_ascii_case(read),
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

    /// Says that something was written: what is known is read again before it is used, or is stale. As
    /// [`demand`](Self::demand) returns what asks for that.
    pub(super) fn outdate(&self, now: Duration) -> u64 {
        let mut state = self.state.lock();
        let demand = state.outdate(now);
        drop(state);
        self.outdated.notify_one();
        demand
    }

    /// Says that a version was switched off, whatever comes of reading it again; as
    /// [`outdate`](Self::outdate).
    pub(super) fn switch_off(&self, version: &str, policy: &CachePolicy, now: Duration) -> u64 {
        let is_it = |generation: &SecretGeneration| is_version(generation.version(), version);
        let mut state = self.state.lock();
        let demand = state.outdate(now);
        state.switched_off.push((version.into(), demand));
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
        drop(state);
        self.outdated.notify_one();
        demand
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
        let is_current = state
            .current
            .as_ref()
            .is_some_and(|current| current.number() == number);
        let last = state.reported;
        let early = last.filter(|(last, _)| now < last.saturating_add(interval));
        match (is_current, early) {
            (true, None) => {
                state.demands += 1;
                state.reported = Some((now, state.demands));
                Reaction::Read(state.demands)
            }
            (true, Some((_, demand))) if state.flight.is_some() && state.answered < demand => {
                Reaction::Join(demand)
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

    /// Returns how long a read that has failed is not tried again.
    pub(super) fn backoff(&self, now: Duration) -> Duration {
        let state = self.state.lock();
        let failed = state.failed.as_ref();
        failed.map_or(Duration::ZERO, |failed| failed.until.saturating_sub(now))
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
    fn flight(&mut self, start: impl FnOnce(Ticket) -> Flight) -> Flight {
        if let Some(flight) = self.flight.take_if(|flight| !flight.has_ended()) {
            return self.flight.insert(flight).clone();
        }
        self.flights += 1;
        let ticket = Ticket {
            id: self.flights,
            covers: self.demands,
        };
        self.flight.insert(start(ticket)).clone()
    }

    fn outdate(&mut self, now: Duration) -> u64 {
        if let Some(fresh) = &mut self.fresh {
            fresh.until = fresh.until.min(now);
            fresh.refresh_at = fresh.refresh_at.min(now);
        }
        self.demands += 1;
        self.demands
    }

    /// Lets go of the value before, which nobody uses any more.
    fn forget_past(&mut self, wall: DateTime<Utc>) {
        self.previous.take_if(|previous| previous.retire_at <= wall);
    }
}

/// Says whether a version is called so: vaults do not tell upper from lower case.
fn is_version(version: Option<&str>, called: &str) -> bool {
    version.is_some_and(|version| version.eq_ignore_ascii_case(called))
}

fn switched_off() -> Error {
    Error::new(ErrorKind::SecretDisabled, "use secret")
        .with_detail("this version is switched off: enable it, or store a new one")
}

/// Returns a time that is later by a duration, or the last there is.
pub(super) fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
    time.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How often a secret is read, at most, because somebody has heard of a new value.
const PUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How long it is left alone at most, though it asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a vault that does not answer is left alone at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_has_ended_since_the_look_is_not_made_once_more() {
        let entry = Entry::new("kv://orders/db".parse().unwrap(), Duration::ZERO);
        let start = |ticket| {
            let lost = |_: &JoinError| Failure::lost(Error::new(ErrorKind::Unavailable, "read"));
            Flight::of(ticket, tokio::spawn(async { Ok(()) }), lost)
        };
        let seen = entry.settled();
        let now = (Duration::ZERO, DateTime::UNIX_EPOCH);
        assert!(matches!(entry.look(now.0, now.1), Found::Nothing));
        let flight = entry.flight_since(seen, start).unwrap();
        let missing = Err(Error::new(ErrorKind::NotFound, "read"));
        let policy = CachePolicy::default();
        let settled = entry.settle(flight.ticket, missing, &policy, now.0, now.1);
        assert!(settled.is_err());
        entry.landed(flight.ticket);
        assert!(entry.flight_since(seen, start).is_none());
        assert!(entry.flight_since(entry.settled(), start).is_some());
    }
}
