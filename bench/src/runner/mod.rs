//! Runs operations of several sides in turns, and keeps every latency.

mod statistics;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::error::Result;
use crate::network::Network;
use crate::process;

pub(crate) use statistics::{median, percentile};

/// One operation of one side.
pub(crate) trait Operation: Send + Sync + 'static {
    /// What an operation needs, made outside the measured time.
    type Input: Send;

    /// How often it is done by one [`run`](Self::run): more than once where one is too short for
    /// a clock. All figures are of one.
    const TIMES: u32 = 1;

    /// Makes what the operation with this number needs.
    fn prepare(&self, turn: usize) -> Self::Input;

    /// Does it, as often as it says.
    fn run(&self, input: Self::Input) -> impl Future<Output = Result<()>> + Send;
}

/// A side in a comparison: a name and an operation that is run again and again.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    turns: Arc<dyn Turns>,
}

impl Side {
    pub(crate) fn new(name: &'static str, operation: impl Operation) -> Self {
        Self {
            name,
            turns: Arc::new(Numbered {
                operation,
                next: AtomicUsize::new(0),
            }),
        }
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    /// How long a side's turn takes in a round, about.
    pub(crate) block: Duration,
    pub(crate) warm_up: Duration,
    /// How long operations are counted in a round of throughput.
    pub(crate) window: Duration,
}

/// What became of one side.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) side: &'static str,
    operations: usize,
    latencies: Vec<Duration>,
    /// In seconds, for each round.
    medians: Vec<f64>,
    /// For each operation, in each round.
    allocations: Vec<f64>,
}

/// Round trips of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoundTrips {
    /// What the caller waits for.
    pub(crate) waited: f64,
    /// What goes on when the caller has its answer.
    pub(crate) behind: f64,
}

/// Takes the measurements.
#[derive(Debug)]
pub(crate) struct Runner {
    pace: Pace,
    network: Arc<Network>,
}

/// Fewer would have no median, more would make rounds long when operations are short.
const OPERATIONS_IN_BLOCK: std::ops::RangeInclusive<usize> = 3..=2_000;

impl Runner {
    pub(crate) const fn new(pace: Pace, network: Arc<Network>) -> Self {
        Self { pace, network }
    }

    /// Measures how long an operation of each side takes, one after the other.
    pub(crate) async fn latencies(&self, sides: &[Side]) -> Result<Vec<Measurement>> {
        let operations = self.warm_up(sides).await?;
        let mut measurements: Vec<_> = sides
            .iter()
            .map(|side| Measurement::of(side.name))
            .collect();
        for round in 0..self.pace.rounds {
            for place in order(round, sides.len()) {
                let block = sides[place].turns.block(operations).await?;
                measurements[place].add(block);
            }
        }
        Ok(measurements)
    }

    /// Measures how many operations a second each side does with so many tasks, in each round.
    pub(crate) async fn throughput(&self, sides: &[Side], tasks: usize) -> Result<Vec<Vec<f64>>> {
        let mut rates = vec![Vec::new(); sides.len()];
        // The first round opens the connections.
        for round in 0..=(self.pace.rounds / 4).max(3) {
            for place in order(round, sides.len()) {
                let rate = throughput(&sides[place], tasks, self.pace.window).await?;
                if round > 0 {
                    rates[place].push(rate);
                }
            }
        }
        Ok(rates)
    }

    /// Counts the round trips of an operation; the side must go by the proxy.
    ///
    /// Something else of the same side, such as a heartbeat, may fall into a few of them: it is the
    /// middle that is told.
    pub(crate) async fn round_trips(&self, side: &Side) -> Result<RoundTrips> {
        const OPERATIONS: u32 = 20;
        // Long enough for what is left behind, such as a roll-back, to be answered.
        const QUIET: Duration = Duration::from_millis(20);
        let (mut waited, mut behind) = (Vec::new(), Vec::new());
        side.turns.block(3).await?;
        for _ in 0..OPERATIONS {
            tokio::time::sleep(QUIET).await;
            let before = self.network.round_trips();
            side.turns.block(1).await?;
            let answered = self.network.round_trips();
            tokio::time::sleep(QUIET).await;
            waited.push((answered - before) as f64);
            behind.push((self.network.round_trips() - answered) as f64);
        }
        Ok(RoundTrips {
            waited: median(waited),
            behind: median(behind),
        })
    }

