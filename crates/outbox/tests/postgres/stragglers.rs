//! Transactions that commit late, those that stay open, and what is removed meanwhile.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _, Row as _};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Answer, Broker, Ledger, Subject, quick, until};
use tenantry_outbox::{Outbox, OutboxWorker, PublishErrorKind};
use uuid::Uuid;

use crate::OnPostgres;

fn start(subject: &OnPostgres, broker: &Broker, outbox: &Outbox) -> OutboxWorker {
    let settings = quick().with_outbox(outbox).with_batch(100);
    OutboxWorker::start(
        subject.platform(),
        std::sync::Arc::new(broker.clone()),
        settings,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_commits_late_is_neither_lost_nor_waited_for() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let worker = start(&subject, &broker, &outbox);
    let tenants = [TenantId::generate(), TenantId::generate()].map(|it| subject.store.tenant(it));

    // Rows with numbers and transaction ids of long ago, behind everybody's back until the end.
    let mut late = subject.admin().await;
    let mut late = late.begin().await.unwrap();
    for tenant in &tenants {
        let insert = "insert into outbox_messages (tenant_id, id, partition_id, event_type, \
            ordering_key, occurred_at, content_type, payload) \
            values ($1, $2, 7, 'a', 'late', now(), 'a/b', '')";
        let id = Uuid::now_v7();
        sqlx::query(insert)
            .bind(tenant.tenant().as_uuid())
            .bind(id)
            .execute(&mut *late)
            .await
            .unwrap();
        let id = tenantry_outbox::MessageId::new(id);
        ledger.commits(tenant.tenant(), id, "late".to_owned(), 1);
    }
    // One that holds a snapshot and the horizon of the whole database.
    let mut holder = subject.admin().await;
    let mut holder = holder
        .begin_with("begin isolation level repeatable read; select pg_current_xact_id()")
        .await
        .unwrap();

    let accounts: Vec<_> = (0..8).map(|_| Uuid::now_v7()).collect();
    for _ in 0..50 {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
    }
    // All others have left, though the two are open.
    until("all others have left", || {
        broker.count() == 50 * 2 * accounts.len()
    })
    .await;
    assert!(broker.got().iter().all(|message| message.key() != "late"));
    late.commit().await.unwrap();
    until("the late ones have left", || {
        ledger.is_empty_after(&broker.got())
    })
    .await;
    holder.execute("select 1").await.unwrap();
    drop(holder);
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// A snapshot ends at the last transaction that has ended: it does not tell that one behind it is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_snapshot_does_not_name_is_not_lost() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let broker = Broker::default();
    let worker = start(&subject, &broker, &outbox);
    // Its claim is made and merged: nobody else ends a transaction in between for long.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tenants = [TenantId::generate(), TenantId::generate()];
    let insert = "insert into outbox_messages (tenant_id, id, partition_id, event_type, ordering_key, \
        occurred_at, content_type, payload) values ($1, $2, 9, 'a', 'k', now(), 'a/b', '')";
    let (mut first, mut second) = (subject.admin().await, subject.admin().await);
    for round in 1..=10 {
        // The older id has the higher number, and ends first.
        let mut older = first.begin().await.unwrap();
        older.execute("select pg_current_xact_id()").await.unwrap();
        let mut younger = second.begin().await.unwrap();
        for (tx, tenant) in [(&mut younger, tenants[0]), (&mut older, tenants[1])] {
            let insert = sqlx::query(insert)
                .bind(tenant.as_uuid())
                .bind(Uuid::now_v7());
            insert.execute(&mut **tx).await.unwrap();
        }
        // It ends after the worker has taken its snapshot, and before it takes the next one.
        let was_asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asked = std::sync::Arc::clone(&was_asked);
        broker.answer(move |_| {
            asked.store(true, std::sync::atomic::Ordering::Relaxed);
            Some(Answer::No(PublishErrorKind::Unavailable))
        });
        older.commit().await.unwrap();
        until("the older one is read", || {
            was_asked.load(std::sync::atomic::Ordering::Relaxed)
        })
        .await;
        younger.commit().await.unwrap();
        broker.take_all();
        until("the younger one has left", || broker.count() == 2 * round).await;
    }
    worker.stop().await.unwrap();
}

/// Counts rows and dead rows of the messages.
async fn rows(subject: &OnPostgres) -> (i64, i64) {
    let mut admin = subject.admin().await;
    let counted = "select (select count(*) from outbox_messages), \
        (select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_all_tables where relname like 'outbox\\_messages\\__')";
    let row = admin.fetch_one(counted).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_is_emptied_when_all_of_it_has_left_and_not_before() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let tenants = [TenantId::generate(), TenantId::generate()].map(|it| subject.store.tenant(it));
    let accounts: Vec<_> = (0..20).map(|_| Uuid::now_v7()).collect();
    for tenant in &tenants {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    // Nothing is written to the generations of the rows any more.
    let mut admin = subject.admin().await;
    let moved = "update outbox_messages set generation = \
        (((extract(epoch from now())::bigint / 60) + 2) % 3)::smallint";
    admin.execute(moved).await.unwrap();

    // A row of an open transaction keeps its generation.
    let mut open = subject.admin().await;
    let mut open = open.begin().await.unwrap();
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into outbox_messages (generation, tenant_id, id, partition_id, event_type, \
            ordering_key, occurred_at, content_type, payload) \
            select generation, tenant_id, $1, 3, 'a', 'open', now(), 'a/b', '' \
            from outbox_messages limit 1",
    )
    .bind(id)
    .execute(&mut *open)
    .await
    .unwrap();

    let worker = start(&subject, &broker, &outbox);
    until("all have left", || broker.count() == 40).await;
    // Longer than between two looks.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(rows(&subject).await.0, 40);
    open.commit().await.unwrap();
    until("the late one has left", || broker.count() == 41).await;
    for _ in 0..100 {
        if rows(&subject).await.0 == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(rows(&subject).await.0, 0);

    // And it goes on as before.
    for tenant in &tenants {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    let outcome = ledger.compare(&broker.got());
    assert_eq!(
        (outcome.lost, outcome.reordered, outcome.duplicates),
        (0, 0, 0)
    );
}
