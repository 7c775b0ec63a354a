//! A backlog to nowhere, in the order of a thousand keys, beside what takes rows away in no order.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use sqlx::{AssertSqlSafe, PgPool};
use tenantry_outbox::{OutboxWorker, WorkerSettings};

use super::broker::Broker;
use super::{Bench, graphile, platform};
use crate::database::{Fixture, Flood};
use crate::error::Result;
use crate::model::Key;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::median;
use crate::suites::{Ping, settle};

/// The batch of the peer.
const BATCH: usize = 500;
/// To give it its jobs takes longer than all else.
const GRAPHILE_ROUNDS: usize = 3;

pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    fixture: &Fixture,
    keys: &Arc<[Key]>,
) -> Result<()> {
    let (rows, rounds) = if bench.quick {
        (20_000, 3)
    } else {
        (200_000, 7)
    };
    let twin = format!("{}_peer", fixture.schema);
    bench.database.create_queue(&fixture.schema, &twin).await?;
    let pool = bench.twin_pool(Link::Loopback, Ping::No).await?;
    let tenants = [keys[0].tenant, keys[keys.len() / 2].tenant];
    let platform = platform(bench, fixture).await?;
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    let mut queues = [Vec::new(), Vec::new()];
    let flood = Flood {
        tenants,
        rows,
        bytes: 400,
    };
    for round in 0..rounds {
        for (place, batch) in [BATCH, 2_000].into_iter().enumerate() {
            bench.database.fill_outbox(&fixture.schema, flood).await?;
            settle().await;
            let broker = Broker::new();
            let settings = WorkerSettings::default().with_batch(batch);
            let started = Instant::now();
            let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), settings)?;
            let ended = broker.got(rows).await;
            rates[place].push(rows as f64 / (ended - started).as_secs_f64());
            worker.stop().await?;
        }
        bench.database.fill_queue(&twin, flood).await?;
        settle().await;
        rates[2].push(rows as f64 / take_away(&pool, &twin, rows).await?);
        bench.database.empty_outbox(&fixture.schema, &twin).await?;
        settle().await;
        if round < GRAPHILE_ROUNDS {
            let graphile = graphile::run(bench, rows).await?;
            queues[0].push(graphile.ordered);
            queues[1].push(graphile.unordered);
        }
    }
    let [same, ours, peer] = rates;
    let [ordered, unordered] = queues;
    let ratio =
        |ours: &[f64], peer: &[f64]| median(ours.iter().zip(peer).map(|(ours, peer)| ours / peer));
    for (name, ours, peer, target) in [
        (
            "outbox/skip-locked/batch-500/rows-per-s",
            &same,
            &peer,
            Target::TimesAtLeast(0.8),
        ),
        (
            "outbox/skip-locked/batch-2000/rows-per-s",
            &ours,
            &peer,
            Target::FigureAtLeast(20_000.0),
        ),
        (
            "outbox/graphile-ordered/rows-per-s",
            &ours,
            &ordered,
            Target::TimesAtLeast(50.0),
        ),
        (
            "outbox/graphile-unordered/rows-per-s",
            &ours,
            &unordered,
            Target::TimesAtLeast(1.5),
        ),
    ] {
        report.add(Ratio {
            name: name.to_owned(),
            ours: median(ours.iter().copied()),
            peer: median(peer.iter().copied()),
            ratio: ratio(ours, peer),
            target,
        });
    }
    Ok(())
}

/// Returns how many seconds it takes to delete all rows and hand them out.
async fn take_away(pool: &PgPool, twin: &str, rows: usize) -> Result<f64> {
    let sql = format!(
        "delete from {twin}.queue where position in (\
             select position from {twin}.queue order by position limit {BATCH} for update skip locked\
         ) returning *"
    );
    let started = Instant::now();
    let mut taken = 0;
    while taken < rows {
        let got = sqlx::query(AssertSqlSafe(sql.clone()))
            .fetch_all(pool)
            .await?;
        if got.is_empty() {
            return Err(format!("the peer has {taken} rows of {rows}").into());
        }
        taken += got.len();
        black_box(got);
    }
    Ok(started.elapsed().as_secs_f64())
}
