//! What a message takes of the server: time of its processors, and log.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};

use super::Bench;
use super::writer::Work;
use crate::error::Result;
use crate::network::Link;
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::{Operation as _, median};
use crate::suites::{Ping, settle};

/// What one unit of work takes.
#[derive(Debug, Clone, Copy)]
struct Cost {
    micros: f64,
    wal_bytes: f64,
}

/// Adds how much more a unit of work with a message takes than one without, above the bytes of the message.
pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    suite: &str,
    [with, without]: [&Work; 2],
    payload: usize,
) -> Result<()> {
    let (turns, rounds) = if bench.quick { (500, 3) } else { (2_000, 7) };
    let pool = bench.twin_pool(Link::Loopback, Ping::No).await?;
    settle().await;
    let (mut more, mut usual) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let turns = round * turns..(round + 1) * turns;
        let without = measure(bench, &pool, without, turns.clone()).await?;
        let with = measure(bench, &pool, with, turns).await?;
        more.push((
            with.micros - without.micros,
            with.wal_bytes - without.wal_bytes - payload as f64,
        ));
        usual.push(without);
    }
    for (name, more, usual, target) in [
        (
            "server-cpu-us-more",
            median(more.iter().map(|it| it.0)),
            median(usual.iter().map(|it| it.micros)),
            Target::Figure(75.0),
        ),
        (
            "wal-bytes-more-than-payload",
            median(more.iter().map(|it| it.1)),
            median(usual.iter().map(|it| it.wal_bytes)),
            Target::Figure(250.0),
        ),
    ] {
        report.add(Ratio::of(format!("{suite}/{name}"), more, usual, target));
    }
    Ok(())
}

async fn measure(
    bench: &Bench,
    pool: &PgPool,
    work: &Work,
    turns: std::ops::Range<usize>,
) -> Result<Cost> {
    let count = turns.len() as f64;
    // The first ones may open connections.
    for turn in 0..10 {
        work.run(work.prepare(turn)).await?;
    }
    let before = (spent(bench, pool).await?, written(pool).await?);
    for turn in turns {
        work.run(work.prepare(turn)).await?;
    }
    let after = (spent(bench, pool).await?, written(pool).await?);
    Ok(Cost {
        micros: (after.0.saturating_sub(before.0)).as_secs_f64() * 1e6 / count,
        wal_bytes: (after.1 - before.1) as f64 / count,
    })
}

/// Returns how long the processes behind the services' connections have had a processor.
async fn spent(bench: &Bench, pool: &PgPool) -> Result<Duration> {
    let sql = format!(
        "select pid from pg_stat_activity where usename = '{}'",
        bench.database.app_user()
    );
    let processes: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(pool)
        .await?;
    processes.into_iter().map(process::spent_by).sum()
}

/// Returns how many bytes of log the server has written.
async fn written(pool: &PgPool) -> Result<i64> {
    let sql = "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}
