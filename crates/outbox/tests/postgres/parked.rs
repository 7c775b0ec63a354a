//! The side table, where much stands in it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Answer, Broker, quick, until};
use tenantry_outbox::{
    FailurePolicy, NewMessage, Outbox, OutboxStatus, OutboxWorker, PublishErrorKind,
};

use crate::OnPostgres;

#[tokio::test]
async fn what_a_worker_changes_in_the_side_table_is_found_by_an_index() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let given_up = sqlx::query(
            "insert into outbox_parked (position, occurred_at, tenant_id, id, partition_id, event_type, \
                 ordering_key, content_type, payload, state, failed_at, reason, detail) \
             select n, now(), $1, gen_random_uuid(), n % 64, 'suite.a', 'key-' || n, 'text/plain', '', \
                 'blocked', 1, 'refused', 'no' from generate_series(1, 20000) n",
        );
        let given_up = given_up.bind(tenant.as_uuid()).execute(&mut admin);
        given_up.await.unwrap();
    }
    admin.execute("analyze outbox_parked").await.unwrap();
    for statement in [
        "update outbox_parked set attempts = 1 where position = 7",
        "delete from outbox_parked where position = any('{7,8}'::bigint[])",
        "select 1 from outbox_parked where state = 'waiting' and next_at <= 5 and partition_id = 3",
    ] {
        let explain = AssertSqlSafe(format!("explain {statement}"));
        let plan = admin.fetch_all(explain).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
        assert!(
            !plan.iter().any(|line| line.contains("Seq Scan")),
            "{plan:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_parked_while_the_clock_was_ahead_waits_no_longer_than_any_does() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    let outbox = Outbox::new(&subject.store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("suite.a", "a key");
        outbox.append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    }
    let broker = Broker::default();
    broker.answer(|_| Some(Answer::No(PublishErrorKind::Refused)));
    let minute = Duration::from_secs(60);
    let patient = FailurePolicy::default().with_waits(minute, minute);
    let settings = || quick().with_failure_policy(patient.clone());
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, settings()).unwrap();
    let is_so = |status: &OutboxStatus| status.waiting == 2;
    subject.becomes("they are not parked", is_so).await;
    worker.stop().await.unwrap();
    // What a clock would have made of it that was two hours ahead; and the broker is well again.
    admin
        .execute("update outbox_parked set next_at = next_at + 7200000")
        .await
        .unwrap();
    broker.take_all();
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, settings()).unwrap();
    until("both have left", || broker.count() == 2).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_many_messages_is_one_statement() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    let role = subject.platform_login.user();
    let counting = format!(
        "create sequence changes; grant usage on sequence changes to {role}; \
         create function count_changes() returns trigger language plpgsql as \
             'begin perform nextval(''changes''); return null; end'; \
         create trigger changes after update on outbox_parked \
             for each statement execute function count_changes()"
    );
    let counting = sqlx::raw_sql(AssertSqlSafe(counting));
    admin.execute(counting).await.unwrap();
    let outbox = Outbox::new(&subject.store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        for key in 0..50 {
            let message = NewMessage::new("suite.a", key.to_string());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    }
    let broker = Broker::default();
    broker.answer(|_| Some(Answer::No(PublishErrorKind::Poison)));
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, quick()).unwrap();
    let is_so = |status: &OutboxStatus| status.blocked == 100;
    subject.becomes("they are not given up", is_so).await;
    worker.stop().await.unwrap();
    let changes = admin
        .fetch_one("select last_value from changes")
        .await
        .unwrap();
    assert_eq!(changes.get::<i64, _>(0), 1);
}

