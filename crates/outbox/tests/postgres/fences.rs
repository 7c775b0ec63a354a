//! Workers that were thought dead.

use std::time::Duration;

use sqlx::{Executor as _, Row as _};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Ledger, Subject, quick, until};
use tenantry_outbox::{Outbox, OutboxStatus, OutboxWorker};
use uuid::Uuid;

use crate::OnPostgres;

/// A clock that was ahead, and is right again, when the worker had died: its parts are taken over, also by one of its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_a_clock_that_was_ahead_is_taken_over() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let tenants = [TenantId::generate(), TenantId::generate()].map(|it| subject.store.tenant(it));
    let account = [Uuid::now_v7()];
    let settings = || quick().with_lease(Duration::from_millis(500));
    for name in ["one", "other", "one"] {
        let publisher = std::sync::Arc::new(broker.clone());
        let settings = settings().with_name(name);
        let worker = OutboxWorker::start(subject.platform(), publisher, settings).unwrap();
        for tenant in &tenants {
            ledger.write(&outbox, tenant, &account, true).await.unwrap();
        }
        until("all have left", || ledger.is_empty_after(&broker.got())).await;
        let status = OutboxStatus::read(subject.platform()).await.unwrap();
        assert_eq!(status.workers, 1, "{name}");
        drop(worker);
        let ahead = "update outbox_claims set expires_at = expires_at + 3600000";
        let mut admin = subject.admin().await;
        // What it had sent may be done after it has ended.
        loop {
            admin.execute(ahead).await.unwrap();
            let status = OutboxStatus::read(subject.platform()).await.unwrap();
            if status.workers == 0 {
                break;
            }
        }
    }
    ledger.assert_whole(&broker.got());
}

/// The claim is taken away while a batch is in flight: what its owner writes then is refused, and it begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_writes_after_its_claim_was_taken_away_is_refused() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let tenants = [TenantId::generate(), TenantId::generate()].map(|it| subject.store.tenant(it));
    let accounts: Vec<_> = (0..10).map(|_| Uuid::now_v7()).collect();
    for tenant in &tenants {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    broker.stop_after(5);
    let settings = quick()
        .with_lease(Duration::from_secs(30))
        .with_name("stale");
    let broker_of_worker = std::sync::Arc::new(broker.clone());
    let worker = OutboxWorker::start(subject.platform(), broker_of_worker, settings).unwrap();
    until("it is in mid-batch", || broker.count() == 5).await;

    let mut admin = subject.admin().await;
    let token = "select token, position from outbox_claims where worker = 'stale'";
    let before = admin.fetch_one(token).await.unwrap();
    // As another worker takes it away.
    admin
        .execute(
            "with dead as (delete from outbox_claims returning token, position) \
             update outbox_partitions p set token = null, position = coalesce(p.position, dead.position) \
             from dead where p.token = dead.token",
        )
        .await
        .unwrap();
    broker.go_on();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    // It has made another claim, under which the rest has left.
    let mut after = None;
    for _ in 0..1_000 {
        after = admin.fetch_optional(token).await.unwrap();
        if after.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after = after.unwrap();
    assert!(after.get::<i64, _>(0) > before.get::<i64, _>(0));
    until("the batch was repeated", || broker.count() == 40).await;
    worker.stop().await.unwrap();
    // What the stale one had saved would have kept the second delivery away.
    let outcome = ledger.assert_whole(&broker.got());
    assert_eq!(outcome.duplicates, 20);
}
