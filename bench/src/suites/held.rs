//! A thousand messages a second, while a transaction stays open for ten minutes: the last three of them, and three before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tenantry_core::TenantId;
use tenantry_outbox::{NewMessage, Outbox, OutboxStatus, OutboxWorker, WorkerSettings};
use tenantry_store::TenantStore;

use super::Bench;
use crate::error::Result;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::percentile;
use crate::suites::outbox::{Broker, outbox_fixture, platform};
use crate::suites::settle;

/// How many messages a unit of work has, and how often one is committed.
const MESSAGES: usize = 10;
const APART: Duration = Duration::from_millis(10);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = outbox_fixture(bench, "held").await?;
    let (minute, compared, held) = if bench.quick {
        (Duration::from_secs(3), 1, 3)
    } else {
        (Duration::from_secs(60), 3, 10)
    };
    let store = bench.store(Link::Loopback, &fixture).await?;
    let outbox = Outbox::new(&store);
    let platform = platform(bench, &fixture).await?;
    let broker = Broker::new();
    let worker = OutboxWorker::start(
        &platform,
        Arc::new(broker.clone()),
        WorkerSettings::default(),
    )?;
    settle().await;
    let before = flow(&store, &outbox, &broker, minute * compared).await?;

    let mut holder = PgConnection::connect(bench.database.peer_url()).await?;
    holder
        .execute("begin isolation level repeatable read; select pg_current_xact_id()")
        .await?;
    flow(&store, &outbox, &broker, minute * (held - compared)).await?;
    let last = flow(&store, &outbox, &broker, minute * compared).await?;
    let status = OutboxStatus::read(&platform).await?;
    holder.execute("rollback").await?;
    worker.stop().await?;
    for percent in [50, 99] {
        let millis = |waits: &[Duration]| percentile(waits, percent).as_secs_f64() * 1e3;
        report.add(Ratio::of(
            format!("held-xmin/commit-to-broker/p{percent}-ms"),
            millis(&last),
            millis(&before),
            Target::Times(1.1),
        ));
    }
    report.add(Ratio::of(
        "held-xmin/units-of-work",
        last.len() as f64,
        before.len() as f64,
        Target::TimesAtLeast(0.9),
    ));
    report.add(Ratio::of(
        "held-xmin/dead-rows",
        status.dead_tuples as f64,
        f64::NAN,
        Target::Figure(0.0),
    ));
    Ok(())
}

/// Commits for a time, and returns how long each unit of work's messages were on their way.
async fn flow(
    store: &TenantStore,
    outbox: &Outbox,
    broker: &Broker,
    time: Duration,
) -> Result<Vec<Duration>> {
    let tenants = [TenantId::generate(), TenantId::generate()];
    let begun = Instant::now();
    let mut beat = tokio::time::interval(APART);
    let mut waits = Vec::new();
    while begun.elapsed() < time {
        beat.tick().await;
        let work = store.tenant(tenants[waits.len() % 2]).begin().await?;
        for number in 0..MESSAGES {
            let message = NewMessage::new("orders.changed", format!("order {number}"));
            outbox.append_message(&work, message.with_payload("text/plain", vec![b'x'; 400]))?;
        }
        let before = broker.count();
        work.commit().await?;
        let committed = Instant::now();
        let came = broker.got(before + MESSAGES).await;
        waits.push(came.saturating_duration_since(committed));
    }
    Ok(waits)
}
