//! From units of work in PostgreSQL through a worker into a broker that fails meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Ledger, Outcome, RealBroker, Subject, quick};
use tenantry_outbox::{Outbox, OutboxWorker};
use uuid::Uuid;

use crate::subject::OnPostgres;

const KEYS: u128 = 30;

/// What each writer commits as fast as it can, so that there is a batch under way at each fault; then it takes its time, or
/// a slow broker is at it for minutes.
const AT_ONCE: usize = 150;

/// Writes while `fault` goes on, and compares what the broker has with what was committed.
pub(crate) async fn nothing_is_lost_while(
    broker: &dyn RealBroker,
    fault: impl AsyncFnOnce(),
) -> Outcome {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let settings = quick()
        .with_outbox(&outbox)
        .with_batch(200)
        .with_publish_timeout(Duration::from_secs(5))
        // It is not the worker that fails, however busy the machine is.
        .with_lease(Duration::from_secs(10));
    let worker = OutboxWorker::start(subject.platform(), broker.publisher(), settings).unwrap();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let tenant = subject.store().tenant(tenant);
        let (outbox, ledger, is_over) = (outbox.clone(), ledger.clone(), Arc::clone(&is_over));
        writers.spawn(async move {
            let accounts: Vec<_> = (0..KEYS).map(Uuid::from_u128).collect();
            let mut round = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                if round > AT_ONCE {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let commits = round % 9 != 0;
                ledger
                    .write(
                        &outbox,
                        &tenant,
                        &accounts[round % 25..round % 25 + 5],
                        commits,
                    )
                    .await
                    .unwrap();
            }
        });
    }
    fault().await;
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    writers.join_all().await;
    let mut got = broker.got().await;
    for _ in 0..600 {
        if ledger.is_empty_after(&got) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        got = broker.got().await;
    }
    worker.stop().await.unwrap();
    ledger.assert_whole(&broker.got().await)
}

/// Kills the broker and halts it, with the worker in the middle of a batch.
pub(crate) async fn storm(broker: &dyn RealBroker) -> Outcome {
    nothing_is_lost_while(broker, async || {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            broker.kill().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            broker.start().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            broker.halt().await;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            broker.go_on().await;
        }
    })
    .await
}
