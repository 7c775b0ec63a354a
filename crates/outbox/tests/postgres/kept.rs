//! Rows that stand though their messages have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Executor as _, PgConnection};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Subject, quick, until};
use tenantry_outbox::{
    Message, NewMessage, Outbox, OutboxStatus, OutboxWorker, Publisher, Stopped,
};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_since_when_a_backlog_keeps_what_has_left() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let [flood, other] = [TenantId::generate(), TenantId::generate()];
    let is_empty = OutboxStatus::read(subject.platform()).await.unwrap();
    assert_eq!(is_empty.oldest_kept, None);
    for (tenant, count) in [(other, 10), (flood, 1_000)] {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        for number in 0..count {
            let message = NewMessage::new("suite.a", number.to_string());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    }
    // Of the minute before, without waiting for it.
    let mut admin = subject.admin().await;
    let before = "update outbox_messages \
        set generation = (((extract(epoch from now())::bigint / 60) + 2) % 3)::smallint";
    admin.execute(before).await.unwrap();

    let broker = Broker::default();
    let is_slow = Arc::new(AtomicBool::new(true));
    let publisher = Arc::new(Slow {
        tenant: flood,
        is_slow: Arc::clone(&is_slow),
        broker: broker.clone(),
    });
    let settings = quick().with_batch(64).with_keys_in_flight(1);
    let worker = OutboxWorker::start(subject.platform(), publisher, settings).unwrap();
    let of_other = || {
        let got = broker.got();
        got.iter().filter(|it| it.tenant() == other).count()
    };
    until("those of the other", || of_other() == 10).await;
    let stands = OutboxStatus::read(subject.platform()).await.unwrap();
    assert_eq!(rows_of(&mut admin, other).await, 10);
    let oldest = broker.got().into_iter().find(|it| it.tenant() == other);
    assert_eq!(stands.oldest_kept, oldest.map(|it| it.occurred_at()));
    assert!(stands.bytes > is_empty.bytes);

    is_slow.store(false, Ordering::Relaxed);
    until("those of the flood", || broker.count() >= 1_010).await;
    let mut status = stands.clone();
    for _ in 0..3_000 {
        status = OutboxStatus::read(subject.platform()).await.unwrap();
        if status.oldest_kept.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status.oldest_kept, None);
    assert!(status.bytes < stands.bytes);
    worker.stop().await.unwrap();
}
