//! Several databases with one worker.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor as _;
use tenantry_core::{ErrorKind, TenantId};
use tenantry_outbox::conformance::{Broker, Ledger, Subject, quick, until};
use tenantry_outbox::{Outbox, OutboxWorker};
use uuid::Uuid;

use crate::OnPostgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_reached_holds_up_no_other_of_the_worker() {
    let subjects = [OnPostgres::open().await, OnPostgres::open().await];
    let outboxes = subjects.each_ref().map(|it| Outbox::new(&it.store));
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let settings = quick().with_outbox(&outboxes[0]);
    let worker =
        OutboxWorker::start(subjects[0].platform(), Arc::new(broker.clone()), settings).unwrap();
    worker
        .drain_also(subjects[1].platform(), Some(&outboxes[1]))
        .await
        .unwrap();
    let tenants = [TenantId::generate(), TenantId::generate()];
    let account = Uuid::now_v7();
    let write = async |database: usize| {
        for tenant in tenants {
            let scope = subjects[database].store.tenant(tenant);
            ledger
                .write(
                    &outboxes[database],
                    &scope,
                    &[Uuid::now_v7(), account],
                    true,
                )
                .await
                .unwrap();
        }
    };
    write(0).await;
    until("those of one", || ledger.is_empty_after(&broker.got())).await;
    write_in_the_other(&subjects[1], &outboxes[1], &broker, tenants).await;

    let mut admin = subjects[0].admin().await;
    let other: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&mut subjects[1].admin().await)
        .await
        .unwrap();
    let closed = format!("alter database \"{other}\" allow_connections false");
    admin.execute(sqlx::AssertSqlSafe(closed)).await.unwrap();
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
        .bind(&other)
        .execute(&mut admin)
        .await
        .unwrap();
    let before = broker.count();
    write(0).await;
    until("those of one", || broker.count() == before + 4).await;

    let open = format!("alter database \"{other}\" allow_connections true");
    admin.execute(sqlx::AssertSqlSafe(open)).await.unwrap();
    write_in_the_other(&subjects[1], &outboxes[1], &broker, tenants).await;
    worker.stop().await.unwrap();
    let late = worker.drain_also(subjects[1].platform(), None).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
}

/// Writes in the other database, and waits until it has left.
async fn write_in_the_other(
    subject: &OnPostgres,
    outbox: &Outbox,
    broker: &Broker,
    tenants: [TenantId; 2],
) {
    let ledger = Ledger::default();
    let before = broker.count();
    for tenant in tenants {
        let scope = subject.store.tenant(tenant);
        // The pool of the services may have lost its connections.
        while let Err(error) = ledger.write(outbox, &scope, &[Uuid::now_v7()], true).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    until("those of the other", || {
        ledger.is_empty_after(&broker.got()[before..])
    })
    .await;
    ledger.assert_whole(&broker.got()[before..]);
}
