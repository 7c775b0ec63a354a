use std::time::Duration;

use tenantry::core::TenantId;
use tenantry::outbox::{NewMessage, WorkerSettings};
use tenantry::{ErrorKind, Storage, StoragePart};
use tenantry_testkit::{RabbitMqServer, RedisOptions, RedisServer};

use super::world::World;

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_redis_gets_what_was_committed() {
    let world = World::new().await;
    let options = RedisOptions::default()
        .with_setting("appendonly", "yes")
        .with_setting("appendfsync", "always");
    let server = RedisServer::start_with(options).await.unwrap();
    let make = ["xgroup", "create", "events", "ledger", "0", "mkstream"];
    server.execute(&make).await.unwrap();
    let broker = world.broker_at(
        "redis",
        server.url(),
        &server.address(),
        "stream = \"events\"",
    );
    let settings = world.settings(&format!("{}{broker}", world.databases()));

    let storage = Storage::open(&settings).await.unwrap();
    storage.start_worker(WorkerSettings::default()).unwrap();
    let health = storage.health_within(LIMIT).await;
    assert!(health.is_healthy(), "{health}");
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = storage.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("billing.invoice.paid", "7");
        storage.outbox().append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    }
    while server.ask(&["xlen", "events"]).await.unwrap() != "2" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(storage.shutdown(LIMIT).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_of_rabbitmq_is_looked_for() {
    let world = World::new().await;
    let server = RabbitMqServer::start().await.unwrap();
    // One that each server has, durable and of the type `topic`.
    for (exchange, trouble) in [
        ("amq.topic", None),
        ("nowhere", Some(ErrorKind::InvalidSettings)),
    ] {
        let exchange = format!("exchange = \"{exchange}\"");
        let broker = world.broker_at("amqp", server.url(), &server.address(), &exchange);
        let settings = world.settings(&format!("{}{broker}", world.databases()));
        let storage = Storage::open(&settings).await.unwrap();
        let health = storage.health_within(LIMIT).await;
        let part = health.parts().last().unwrap();
        assert_eq!((part.part, part.system), (StoragePart::Broker, "rabbitmq"));
        let kind = part.error.as_ref().map(tenantry::Error::kind);
        assert_eq!(kind, trouble, "{health}");
        assert!(health.is_ready(), "{health}");
        storage.close().await;
    }
}
