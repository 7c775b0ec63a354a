//! Rows that somebody wrote by hand, and nobody can read.

use std::sync::Arc;

use sqlx::{Executor as _, PgConnection};
use tenantry_core::{RequestContext, TenantId};
use tenantry_outbox::conformance::{Broker, quick, until};
use tenantry_outbox::{
    DeadLetterFilter, DeadLetters, NewMessage, Outbox, OutboxStatus, OutboxWorker,
};

use crate::OnPostgres;

/// Times that the server knows and no worker can read.
const TIMES: [&str; 3] = ["infinity", "-infinity", "294276-12-31 00:00:00+00"];

async fn insert(
    admin: &mut PgConnection,
    tenant: TenantId,
    occurred_at: &str,
) -> Result<(), sqlx::Error> {
    let inserted = sqlx::query(
        "insert into outbox_messages (tenant_id, id, partition_id, event_type, ordering_key, occurred_at, \
             content_type, payload) \
         values ($1, gen_random_uuid(), 3, 'suite.a', 'k', $2::text::timestamptz, 'text/plain', '')",
    )
    .bind(tenant.as_uuid())
    .bind(occurred_at)
    .execute(admin);
    inserted.await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_no_worker_can_read_is_refused() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    for tenant in [TenantId::generate(), TenantId::generate()] {
        for time in TIMES {
            let refused = insert(&mut admin, tenant, time).await.unwrap_err();
            let code = refused
                .as_database_error()
                .and_then(|error| error.code())
                .unwrap()
                .into_owned();
            assert_eq!(code, "23514", "{time}");
        }
        // The first and the last that `append` takes.
        for time in ["0001-01-01 00:00:00+00 BC", "9999-12-31 23:59:59.999999+00"] {
            insert(&mut admin, tenant, time).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_holds_up_its_key_alone() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    // As a table of somebody who has made it otherwise.
    admin
        .execute("alter table outbox_messages drop constraint outbox_messages_time")
        .await
        .unwrap();
    let outbox = Outbox::new(&subject.store);
    let [bad, good] = [TenantId::generate(), TenantId::generate()];
    let append = async |tenant: TenantId, key: &str| {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("suite.a", key);
        outbox.append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    };
    append(bad, "k").await;
    for time in TIMES {
        append(bad, "k").await;
        let last = sqlx::query(
            "update outbox_messages set occurred_at = $1::text::timestamptz \
             where position = (select max(position) from outbox_messages)",
        );
        last.bind(time).execute(&mut admin).await.unwrap();
    }
    for (tenant, key) in [(bad, "k"), (bad, "other"), (good, "k")] {
        append(tenant, key).await;
    }
    let broker = Broker::default();
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, quick()).unwrap();
    until("all that can have left", || broker.count() == 3).await;
    append(good, "k").await;
    until("the other goes on", || broker.count() == 4).await;

    let letters = DeadLetters::open(&subject.platform, "a test", RequestContext::system()).unwrap();
    let all = DeadLetterFilter::default();
    let blocked = async || {
        let status = OutboxStatus::read(&subject.platform).await.unwrap();
        (status.blocked, status.waiting)
    };
    let are_blocked = async || {
        let mut tries = 0;
        while blocked().await != (3, 1) {
            tries += 1;
            assert!(tries < 3_000, "{:?}", blocked().await);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    are_blocked().await;
    let listed = letters.list(&all, 100).await.unwrap();
    assert_eq!(listed.len(), 3);
    for letter in listed {
        assert_eq!((letter.tenant, &*letter.key), (bad, "k"));
        let whole = letters.get(bad, letter.id).await.unwrap();
        assert_eq!(whole.occurred_at(), letter.occurred_at);
        assert_eq!((&*letter.reason, letter.is_blocking), ("unreadable", true));
    }
    // It is no better for being tried again.
    assert_eq!(letters.replay(bad, &all).await.unwrap(), 3);
    are_blocked().await;
    assert_eq!(broker.count(), 4);
    assert_eq!(letters.discard(bad, &all).await.unwrap(), 3);
    until("what stood behind has left", || broker.count() == 5).await;
    worker.stop().await.unwrap();
}
