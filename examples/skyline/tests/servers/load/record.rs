//! What was answered: how often, and what each write was told.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skyline::Result;
use uuid::Uuid;

use super::request::{Answer, Kind, judge};

/// How many wrong answers are kept to be told of.
const WRONG: usize = 20;

/// After which time it is given up to wait for answers.
const PATIENCE: Duration = Duration::from_secs(90);

/// What was answered until now.
pub(crate) struct Record {
    inner: Mutex<Inner>,
}

struct Inner {
    phases: Vec<Phase>,
    /// Answers, of all phases.
    ended: u64,
    /// How many of them there were with the last that was refused.
    refused_at: u64,
    wrong: Vec<String>,
    shown: [HashSet<u128>; 3],
    writes: Vec<Write>,
    standings: [Standing; 3],
}

/// A part of the time, and what was answered in it.
#[derive(Debug)]
struct Phase {
    name: String,
    begun: Instant,
    ended: u64,
    not_sent: u64,
    outrun: u64,
    refused: BTreeMap<(u16, String), u64>,
    /// By the tenant.
    refused_of: [u64; 3],
    slowest: Duration,
}

/// A delay that a tenant has told, and what it was answered.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) side: usize,
    /// That its notification is known by.
    pub(crate) trace: Uuid,
    pub(crate) flight: Uuid,
    pub(crate) minutes: i32,
    pub(crate) status: u16,
    /// Nobody has said whether it is stored.
    pub(crate) is_doubtful: bool,
}

/// Whether a tenant is served, as far as it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Yes,
    /// Asked for, and not acknowledged.
    Changing,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    served: Served,
    changes: u64,
}

/// A request without an answer.
pub(super) struct Begun {
    at: Instant,
    standing: Standing,
}

impl Record {
    pub(super) fn new() -> Self {
        let standing = Standing {
            served: Served::Yes,
            changes: 0,
        };
        Self {
            inner: Mutex::new(Inner {
                phases: vec![Phase::new("before")],
                ended: 0,
                refused_at: 0,
                wrong: Vec::new(),
                shown: Default::default(),
                writes: Vec::new(),
                standings: [standing; 3],
            }),
        }
    }

    /// What is answered from now on belongs to a phase of this name.
    pub(crate) fn phase(&self, name: &str) {
        self.lock().phases.push(Phase::new(name));
    }

    /// Says whether a tenant is served from now on.
    pub(crate) fn serve(&self, side: usize, served: Served) {
        let standing = &mut self.lock().standings[side];
        standing.served = served;
        standing.changes += 1;
    }

