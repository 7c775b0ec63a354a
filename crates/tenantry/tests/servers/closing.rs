use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream;
use tenantry::core::TenantId;
use tenantry::outbox::{
    Consumer, ConsumerSettings, HandlerError, Message, MessageHandler, NatsSource, NewMessage,
    WorkerSettings,
};
use tenantry::prelude::*;
use tenantry::store::async_trait;
use tenantry::{Storage, StoragePart};
use tenantry_testkit::NatsServer;
use tokio::sync::mpsc;

use super::world::{Invoice, STREAM, World, connection_of, jetstream_of, subjects};

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

/// Tells whom it has handled.
#[derive(Debug)]
struct Tells(mpsc::UnboundedSender<TenantId>);

#[async_trait]
impl MessageHandler for Tells {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        assert_eq!(work.tenant(), message.tenant());
        let _ = self.0.send(message.tenant());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_kept_ends_with_the_storage() {
    let world = World::new().await;
    let nats = NatsServer::start().await.unwrap();
    let sections = format!("{}{}", world.databases(), world.broker(&nats).await);
    let dead = stream::Config {
        name: "DEAD".to_owned(),
        subjects: vec!["dead.>".to_owned()],
        ..stream::Config::default()
    };
    jetstream_of(&nats).await.create_stream(dead).await.unwrap();
    let storage = Storage::open(&world.settings(&sections)).await.unwrap();
    storage.start_worker(WorkerSettings::default()).unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = Arc::new(Tells(tell));
    let start = async || {
        let source = NatsSource::new(connection_of(&nats), STREAM, "dead.receipts");
        let settings = ConsumerSettings::new("receipts");
        let handler = Arc::<Tells>::clone(&handler);
        Consumer::start_nats(storage.tenant_store(), source, handler, settings).await
    };
    storage.keep_consumer(start().await.unwrap()).unwrap();
    let health = storage.health().await;
    let part = health.parts().last().unwrap();
    assert_eq!(
        (part.part, &*part.name),
        (StoragePart::Consumer, "receipts")
    );
    assert!(part.system == "nats" && health.is_healthy(), "{health}");
    let mut expected = [TenantId::generate(), TenantId::generate()];
    for tenant in expected {
        let work = storage.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("billing.invoice.paid", "7");
        storage.outbox().append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    }
    let mut handled = [told.recv().await.unwrap(), told.recv().await.unwrap()];
    expected.sort_unstable();
    handled.sort_unstable();
    assert_eq!(handled, expected);

    let late = start().await.unwrap();
    let report = storage.shutdown(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{report}");
    let health = storage.health().await;
    assert!(!health.is_ready() && health.is_alive(), "{health}");
    let refused = storage.keep_consumer(late).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("receipts"), "{refused}");
}
