//! How much of a machine the product has taken.

use std::fmt;
use std::fs;
use std::time::Instant;

use skyline::{Browser, Result};

use super::load::{Record, Truth};
use super::world::World;

/// What is looked at.
pub(crate) struct Gauges<'w> {
    processes: Vec<u32>,
    world: &'w World,
    truth: &'w Truth,
    client: Browser,
}

/// What was seen at one time; of processes in the order of `PartName::ALL`.
#[derive(Debug)]
pub(crate) struct Mark {
    second: u64,
    answers: u64,
    refused: u64,
    /// In KiB.
    pub(crate) memory: Vec<u64>,
    pub(crate) files: Vec<u64>,
    pub(crate) postgres: u64,
    pub(crate) redis: u64,
    pub(crate) nats: u64,
}

impl<'w> Gauges<'w> {
    /// What stands above marks.
    pub(crate) const HEAD: &'static str = "     s   answers refused | memory in MiB: tenants operations notifications reporting edge | \
         open files | PostgreSQL Redis NATS";

    pub(crate) fn new(processes: Vec<u32>, world: &'w World, truth: &'w Truth) -> Self {
        Self {
            processes,
            world,
            truth,
            client: Browser::at(([127, 0, 0, 1], 1).into(), "gauges"),
        }
    }

    pub(crate) async fn look(&self, record: &Record, started: Instant) -> Result<Mark> {
        let (answers, refused) = record.counts();
        let (mut memory, mut files) = (Vec::new(), Vec::new());
        for process in &self.processes {
            memory.push(resident(*process)?);
            let open = fs::read_dir(format!("/proc/{process}/fd"))?;
            files.push(u64::try_from(open.count())?);
        }
        let clients = self.world.redis.ask(&["info", "clients"]).await?;
        let monitor = self.client.open(&self.world.monitor()).await?;
        Ok(Mark {
            second: started.elapsed().as_secs(),
            answers,
            refused,
            memory,
            files,
            postgres: self.truth.connections().await?,
            // Without the one that asks.
            redis: number_after(&clients, "connected_clients:")?.saturating_sub(1),
            nats: number_after(&monitor.body, "\"connections\":")?,
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} {:>9} {:>7} |",
            self.second, self.answers, self.refused
        )?;
        for kib in &self.memory {
            write!(f, " {:>4}.{}", kib / 1024, kib % 1024 * 10 / 1024)?;
        }
        write!(f, " | ")?;
        for files in &self.files {
            write!(f, " {files:>3}")?;
        }
        let Self {
            postgres,
            redis,
            nats,
            ..
        } = self;
        write!(f, " | {postgres:>3} {redis:>3} {nats:>3}")
    }
}

/// Says that what was seen does not grow: that the middle of the last third is not above that of the second by more than so
/// many percent and a slack. The first third is for warming up.
pub(crate) fn is_flat(what: &str, seen: &[u64], percent: u64, slack: u64) -> Result<()> {
    let third = seen.len() / 3;
    let middle = median(&seen[third..2 * third]);
    let last = median(&seen[2 * third..]);
    match last <= middle + middle * percent / 100 + slack {
        true => Ok(()),
        false => Err(format!("{what} grows: from {middle} to {last}, in {seen:?}").into()),
    }
}

fn median(seen: &[u64]) -> u64 {
    let mut sorted = seen.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Returns the memory of a process that is not given back, in KiB.
fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    number_after(&status, "VmRSS:")
}

fn number_after(text: &str, before: &str) -> Result<u64> {
    let rest = text.split_once(before).map(|(_, rest)| rest.trim_start());
    let rest = rest.ok_or_else(|| format!("there is no {before}"))?;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
    Ok(digits.unwrap_or_default().parse()?)
}

#[test]
fn what_grows_is_not_flat_and_what_goes_up_and_down_is() {
    let grows: Vec<u64> = (0..30).map(|it| 1_000 + it * 40).collect();
    assert!(is_flat("it", &grows, 10, 50).is_err());
    let wavers: Vec<u64> = (0..30).map(|it| 1_000 + it % 3 * 300).collect();
    assert!(is_flat("it", &wavers, 10, 50).is_ok());
}
