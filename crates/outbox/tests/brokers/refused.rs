//! What publishers do not hand over, to whichever broker.

use std::time::Duration;

use async_nats::jetstream::stream;
use lapin::options::QueueDeleteOptions;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::RealBroker;
use tenantry_outbox::{
    Message, NewMessage, PublishErrorKind, PublishReason, Publisher, RabbitMqPublisher,
    RabbitMqSettings,
};

use crate::nats::{OnNats, good, jetstream_of};
use crate::rabbitmq::{self, EXCHANGE, OnRabbitMq, QUEUE, channel, connection};
use crate::redis_streams::OnRedis;

fn message(content_type: &'static str) -> Message {
    let content = NewMessage::new("suite.number", "key")
        .with_payload(content_type, "1".into())
        .with_occurred_at(chrono::DateTime::from_timestamp(5, 0).unwrap());
    Message::new(TenantId::generate(), content)
}

/// Publishes until that is refused, over a connection that stands.
async fn until_unsafe(publisher: &dyn Publisher) {
    for _ in 0..200 {
        if let Err(stopped) = publisher.publish(&[message("text/plain")]).await {
            assert_eq!(
                stopped.error.reason(),
                Some(PublishReason::DestinationUnsafe),
                "{stopped:?}"
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("it is published to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_nats_that_turns_unsafe_takes_nothing_more() {
    let broker = OnNats::open().await;
    let publisher = broker.publisher();
    publisher.publish(&[message("text/plain")]).await.unwrap();
    let context = jetstream_of(broker.server.url()).await;
    let discards = stream::Config {
        max_messages: 1,
        discard: stream::DiscardPolicy::Old,
        ..good()
    };
    context.update_stream(discards).await.unwrap();
    until_unsafe(&*publisher).await;
    context.update_stream(good()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    publisher.publish(&[message("text/plain")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_rabbitmq_that_turns_unsafe_takes_nothing_more() {
    let broker = OnRabbitMq::open().await;
    let settings = RabbitMqSettings::new(connection(broker.server.url()), EXCHANGE, "/s");
    let settings = settings.with_queue(QUEUE);
    let publisher = RabbitMqPublisher::connect(settings).await.unwrap();
    publisher.publish(&[message("text/plain")]).await.unwrap();
    let administrator = channel(broker.server.url()).await;
    administrator
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    rabbitmq::make(&administrator, QUEUE, false).await;
    until_unsafe(&publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_turns_unsafe_takes_nothing_more() {
    let broker = OnRedis::open().await;
    let publisher = broker.publisher();
    publisher.publish(&[message("text/plain")]).await.unwrap();
    let forgets = ["config", "set", "maxmemory-policy", "allkeys-lru"];
    broker.server.execute(&forgets).await.unwrap();
    until_unsafe(&*publisher).await;
}

/// Neither does a broker have what a message says of itself in its payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_would_be_read_as_an_event_is_poison() {
    let (nats, rabbitmq, redis) = tokio::join!(OnNats::open(), OnRabbitMq::open(), OnRedis::open());
    let brokers: [&dyn RealBroker; 3] = [&nats, &rabbitmq, &redis];
    for broker in brokers {
        let before = message("text/plain");
        for content_type in [
            "application/cloudevents+json",
            " Application/CloudEvents-batch+json; charset=UTF-8",
        ] {
            let sent = [before.clone(), message(content_type)];
            let stopped = broker.publisher().publish(&sent).await.unwrap_err();
            assert_eq!(stopped.acknowledged, 1);
            assert_eq!(stopped.error.kind(), PublishErrorKind::Poison);
            assert_eq!(stopped.error.reason(), Some(PublishReason::Unwritable));
        }
        assert!(broker.got().await.contains(&before));
    }
}
