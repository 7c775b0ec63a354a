//! The first batches of a backlog, be it ten thousand messages or ten million.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_core::TenantId;
use tenantry_outbox::{OutboxWorker, WorkerSettings};

use super::Bench;
use crate::database::{Fixture, Flood};
use crate::error::Result;
use crate::report::{Ratio, Report, Target};
use crate::runner::percentile;
use crate::suites::outbox::{Broker, outbox_fixture, platform};
use crate::suites::settle;

const BATCH: usize = 500;

/// How many messages are taken of either backlog by a worker.
const TAKEN: usize = 10_000;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = outbox_fixture(bench, "backlog").await?;
    let (rows, rounds) = if bench.quick {
        (200_000, 2)
    } else {
        (10_000_000, 10)
    };
    let (mut shallow, mut deep) = (Waits::default(), Waits::default());
    for _ in 0..rounds {
        fill(bench, &fixture, TAKEN).await?;
        take(bench, &fixture, &mut shallow).await?;
        bench.database.empty_messages(&fixture.schema).await?;
    }
    fill(bench, &fixture, rows).await?;
    for _ in 0..rounds {
        take(bench, &fixture, &mut deep).await?;
    }
    // What a worker does of a generation once all of it has left.
    let started = Instant::now();
    bench.database.empty_messages(&fixture.schema).await?;
    report.add(Ratio::of(
        format!("backlog/truncate-{rows}/ms"),
        started.elapsed().as_secs_f64() * 1e3,
        f64::NAN,
        Target::Figure(1_000.0),
    ));
    let name = format!("backlog/{rows}-beside-{TAKEN}/batch-{BATCH}");
    let millis = |waits: &[Duration], percent| percentile(waits, percent).as_secs_f64() * 1e3;
    report.add(Ratio::of(
        format!("{name}/start-to-first-p50-ms"),
        millis(&deep.firsts, 50),
        millis(&shallow.firsts, 50),
        Target::None,
    ));
    for (percent, target) in [(50, Target::None), (99, Target::Figure(20.0))] {
        report.add(Ratio::of(
            format!("{name}/p{percent}-ms"),
            millis(&deep.nexts, percent),
            millis(&shallow.nexts, percent),
            target,
        ));
    }
    Ok(())
}

async fn fill(bench: &Bench, fixture: &Fixture, rows: usize) -> Result<()> {
    // Short ones: what is measured is how they are found.
    let flood = Flood {
        tenants: [TenantId::generate(), TenantId::generate()],
        rows,
        bytes: 100,
    };
    bench.database.fill_outbox(&fixture.schema, flood).await
}

/// How long the batches of workers took, reading, handing over and saving.
#[derive(Default)]
struct Waits {
    /// From the start of a worker to the end of its first batch.
    firsts: Vec<Duration>,
    /// Each of those that come when the worker has its connections and plans.
    nexts: Vec<Duration>,
}

/// How many batches a worker has got used to the database by.
const WARM_UP: usize = 3;

/// Starts a worker, and takes batches of it.
async fn take(bench: &Bench, fixture: &Fixture, waits: &mut Waits) -> Result<()> {
    settle().await;
    let platform = platform(bench, fixture).await?;
    let broker = Broker::new();
    let settings = WorkerSettings::default().with_batch(BATCH);
    let begun = Instant::now();
    let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), settings)?;
    let mut ends = Vec::new();
    for batch in 1..=TAKEN / BATCH {
        ends.push(broker.got(batch * BATCH).await);
    }
    // Until no tenant has a lane any more, where nothing is left.
    settle().await;
    worker.stop().await?;
    waits.firsts.extend(ends.first().map(|end| *end - begun));
    let pairs = ends.windows(2).skip(WARM_UP - 1);
    waits.nexts.extend(pairs.map(|pair| pair[1] - pair[0]));
    Ok(())
}