    /// Returns how many answers there were, and how many of them refused something.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        let refused = inner.phases.iter().flat_map(|phase| phase.refused.values());
        (inner.ended, refused.sum())
    }

    /// Returns how many requests of a tenant were refused since the phase of this name has begun.
    pub(crate) fn refused_since(&self, name: &str, side: usize) -> u64 {
        let inner = self.lock();
        let phases = inner.phases.iter().skip_while(|phase| phase.name != name);
        phases.map(|phase| phase.refused_of[side]).sum()
    }

    /// Waits until so many requests in a row were not refused, and returns after how many.
    ///
    /// # Errors
    ///
    /// They are still refused after this many, or there are no answers.
    pub(crate) async fn quiet(&self, in_a_row: u64, at_most: u64) -> Result<u64> {
        let (begun, before) = (Instant::now(), self.counts().0);
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (ended, refused_at) = {
                let inner = self.lock();
                (inner.ended, inner.refused_at.max(before))
            };
            if ended - refused_at >= in_a_row {
                return Ok(refused_at - before);
            }
            if ended - before > at_most || begun.elapsed() > PATIENCE {
                return Err(format!("requests are still refused:\n{self}").into());
            }
        }
    }

    /// Returns what was answered as it must never be.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    /// Returns what became of all writes.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.lock().writes.clone()
    }

    /// Returns the identifiers and traces that a tenant was shown.
    pub(crate) fn shown_to(&self, side: usize) -> HashSet<u128> {
        self.lock().shown[side].clone()
    }

    pub(super) fn not_sent(&self) {
        self.lock().current().not_sent += 1;
    }

    pub(super) fn begin(&self, side: usize) -> Begun {
        Begun {
            at: Instant::now(),
            standing: self.lock().standings[side],
        }
    }

    /// Judges an answer.
    pub(super) fn end(
        &self,
        side: usize,
        begun: &Begun,
        kind: Kind,
        status: u16,
        problem: &str,
    ) -> Answer {
        let mut inner = self.lock();
        let standing = inner.standings[side];
        let is_suspended = (status, problem) == (403, "suspended");
        let mut answer = judge(kind, status, problem);
        // Only where nothing has changed meanwhile it is known what had to be answered.
        let is_known = standing == begun.standing;
        match standing.served {
            Served::No if is_known && !is_suspended => answer = Answer::Wrong,
            Served::Yes if is_known && is_suspended => answer = Answer::Wrong,
            _ => {}
        }
        inner.ended += 1;
        if answer == Answer::Wrong && inner.wrong.len() < WRONG {
            let told = format!("{kind:?} of tenant {side} ({standing:?}): {status} {problem}");
            inner.wrong.push(told);
        }
        if answer == Answer::Refused {
            inner.refused_at = inner.ended;
        }
        let phase = inner.current();
        phase.ended += 1;
        phase.slowest = phase.slowest.max(begun.at.elapsed());
        match answer {
            Answer::Fine => {}
            Answer::Outrun => phase.outrun += 1,
            Answer::Refused | Answer::Wrong => {
                phase.refused_of[side] += 1;
                let problem = problem.split(':').next().unwrap_or_default().to_owned();
                *phase.refused.entry((status, problem)).or_default() += 1;
            }
        }
        answer
    }

    pub(super) fn written(&self, write: Write) {
        self.lock().writes.push(write);
    }

    /// Keeps the identifiers and traces of an answer.
    pub(super) fn shown(&self, side: usize, body: &str) {
        let is_part = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
        let words = body.split(|letter| !is_part(letter));
        let words = words.filter(|word| word.len() == 36 || word.len() == 32);
        let ids = words.filter_map(|word| word.parse::<Uuid>().ok());
        let mut inner = self.lock();
        inner.shown[side].extend(ids.map(|id| id.as_u128()));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn current(&mut self) -> &mut Phase {
        self.phases.last_mut().unwrap()
    }
}

impl Phase {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            begun: Instant::now(),
            ended: 0,
            not_sent: 0,
            outrun: 0,
            refused: BTreeMap::new(),
            refused_of: [0; 3],
            slowest: Duration::ZERO,
        }
    }
}

/// A line for each phase.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        let ends = inner.phases.iter().skip(1).map(|phase| phase.begun);
        let ends = ends.chain([Instant::now()]);
        writeln!(
            f,
            "{:<16} {:>6} {:>8} {:>6} {:>9} {:>7} {:>8}  refused",
            "phase", "s", "answers", "/s", "not sent", "outrun", "slowest"
        )?;
        for (phase, end) in inner.phases.iter().zip(ends) {
            let lasted = end.duration_since(phase.begun).as_millis().max(1);
            let refused = phase.refused.iter();
            let refused =
                refused.map(|((status, problem), count)| format!("{count} {status} {problem}"));
            writeln!(
                f,
                "{:<16} {:>4}.{} {:>8} {:>6} {:>9} {:>7} {:>5} ms  {}",
                phase.name,
                lasted / 1_000,
                lasted % 1_000 / 100,
                phase.ended,
                u128::from(phase.ended) * 1_000 / lasted,
                phase.not_sent,
                phase.outrun,
                phase.slowest.as_millis(),
                refused.collect::<Vec<_>>().join(", ")
            )?;
        }
        Ok(())
    }
}
