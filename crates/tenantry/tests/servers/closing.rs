use std::time::Duration;

use tenantry::core::TenantId;
use tenantry::outbox::{NewMessage, WorkerSettings};
use tenantry::prelude::*;
use tenantry::{Storage, StoragePart};
use tenantry_testkit::NatsServer;

use super::world::{Invoice, World, subjects};

const MESSAGES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_what_it_has_begun_and_another_goes_on_at_once() {
    let world = World::new().await;
    let nats = NatsServer::start().await.unwrap();
    let sections = format!("{}{}", world.databases(), world.broker(&nats).await);
    let settings = world.settings(&sections);
    // Longer than the test may take: what is not given back is not taken over.
    let worker = || WorkerSettings::default().with_lease(Duration::from_secs(600));

    let first = Storage::open(&settings).await.unwrap();
    first.start_worker(worker()).unwrap();
    let tenant = TenantId::generate();
    for number in 0..MESSAGES {
        let work = first.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("billing.invoice.paid", (number % 7).to_string());
        first.outbox().append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    }
    let report = first.shutdown(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        first.start_worker(worker()).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let refused = first.tenant(tenant).repository::<Invoice>();
    let refused = refused.get(uuid::Uuid::now_v7()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let health = first.health().await;
    assert!(!health.is_ready() && health.is_alive(), "{health}");

    let second = Storage::open(&settings).await.unwrap();
    second.start_worker(worker()).unwrap();
    while subjects(&nats).await.len() < MESSAGES {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // JetStream tells apart what was handed over twice; nothing was beside what was appended.
    assert_eq!(subjects(&nats).await.len(), MESSAGES);
    assert!(second.shutdown(Duration::from_secs(30)).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_half_way_is_told() {
    let world = World::new().await;
    let nats = NatsServer::start().await.unwrap();
    let sections = format!("{}{}", world.databases(), world.broker(&nats).await);
    let storage = Storage::open(&world.settings(&sections)).await.unwrap();
    let tenant = storage.tenant(TenantId::generate());
    let work = tenant.begin().await.unwrap();
    work.repository::<Invoice>()
        .insert(&mut Invoice::of("Ada"))
        .await
        .unwrap();

    let report = storage.shutdown(Duration::from_millis(100)).await;
    let parts: Vec<_> = report.unfinished().iter().map(|it| it.part).collect();
    assert_eq!(parts, [StoragePart::Database], "{report}");
    assert!(report.to_string().contains("units of work"), "{report}");

    // It goes on to its end all the same.
    work.commit().await.unwrap();
    let report = storage.shutdown(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{report}");
}
