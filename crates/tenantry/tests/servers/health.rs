use std::time::Duration;

use tenantry::{ErrorKind, Health, Storage, StoragePart};
use tenantry_testkit::{
    DelayProxy, NatsServer, PostgresServer, ProxyOptions, RedisServer, StopMode,
};

use super::world::World;

/// More than a part needs that answers, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(5);

fn broken(health: &Health) -> Vec<StoragePart> {
    let parts = health.parts().iter();
    parts
        .filter(|it| it.error.is_some())
        .map(|it| it.part)
        .collect()
}

/// Waits until all answer: after a failure a part is tried again a moment later.
async fn until_healthy(storage: &Storage) {
    while !storage.health_within(LIMIT).await.is_healthy() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_at_open_is_an_error() {
    let mut world = World::new().await;
    let address = PostgresServer::shared().await.unwrap().address();
    let proxy = DelayProxy::start(&address, ProxyOptions::default())
        .await
        .unwrap();
    world.through(proxy.address());
    proxy.refuse();
    let settings = world.settings(&world.databases());
    let error = Storage::open(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!format!("{error} {error:?}").contains(world.app.password()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_without_redis_and_broker_and_tells_of_them() {
    let world = World::new().await;
    let (redis, nats) = (
        RedisServer::start().await.unwrap(),
        NatsServer::start().await.unwrap(),
    );
    let settings = world.settings(&format!(
        "{}{}{}",
        world.databases(),
        world.cache(&redis, &redis.address()),
        world.broker(&nats).await,
    ));
    redis.stop(StopMode::Immediate).await.unwrap();
    nats.stop(StopMode::Immediate).await.unwrap();
    let storage = Storage::open(&settings).await.unwrap();
    let health = storage.health_within(LIMIT).await;
    assert_eq!(
        broken(&health),
        [StoragePart::Cache, StoragePart::Broker],
        "{health}"
    );
    assert!(
        health.is_ready() && health.is_alive() && !health.is_healthy(),
        "{health}"
    );
    assert!(!health.is_ready_with(&[StoragePart::Cache]));
    let json: serde_json::Value = serde_json::from_str(&health.to_json()).unwrap();
    assert_eq!(json["parts"][2]["kind"], "unavailable", "{json}");

    redis.restart().await.unwrap();
    nats.restart().await.unwrap();
    until_healthy(&storage).await;
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_say_nothing_are_told_of_within_the_limit_and_at_once() {
    let mut world = World::new().await;
    let address = PostgresServer::shared().await.unwrap().address();
    let proxy = DelayProxy::start(&address, ProxyOptions::default())
        .await
        .unwrap();
    world.through(proxy.address());
    let (redis, nats) = (
        RedisServer::start().await.unwrap(),
        NatsServer::start().await.unwrap(),
    );
    let settings = world.settings(&format!(
        "{}{}{}",
        world.databases(),
        world.cache(&redis, &redis.address()),
        world.broker(&nats).await,
    ));
    let storage = Storage::open(&settings).await.unwrap();
    let health = storage.health_within(LIMIT).await;
    assert!(health.is_healthy(), "{health}");

    proxy.pause();
    redis.pause().await.unwrap();
    nats.pause().await.unwrap();
    let limit = Duration::from_millis(300);
    let health = storage.health_within(limit).await;
    assert_eq!(
        broken(&health),
        [
            StoragePart::Database,
            StoragePart::Platform,
            StoragePart::Cache,
            StoragePart::Broker
        ],
        "{health}"
    );
    assert!(!health.is_ready() && health.is_alive(), "{health}");
    assert!(health.parts().iter().all(|it| it.took >= limit), "{health}");

    proxy.resume();
    redis.resume().await.unwrap();
    nats.resume().await.unwrap();
    until_healthy(&storage).await;
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_removed_is_told() {
    let world = World::new().await;
    let nats = NatsServer::start().await.unwrap();
    let sections = format!("{}{}", world.databases(), world.broker(&nats).await);
    let storage = Storage::open(&world.settings(&sections)).await.unwrap();
    assert!(storage.health_within(LIMIT).await.is_healthy());
    let context = super::world::jetstream_of(&nats).await;
    context.delete_stream(super::world::STREAM).await.unwrap();
    let health = storage.health_within(LIMIT).await;
    assert_eq!(broken(&health), [StoragePart::Broker]);
    let error = health.parts()[2].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    storage.close().await;
}
