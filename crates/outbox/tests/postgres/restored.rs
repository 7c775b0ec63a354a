//! A database that comes from another cluster.

use sqlx::Executor as _;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Ledger, Subject, quick, until};
use tenantry_outbox::{Outbox, OutboxWorker};
use uuid::Uuid;

use crate::OnPostgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_not_left_leaves_from_another_cluster_and_the_rest_does_not() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let start = || {
        let broker = std::sync::Arc::new(broker.clone());
        OutboxWorker::start(subject.platform(), broker, quick()).unwrap()
    };
    let tenants = [TenantId::generate(), TenantId::generate()].map(|it| subject.store.tenant(it));
    let accounts: Vec<_> = (0..10).map(|_| Uuid::now_v7()).collect();
    let write = async || {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
    };
    write().await;
    let worker = start();
    until("all have left", || broker.count() == 20).await;
    worker.stop().await.unwrap();
    write().await;

    // A dump keeps the ids of rows and positions, and here they are far ahead. One tenant has a lane.
    let mut admin = subject.admin().await;
    let ahead = "(split_part(position, ':', 1)::bigint + 4000000000) || ':' || \
        (split_part(position, ':', 2)::bigint + 4000000000) || ':||0|' || split_part(position, '|', 4) || '|?'";
    let positions = format!(
        "update outbox_partitions set position = {ahead} || '~{}=' || {ahead}",
        tenants[1].tenant()
    );
    admin
        .execute("update outbox_messages set xid = (xid::text::bigint + 4000000000)::text::xid8")
        .await
        .unwrap();
    admin.execute(sqlx::AssertSqlSafe(positions)).await.unwrap();
    admin
        .execute("update outbox_cluster set cluster = 'another'")
        .await
        .unwrap();
    // What comes before a worker looks, has ids that the positions say have left.
    write().await;
    let worker = start();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    write().await;
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// The dump was taken before any worker had run: nothing tells what has left, for nothing has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_appended_before_the_first_worker_leaves_from_another_cluster() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let tenants = [TenantId::generate(), TenantId::generate()].map(|it| subject.store.tenant(it));
    let accounts: Vec<_> = (0..10).map(|_| Uuid::now_v7()).collect();
    let write = async || {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
    };
    write().await;
    let mut admin = subject.admin().await;
    let ahead = "update outbox_messages set xid = (xid::text::bigint + 4000000000)::text::xid8";
    admin.execute(ahead).await.unwrap();
    let cluster = "update outbox_cluster set cluster = 'another'";
    let known = admin.execute(cluster).await.unwrap();
    assert_eq!(
        known.rows_affected(),
        1,
        "it is known from the first moment on"
    );
    let publisher = std::sync::Arc::new(broker.clone());
    let worker = OutboxWorker::start(subject.platform(), publisher, quick()).unwrap();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    write().await;
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}
