//! How soon the messages of many tenants leave while one of them has a backlog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_core::TenantId;
use tenantry_outbox::{NewMessage, Outbox, OutboxWorker, WorkerSettings};
use tenantry_store::TenantStore;

use super::broker::Broker;
use super::{Bench, platform};
use crate::database::{Fixture, Flood};
use crate::error::Result;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::percentile;
use crate::suites::settle;

/// How many tenants have a message now and then.
const TENANTS: usize = 1_000;

/// How far apart their messages are.
const APART: Duration = Duration::from_millis(4);

pub(super) async fn run(bench: &Bench, report: &mut Report, fixture: &Fixture) -> Result<()> {
    let (messages, flood) = if bench.quick {
        (200, 100_000)
    } else {
        (1_000, 500_000)
    };
    let store = bench.store(Link::Loopback, fixture).await?;
    let outbox = Outbox::new(&store);
    let platform = platform(bench, fixture).await?;
    let tenants: Vec<_> = (0..TENANTS).map(|_| TenantId::generate()).collect();
    let flooding = TenantId::generate();
    let broker = Broker::watching(flooding);
    // It polls, as one of another process.
    let worker = OutboxWorker::start(
        &platform,
        Arc::new(broker.clone()),
        WorkerSettings::default(),
    )?;
    settle().await;
    let idle = waits(&store, &outbox, &broker, &tenants, messages, &|| true).await?;

    let flood = Flood {
        tenants: [flooding; 2],
        rows: flood,
        bytes: 400,
    };
    bench.database.flood_outbox(&fixture.schema, flood).await?;
    let begun = Instant::now();
    let goes_on = || broker.watched() < flood.rows;
    let flooded = waits(&store, &outbox, &broker, &tenants, usize::MAX, &goes_on).await?;
    let seconds = begun.elapsed().as_secs_f64();
    worker.stop().await?;
    for percent in [50, 99] {
        let millis = |waits: &[Duration]| percentile(waits, percent).as_secs_f64() * 1e3;
        report.add(Ratio::of(
            format!("outbox/beside-a-flood/commit-to-broker/p{percent}-ms"),
            millis(&flooded),
            millis(&idle),
            Target::Times(2.0),
        ));
    }
    report.add(Ratio::of(
        "outbox/beside-a-flood/rows-per-s",
        flood.rows as f64 / seconds,
        f64::NAN,
        Target::None,
    ));
    Ok(())
}

/// Commits messages of one tenant after the other, and returns how long each was on its way.
async fn waits(
    store: &TenantStore,
    outbox: &Outbox,
    broker: &Broker,
    tenants: &[TenantId],
    messages: usize,
    goes_on: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for tenant in tenants.iter().cycle().take(messages) {
        if !goes_on() {
            break;
        }
        let work = store.tenant(*tenant).begin().await?;
        let message = NewMessage::new("orders.changed", "order 1");
        outbox.append_message(&work, message.with_payload("text/plain", vec![b'x'; 400]))?;
        let before = broker.count();
        work.commit().await?;
        let committed = Instant::now();
        let came = broker.got(before + 1).await;
        waits.push(came.saturating_duration_since(committed));
        tokio::time::sleep(APART).await;
    }
    Ok(waits)
}