    /// Warms every side up, and finds how many operations make a block.
    async fn warm_up(&self, sides: &[Side]) -> Result<usize> {
        let mut slowest = Duration::from_nanos(1);
        for side in sides {
            let started = Instant::now();
            let mut latencies = Vec::new();
            while latencies.len() < *OPERATIONS_IN_BLOCK.start()
                || started.elapsed() < self.pace.warm_up
            {
                latencies.extend(side.turns.block(1).await?.latencies);
            }
            slowest = slowest.max(percentile(&latencies, 50));
        }
        let fitting = self.pace.block.as_nanos() / slowest.as_nanos().max(1);
        let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
        Ok(fitting.clamp(*OPERATIONS_IN_BLOCK.start(), *OPERATIONS_IN_BLOCK.end()))
    }
}

/// Returns whose turn it is: there and back again, so that nobody always follows the same side.
fn order(round: usize, sides: usize) -> Box<dyn Iterator<Item = usize> + Send> {
    if round.is_multiple_of(2) {
        Box::new(0..sides)
    } else {
        Box::new((0..sides).rev())
    }
}

async fn throughput(side: &Side, tasks: usize, window: Duration) -> Result<f64> {
    let mut running: JoinSet<Result<usize>> = JoinSet::new();
    let started = Instant::now();
    for _ in 0..tasks {
        let turns = Arc::clone(&side.turns);
        running.spawn(async move {
            let mut done = 0;
            while started.elapsed() < window {
                done += turns.block(1).await?.operations;
            }
            Ok(done)
        });
    }
    let mut done = 0;
    while let Some(finished) = running.join_next().await {
        done += finished??;
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

impl Measurement {
    const fn of(side: &'static str) -> Self {
        Self {
            side,
            operations: 0,
            latencies: Vec::new(),
            medians: Vec::new(),
            allocations: Vec::new(),
        }
    }

    fn add(&mut self, block: Block) {
        self.medians
            .push(percentile(&block.latencies, 50).as_secs_f64());
        self.allocations
            .push(block.allocations as f64 / block.operations.max(1) as f64);
        self.operations += block.operations;
        self.latencies.extend(block.latencies);
    }

    pub(crate) const fn operations(&self) -> usize {
        self.operations
    }

    /// Returns a percentile of all latencies, in microseconds.
    pub(crate) fn micros(&self, percent: usize) -> f64 {
        percentile(&self.latencies, percent).as_secs_f64() * 1e6
    }

    /// Returns the allocations of one operation.
    pub(crate) fn allocations(&self) -> f64 {
        median(self.allocations.iter().copied())
    }

    /// Returns the ratio of the medians of each round, in the middle of all rounds.
    pub(crate) fn ratio_to(&self, peer: &Self) -> f64 {
        median(
            self.medians
                .iter()
                .zip(&peer.medians)
                .map(|(ours, theirs)| ours / theirs),
        )
    }

    /// Returns by how many microseconds the medians of each round differ, in the middle of all rounds.
    pub(crate) fn micros_more_than(&self, peer: &Self) -> f64 {
        median(
            self.medians
                .iter()
                .zip(&peer.medians)
                .map(|(ours, theirs)| (ours - theirs) * 1e6),
        )
    }
}

/// What one side did in its turn of one round.
struct Block {
    /// Of one operation each, though a run may have done more.
    latencies: Vec<Duration>,
    operations: usize,
    /// All that the process allocated meanwhile: what a side does behind the caller is its own.
    allocations: usize,
}

/// An operation whose type no longer shows.
#[async_trait]
trait Turns: Send + Sync {
    async fn block(&self, operations: usize) -> Result<Block>;
}

struct Numbered<O> {
    operation: O,
    next: AtomicUsize,
}

#[async_trait]
impl<O: Operation> Turns for Numbered<O> {
    async fn block(&self, operations: usize) -> Result<Block> {
        let first = self.next.fetch_add(operations, Ordering::Relaxed);
        let inputs: Vec<_> = (first..first + operations)
            .map(|turn| self.operation.prepare(turn))
            .collect();
        let mut latencies = Vec::with_capacity(operations);
        let allocated = process::allocations();
        for input in inputs {
            let started = Instant::now();
            self.operation.run(input).await?;
            latencies.push(started.elapsed() / O::TIMES);
        }
        let times = usize::try_from(O::TIMES)?;
        Ok(Block {
            operations: latencies.len() * times,
            latencies,
            allocations: process::allocations() - allocated,
        })
    }
}
