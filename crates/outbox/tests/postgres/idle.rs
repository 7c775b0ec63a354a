//! Workers that have given their parts back, for nothing came.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Ledger, quick, until};
use tenantry_outbox::{Outbox, OutboxWorker};
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
