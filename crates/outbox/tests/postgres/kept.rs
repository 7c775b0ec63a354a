//! Rows that stand though their messages have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Subject, quick, until};
use tenantry_outbox::{Message, OutboxStatus, OutboxWorker, Publisher, Stopped};
use tenantry_store::async_trait;

use crate::OnPostgres;

/// Takes its time for the messages of a tenant.
#[derive(Debug)]
struct Slow {
    tenant: TenantId,
    is_slow: Arc<AtomicBool>,
    broker: Broker,
}

#[async_trait]
impl Publisher for Slow {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        if messages[0].tenant() == self.tenant && self.is_slow.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.broker.publish(messages).await
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "slow"
    }
}

async fn rows_of(admin: &mut PgConnection, tenant: TenantId) -> i64 {
    sqlx::query_scalar("select count(*) from outbox_messages where tenant_id = $1")
        .bind(tenant.as_uuid())
        .fetch_one(admin)
        .await
        .unwrap()
}

/// Waits until the next two generations are not that of the minute for a while.
async fn early_in_a_minute(admin: &mut PgConnection) {
    let is_early = "select extract(epoch from now())::bigint % 60 < 30";
    while !sqlx::query_scalar::<_, bool>(is_early)
        .fetch_one(&mut *admin)
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until a tenant has no rows.
async fn until_gone(admin: &mut PgConnection, tenant: TenantId) {
    for _ in 0..4_000 {
        if rows_of(admin, tenant).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("rows that have left stand");
}

/// A backlog keeps the generations that it has rows in, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_left_is_removed_where_a_backlog_has_no_rows() {
    let subject = OnPostgres::open().await;
    let [flood, other] = [TenantId::generate(), TenantId::generate()];
    let is_empty = OutboxStatus::read(subject.platform()).await.unwrap();
    assert_eq!(is_empty.oldest_kept, None);
    let mut admin = subject.admin().await;
    early_in_a_minute(&mut admin).await;
    for (tenant, count, generation) in [(other, 10_i64, 1_i64), (flood, 2_000, 2)] {
        sqlx::query(
            "insert into outbox_messages (generation, tenant_id, id, partition_id, event_type, ordering_key, \
                 occurred_at, content_type, payload) \
             select (((extract(epoch from now())::bigint / 60) + $2) % 3)::smallint, $1, gen_random_uuid(), \
                 n % 64, 'suite.a', n::text, now(), 'text/plain', '' from generate_series(1, $3) n",
        )
        .bind(tenant.as_uuid())
        .bind(generation)
        .bind(count)
        .execute(&mut admin)
        .await
        .unwrap();
    }

    let broker = Broker::default();
    let is_slow = Arc::new(AtomicBool::new(true));
    let publisher = Arc::new(Slow {
        tenant: flood,
        is_slow: Arc::clone(&is_slow),
        broker: broker.clone(),
    });
    let settings = quick().with_batch(64).with_keys_in_flight(1);
    let worker = OutboxWorker::start(subject.platform(), publisher, settings).unwrap();
    until_gone(&mut admin, other).await;
    assert_eq!(rows_of(&mut admin, flood).await, 2_000);
    let stands = OutboxStatus::read(subject.platform()).await.unwrap();
    let of_other = |it: &&Message| it.tenant() == other;
    let last = broker
        .got()
        .iter()
        .filter(of_other)
        .map(Message::occurred_at)
        .max();
    assert!(stands.oldest_kept > last && last.is_some());
    assert!(stands.bytes > is_empty.bytes);

    is_slow.store(false, Ordering::Relaxed);
    until("those of the flood", || broker.count() >= 2_010).await;
    until_gone(&mut admin, flood).await;
    let status = OutboxStatus::read(subject.platform()).await.unwrap();
    assert_eq!(status.oldest_kept, None);
    assert!(status.bytes < stands.bytes);
    worker.stop().await.unwrap();
    assert_eq!(broker.count(), 2_010);
}
