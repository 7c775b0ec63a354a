//! Workers that have given their parts back, for nothing came.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Ledger, quick, until};
use tenantry_outbox::{Message, NewMessage, Outbox, OutboxWorker, Publisher, Stopped};
use tenantry_store::async_trait;
use uuid::Uuid;

use crate::OnPostgres;

/// Returns how many parts are taken, and by how many workers.
async fn shares(admin: &mut PgConnection) -> (i64, i64) {
    let taken = sqlx::query_as(
        "select count(*), count(distinct token) from outbox_partitions where token is not null",
    );
    taken.fetch_one(admin).await.unwrap()
}

/// One of two dies while both are idle: what comes to the parts that it had is seen by the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_sees_what_comes_for_one_that_has_died() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let broker = Broker::default();
    let start = || {
        let settings = quick().with_idle(Duration::from_secs(2), Duration::from_millis(200));
        OutboxWorker::start(&subject.platform, Arc::new(broker.clone()), settings).unwrap()
    };
    let [stays, dies] = [start(), start()];
    let mut admin = subject.admin().await;
    let mut have_shared = false;
    loop {
        let now = shares(&mut admin).await;
        have_shared |= now == (64, 2);
        if have_shared && now.0 == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(dies);

    // Of every part there are some.
    let ledger = Ledger::default();
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let keys: Vec<_> = (0..200).map(|_| Uuid::now_v7()).collect();
        let scope = subject.store.tenant(tenant);
        ledger.write(&outbox, &scope, &keys, true).await.unwrap();
    }
    until("all of them", || ledger.is_empty_after(&broker.got())).await;
    ledger.assert_whole(&broker.got());
    stays.stop().await.unwrap();
}

/// Takes its time for each message.
#[derive(Debug)]
struct Slow(Broker);

#[async_trait]
impl Publisher for Slow {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        for message in messages {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.0.publish(std::slice::from_ref(message)).await?;
        }
        Ok(())
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "slow"
    }
}

/// One of two goes while the other is idle, and leaves a backlog that is older than all the other has seen.
async fn leaves_a_backlog(goes: impl AsyncFnOnce(OutboxWorker)) {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let brokers = [Broker::default(), Broker::default()];
    let mut workers: Vec<_> = brokers
        .iter()
        .map(|broker| {
            let settings = quick()
                .with_batch(20)
                .with_idle(Duration::from_secs(2), Duration::from_millis(100));
            let publisher = Arc::new(Slow(broker.clone()));
            OutboxWorker::start(&subject.platform, publisher, settings).unwrap()
        })
        .collect();
    let mut admin = subject.admin().await;
    while shares(&mut admin).await != (64, 2) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let scope = subject.store.tenant(TenantId::generate());
    let work = scope.begin().await.unwrap();
    for _ in 0..1_000 {
        let message = NewMessage::new("suite.a", "the one");
        outbox.append_message(&work, message).unwrap();
    }
    work.commit().await.unwrap();
    let idle = async |admin: &mut PgConnection| {
        let claims: i64 = sqlx::query_scalar("select count(*) from outbox_claims")
            .fetch_one(admin)
            .await
            .unwrap();
        claims == 1
    };
    while !idle(&mut admin).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let count = || brokers.iter().map(Broker::count).sum::<usize>();
    let busy = usize::from(brokers[1].count() > brokers[0].count());
    assert!(brokers[busy].count() > 0);
    goes(workers.remove(busy)).await;
    assert!(count() < 1_000, "nothing was left");
    until("all of it", || count() >= 1_000).await;
    assert!(brokers[1 - busy].count() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_takes_over_what_one_that_has_died_left() {
    leaves_a_backlog(async |worker| drop(worker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_takes_over_what_one_that_was_stopped_left() {
    leaves_a_backlog(async |worker| worker.stop().await.unwrap()).await;
}
