//! How long after its commit a message is with the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_outbox::{NewMessage, Outbox, OutboxWorker, WorkerSettings};

use super::broker::Broker;
use super::{Bench, platform};
use crate::database::Fixture;
use crate::error::Result;
use crate::model::Key;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::percentile;

pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    fixture: &Fixture,
    keys: &Arc<[Key]>,
) -> Result<()> {
    let messages = if bench.quick { 100 } else { 1_000 };
    let store = bench.store(Link::Loopback, fixture).await?;
    let outbox = Outbox::new(&store);
    let platform = platform(bench, fixture).await?;
    // Without the outbox at hand a worker is as one of another process: it polls.
    for (name, settings, targets) in [
        (
            "same-process",
            WorkerSettings::default().with_outbox(&outbox),
            [3.0, 15.0],
        ),
        ("other-process", WorkerSettings::default(), [8.0, 30.0]),
    ] {
        let broker = Broker::new();
        let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), settings)?;
        let mut waits: Vec<Duration> = Vec::new();
        for number in 0..messages {
            let key = &keys[number % keys.len()];
            let work = store.tenant(key.tenant).begin().await?;
            let message = NewMessage::new("orders.changed", key.id.to_string());
            outbox.append_message(&work, message.with_payload("text/plain", vec![b'x'; 400]))?;
            let before = broker.count();
            work.commit().await?;
            let committed = Instant::now();
            waits.push(
                broker
                    .got(before + 1)
                    .await
                    .saturating_duration_since(committed),
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        worker.stop().await?;
        for (percent, target) in [50, 99].into_iter().zip(targets) {
            let millis = percentile(&waits, percent).as_secs_f64() * 1e3;
            let name = format!("outbox/{name}/commit-to-broker/p{percent}-ms");
            report.add(Ratio::of(name, millis, f64::NAN, Target::Figure(target)));
        }
    }
    Ok(())
}
