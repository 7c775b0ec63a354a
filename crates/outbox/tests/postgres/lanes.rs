//! How far a tenant with a backlog is said to be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Subject, quick, until};
use tenantry_outbox::{Message, OutboxWorker, Publisher, Stopped};
use tenantry_store::async_trait;

use crate::OnPostgres;

const ROWS: i64 = 3_000;

/// Takes its time.
#[derive(Debug)]
struct Slow(Broker, Duration);

#[async_trait]
impl Publisher for Slow {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        tokio::time::sleep(self.1).await;
        self.0.publish(messages).await
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "slow"
    }
}

async fn append(admin: &mut PgConnection, tenant: TenantId, rows: i64) {
    sqlx::query(
        "insert into outbox_messages (tenant_id, id, partition_id, event_type, ordering_key, \
             occurred_at, content_type, payload) \
         select $1, gen_random_uuid(), n % 64, 'suite.a', (n % 8)::text, now(), 'text/plain', '' \
         from generate_series(1, $2) n",
    )
    .bind(tenant.as_uuid())
    .bind(rows)
    .execute(admin)
    .await
    .unwrap();
}

/// Returns the positions of all, the one of the others first and then those of lanes.
async fn positions(admin: &mut PgConnection) -> Vec<String> {
    let text: String = sqlx::query_scalar(
        "select coalesce(max(coalesce(p.position, c.position)), '') from outbox_partitions p \
         left join outbox_claims c on c.token = p.token",
    )
    .fetch_one(admin)
    .await
    .unwrap();
    text.split('~').map(str::to_owned).collect()
}

/// Returns the highest position that is said to be shown by the snapshot before.
fn floor_of(position: &str) -> i64 {
    position.split('|').nth(3).unwrap().parse().unwrap()
}

/// What a worker left half read, the next one reads to the end that it had: not past it, where the rows of others' snapshots
/// are, which would then lie below and be looked for one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_ends_where_its_snapshot_does() {
    let subject = OnPostgres::open().await;
    let tenant = TenantId::generate();
    let mut admin = subject.admin().await;
    append(&mut admin, tenant, ROWS).await;
    let settings = || quick().with_batch(64);
    let broker = Broker::default();
    let slow = Slow(broker.clone(), Duration::from_millis(20));
    let worker = OutboxWorker::start(subject.platform(), Arc::new(slow), settings()).unwrap();
    loop {
        let positions = positions(&mut admin).await;
        if positions.len() == 2 && floor_of(&positions[0]) == ROWS {
            break;
        }
        assert!(broker.count() < 3_000, "it has no lane: {positions:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.stop().await.unwrap();
    assert!(broker.count() < 3_000, "nothing is left half read");

    append(&mut admin, tenant, ROWS).await;
    let slow = Slow(broker.clone(), Duration::from_millis(2));
    let worker = OutboxWorker::start(subject.platform(), Arc::new(slow), settings()).unwrap();
    let mut floors = BTreeSet::new();
    while broker.count() < 6_000 {
        let positions = positions(&mut admin).await;
        floors.extend(
            positions
                .iter()
                .filter(|it| !it.is_empty())
                .map(|it| floor_of(it)),
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let expected = BTreeSet::from([0, ROWS, 2 * ROWS]);
    assert!(floors.is_subset(&expected), "{floors:?}");
    assert!(floors.contains(&ROWS));
    worker.stop().await.unwrap();
    until("all of them, once", || broker.count() == 6_000).await;
}

/// Who had a good part of a chunk once does not stand behind all that another has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_little_in_a_lane_does_not_wait_for_a_flood() {
    let subject = OnPostgres::open().await;
    let [some, flood] = [TenantId::generate(), TenantId::generate()];
    let mut admin = subject.admin().await;
    append(&mut admin, some, 300).await;
    append(&mut admin, flood, 60_000).await;
    append(&mut admin, some, 1).await;
    let broker = Broker::default();
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(subject.platform(), publisher, quick()).unwrap();
    until("all have left", || broker.count() >= 60_301).await;
    worker.stop().await.unwrap();
    let got = broker.got();
    let last = got.iter().rposition(|it| it.tenant() == some).unwrap();
    let before = got[..last].iter().filter(|it| it.tenant() == flood).count();
    assert!(before < 20_000, "{before} of the flood left before");
}
