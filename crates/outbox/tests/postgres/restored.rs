//! A database that comes from another cluster, or rows of one.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tenantry_core::{RequestContext, TenantId};
use tenantry_outbox::conformance::{Answer, Broker, Ledger, Subject, quick, until};
use tenantry_outbox::{DeadLetterFilter, DeadLetters, Outbox, OutboxWorker, PublishErrorKind};
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
    admin.execute(AssertSqlSafe(positions)).await.unwrap();
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

/// Takes all rows behind a position away and brings them again as another cluster has numbered them: transactions and
/// positions are lower than those of here, and they come in any order.
async fn bring_from_elsewhere(admin: &mut PgConnection, behind: i64, role: &str) {
    let bring = format!(
        "create temp table elsewhere as select * from outbox_messages where position > {behind}; \
         delete from outbox_messages where position > {behind}; \
         update elsewhere set xid = '3', position = position - {behind}; \
         set session_replication_role = {role}; \
         insert into outbox_messages overriding system value \
             select * from elsewhere order by position desc; \
         reset session_replication_role; \
         drop table elsewhere"
    );
    let bring = sqlx::raw_sql(AssertSqlSafe(bring));
    admin.execute(bring).await.unwrap();
}

async fn last_position(admin: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select coalesce(pg_sequence_last_value('outbox_messages_position_seq'), 0)")
        .fetch_one(admin)
        .await
        .unwrap()
}

/// By a dump of the data alone, and by replication, whose writes no usual trigger sees; in the second case to a worker that
/// runs. Beside them stands the row of this cluster, and positions of this cluster say that such numbers have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_brought_without_their_cluster_leave_once_and_in_order() {
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
    let mut admin = subject.admin().await;
    write().await;
    let worker = start();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();

    let behind = last_position(&mut admin).await;
    write().await;
    write().await;
    bring_from_elsewhere(&mut admin, behind, "origin").await;
    // What comes after them is of here.
    write().await;
    let worker = start();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;

    // The worker has passed no message of these when they are brought.
    broker.stop_after(0);
    let behind = last_position(&mut admin).await;
    let before = broker.count();
    write().await;
    write().await;
    bring_from_elsewhere(&mut admin, behind, "replica").await;
    assert_eq!(broker.count(), before);
    broker.go_on();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    write().await;
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    ledger.assert_whole(&broker.got());
}

/// The triggers were off: transactions ahead of all that this cluster has are found by themselves, and so are numbers ahead of
/// those that it has drawn, in the log and where messages stand that were given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_ahead_of_their_cluster_leave_once_and_in_order() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    broker.answer(|it| (it.payload() == b"1").then_some(Answer::No(PublishErrorKind::Poison)));
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
    let mut admin = subject.admin().await;
    let parked = async |admin: &mut PgConnection| -> i64 {
        let count = sqlx::query_scalar("select count(*) from outbox_parked");
        count.fetch_one(admin).await.unwrap()
    };
    write().await;
    write().await;
    let worker = start();
    while parked(&mut admin).await < 40 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    worker.stop().await.unwrap();
    write().await;
    let ahead = "update outbox_parked set position = position + 1000000; \
        update outbox_messages set xid = (xid::text::bigint + 4000000000)::text::xid8 \
            where position > 40";
    admin.execute(sqlx::raw_sql(ahead)).await.unwrap();
    let worker = start();
    while parked(&mut admin).await < 60 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Behind those of their keys that stand there.
    write().await;
    while parked(&mut admin).await < 80 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(broker.count(), 0);
    let highest = "select max(position) from outbox_parked";
    let highest: i64 = sqlx::query_scalar(highest)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert!(highest <= last_position(&mut admin).await);
    broker.take_all();
    let letters =
        DeadLetters::open(subject.platform(), "a test", RequestContext::system()).unwrap();
    for tenant in &tenants {
        letters
            .replay(tenant.tenant(), &DeadLetterFilter::default())
            .await
            .unwrap();
    }
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// The triggers were off and the ids are old ones here: before the first worker has saved a position nothing says that they
/// have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_with_old_transactions_leave_to_the_first_worker() {
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
    admin
        .execute("update outbox_messages set xid = '3'")
        .await
        .unwrap();
    write().await;
    let publisher = std::sync::Arc::new(broker.clone());
    let worker = OutboxWorker::start(subject.platform(), publisher, quick()).unwrap();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}