/// Nobody has analysed the table, as after a restore or in a first flood: the server takes any list of positions for all of
/// it, and would look through it for each chunk of which something is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_park_a_few_looks_at_those_alone() {
    const ROWS: i64 = 30_000;
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    for generation in 0..3 {
        let sql =
            format!("alter table outbox_messages_{generation} set (autovacuum_enabled = false)");
        let sql = sqlx::AssertSqlSafe(sql);
        sqlx::query(sql).execute(&mut admin).await.unwrap();
    }
    let (refused, other) = (TenantId::generate(), TenantId::generate());
    let insert = "insert into outbox_messages (tenant_id, id, partition_id, event_type, ordering_key, occurred_at, \
         content_type, payload) \
         select case n % 4 when 0 then $1 else $2 end, gen_random_uuid(), n % 64, 'suite.a', n::text, now(), \
         'text/plain', repeat('x', 300)::bytea from generate_series(1, $3) n";
    sqlx::query(insert)
        .bind(refused.as_uuid())
        .bind(other.as_uuid())
        .bind(ROWS)
        .execute(&mut admin)
        .await
        .unwrap();
    let broker = Broker::default();
    broker.answer(move |message| {
        (message.tenant() == refused).then_some(Answer::No(PublishErrorKind::Refused))
    });
    let publisher = Arc::new(broker.clone());
    // A budget that does not end here.
    let policy = FailurePolicy::default()
        .with_attempts(u32::MAX)
        .with_waits(Duration::from_millis(5), Duration::from_millis(50));
    let settings = quick().with_failure_policy(policy);
    let worker = OutboxWorker::start(&subject.platform, publisher, settings).unwrap();
    let others = usize::try_from(ROWS - ROWS / 4).unwrap();
    until("the others have left", || broker.count() == others).await;
    broker.take_all();
    until("all have left", || {
        broker.count() == usize::try_from(ROWS).unwrap()
    })
    .await;
    worker.stop().await.unwrap();
    // What a connection has counted is told when it ends.
    let OnPostgres {
        store, platform, ..
    } = &subject;
    store.close().await;
    platform.close().await;
    let mut looked_through = 0;
    for _ in 0..20 {
        let read: i64 = sqlx::query_scalar(
            "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables \
             where relname like 'outbox\\_messages\\_%'",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        looked_through = looked_through.max(read);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        looked_through < ROWS,
        "{looked_through} rows were looked through"
    );
}

/// Of a key the first message is looked at, and no more behind it than may be handed over at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_much_in_the_side_table_is_not_looked_through_for_each_part_of_it() {
    const ROWS: usize = 40_000;
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    let outbox = Outbox::new(&subject.store);
    let refused = TenantId::generate();
    for tenant in [refused, TenantId::generate()] {
        for part in 0..ROWS / 2_000 {
            let work = subject.store.tenant(tenant).begin().await.unwrap();
            for number in 0..2_000 {
                let text = (part * 2_000 + number).to_string();
                let message = NewMessage::new("suite.a", "a key")
                    .with_payload("text/plain", text.into_bytes());
                outbox.append_message(&work, message).unwrap();
            }
            work.commit().await.unwrap();
        }
    }
    let broker = Broker::default();
    broker.answer(move |message| {
        (message.tenant() == refused).then_some(Answer::No(PublishErrorKind::Refused))
    });
    let policy = FailurePolicy::default()
        .with_attempts(u32::MAX)
        .with_waits(Duration::from_millis(5), Duration::from_millis(50));
    let settings = quick().with_failure_policy(policy);
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, settings).unwrap();
    until("those of the other have left", || broker.count() == ROWS).await;
    let is_so = |status: &OutboxStatus| status.waiting == ROWS as u64;
    subject.becomes("they are not parked", is_so).await;
    broker.take_all();
    until("all have left", || broker.count() == 2 * ROWS).await;
    worker.stop().await.unwrap();
    let got = broker.got();
    let theirs = got.iter().filter(|it| it.tenant() == refused);
    let payloads = theirs.map(|it| String::from_utf8(it.payload().to_vec()).unwrap());
    let expected = (0..ROWS).map(|number| number.to_string());
    assert!(payloads.eq(expected), "they are in another order");
    // What a connection has counted is told when it ends.
    let OnPostgres {
        store, platform, ..
    } = &subject;
    store.close().await;
    platform.close().await;
    let mut looks = 0;
    for _ in 0..20 {
        let counted: i64 = sqlx::query_scalar(
            "select idx_scan from pg_stat_user_tables where relname = 'outbox_parked'",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        looks = looks.max(usize::try_from(counted).unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(looks < 10 * ROWS, "{looks} looks into the side table");
}
