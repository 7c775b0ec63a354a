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
use crate::suites::outbox::{Broker, platform};
use crate::suites::settle;

const BATCH: usize = 500;

/// How many messages are taken of either backlog.
const TAKEN: usize = 10_000;

pub(super) async fn run(bench: &Bench, report: &mut Report, fixture: &Fixture) -> Result<()> {
    let (rows, rounds) = if bench.quick {
        (200_000, 2)
    } else {
        (10_000_000, 5)
    };
    let mut shallow = Vec::new();
    for _ in 0..rounds {
        shallow.extend(batches(bench, fixture, TAKEN).await?);
        bench.database.empty_messages(&fixture.schema).await?;
    }
    fill(bench, fixture, rows).await?;
    let mut deep = Vec::new();
    for _ in 0..rounds {
        deep.extend(batches(bench, fixture, 0).await?);
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
    for (percent, target) in [(50, Target::None), (99, Target::Figure(20.0))] {
        let millis = |waits: &[Duration]| percentile(waits, percent).as_secs_f64() * 1e3;
        report.add(Ratio::of(
            format!("backlog/{rows}-beside-{TAKEN}/batch-{BATCH}/p{percent}-ms"),
            millis(&deep),
            millis(&shallow),
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

/// Adds messages, and returns how long each of the next batches took, reading, handing over and saving.
async fn batches(bench: &Bench, fixture: &Fixture, added: usize) -> Result<Vec<Duration>> {
    if added > 0 {
        fill(bench, fixture, added).await?;
    }
    settle().await;
    let platform = platform(bench, fixture).await?;
    let broker = Broker::new();
    let settings = WorkerSettings::default().with_batch(BATCH);
    let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), settings)?;
    let mut ends = Vec::new();
    for batch in 1..=TAKEN / BATCH {
        ends.push(broker.got(batch * BATCH).await);
    }
    worker.stop().await?;
    Ok(ends.windows(2).map(|pair| pair[1] - pair[0]).collect())
}
