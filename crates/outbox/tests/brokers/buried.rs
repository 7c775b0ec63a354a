//! What a consumer gives up is buried, whatever stands in the way for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{
    BasicPublishOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{RealBroker as _, Subject as _, until};
use tenantry_outbox::{
    Consumer, ConsumerSettings, HandlerError, Message, MessageHandler, NewMessage, RabbitMqSource,
    Routes,
};
use tenantry_store::{UnitOfWork, async_trait};

use crate::consumer::{Consumed, Effects, settings};
use crate::nats::OnNats;
use crate::rabbitmq::{EXCHANGE, GRAVES, OnRabbitMq, channel, connection, make_graves};
use crate::subject::OnPostgres;

fn message(tenant: TenantId, key: &str, payload: Vec<u8>) -> Message {
    let content = NewMessage::new("suite.number", key).with_payload("text/plain", payload);
    Message::new(tenant, content)
}

fn effects() -> (Arc<Effects>, Arc<dyn MessageHandler>) {
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    (effects, handler)
}

async fn until_buried(broker: &dyn Consumed, count: usize) {
    for _ in 0..600 {
        if broker.dead().await.len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} are not buried: {:?}", broker.dead().await);
}

/// What is published to an exchange that is not there closes the channel, which all of a consumer use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_of_dead_letters_that_was_gone_takes_them_when_it_is_back() {
    let (broker, subject) = (OnRabbitMq::open().await, OnPostgres::open().await);
    let (effects, handler) = effects();
    let _consumer = broker.consumer(&subject, handler, settings()).await;
    let tenants = [TenantId::generate(), TenantId::generate()];
    let administrator = channel(broker.server.url()).await;
    administrator
        .exchange_delete(GRAVES.into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    let publisher = broker.publisher();
    let [first, second] = tenants.map(|tenant| message(tenant, "poison", b"poison".to_vec()));
    publisher.publish(&[first]).await.unwrap();
    // Nobody else waits for it meanwhile.
    let other = message(tenants[1], "other", b"1".to_vec());
    publisher.publish(&[other]).await.unwrap();
    until("the other key", || effects.count() == 1).await;
    make_graves(&administrator).await;
    publisher.publish(&[second]).await.unwrap();
    until_buried(&broker, 2).await;
}

/// With its own time to live a dead letter would be gone before anybody has looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_outlives_the_time_that_its_sender_gave_it() {
    let (broker, subject) = (OnRabbitMq::open().await, OnPostgres::open().await);
    let _consumer = broker.consumer(&subject, effects().1, settings()).await;
    let sender = channel(broker.server.url()).await;
    let properties = BasicProperties::default().with_expiration("1500".into());
    let options = BasicPublishOptions::default();
    let route = "events.nobody";
    let sent = sender.basic_publish(EXCHANGE.into(), route.into(), options, b"junk", properties);
    sent.await.unwrap();
    until_buried(&broker, 1).await;
    // The server takes it away on the second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(broker.dead().await.len(), 1);
}

/// As a dead letter it is larger than it was, and the server takes no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_as_large_as_the_server_takes_is_buried() {
    let (broker, subject) = (OnNats::open().await, OnPostgres::open().await);
    let (effects, handler) = effects();
    let _consumer = broker.consumer(&subject, handler, settings()).await;
    let publisher = broker.publisher();
    for tenant in [TenantId::generate(), TenantId::generate()] {
        // With its headers it fits at some length; the handler takes the reason for poison from the payload.
        let fits = async |length: usize| {
            let mut payload = b"poison".to_vec();
            payload.resize(length, b' ');
            publisher
                .publish(&[message(tenant, "k", payload)])
                .await
                .is_ok()
        };
        let mut length = broker.too_large();
        while !fits(length).await {
            length -= 8;
        }
        publisher
            .publish(&[message(tenant, "k", b"1".to_vec())])
            .await
            .unwrap();
    }
    until("what stands behind them", || effects.count() == 2).await;
    until_buried(&broker, 2).await;
}

/// What says `ends` stands for a message that ends its process: nobody hears of it again.
#[derive(Default)]
struct Ends {
    begun: AtomicUsize,
    handled: AtomicUsize,
}

#[async_trait]
impl MessageHandler for Ends {
    async fn handle(&self, _: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        if message.payload() == b"ends" {
            self.begun.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        // Not done before the other has ended the process.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// On a queue that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_its_process_is_found_and_takes_no_other_with_it() {
    const QUEUE: &str = "counted";
    let (broker, subject) = (OnRabbitMq::open().await, OnPostgres::open().await);
    let administrator = channel(broker.server.url()).await;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    administrator
        .queue_declare(QUEUE.into(), durable, arguments)
        .await
        .unwrap();
    let binding = administrator.queue_bind(
        QUEUE.into(),
        EXCHANGE.into(),
        "events.#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    binding.await.unwrap();
    make_graves(&administrator).await;
    let tenants = [TenantId::generate(), TenantId::generate()];
    let publisher = broker.publisher();
    for (tenant, payload) in [(tenants[0], "ends"), (tenants[1], "good")] {
        let sent = message(tenant, "key", payload.into());
        publisher.publish(&[sent]).await.unwrap();
    }
    let ends = Arc::new(Ends::default());
    let start = async || {
        let source = RabbitMqSource::new(connection(broker.server.url()), QUEUE, GRAVES);
        let wait = Duration::from_secs(1);
        let settings = ConsumerSettings::new("suite")
            .with_attempts(2)
            .with_waits(wait, wait);
        let handler: Arc<dyn MessageHandler> = Arc::<Ends>::clone(&ends);
        let consumer = Consumer::start_rabbitmq(subject.store(), source, handler, settings);
        consumer.await.unwrap()
    };
    // Twice as often as it is tried side by side with the other, and then alone.
    for end in 1..=6 {
        let consumer = start().await;
        until("it has begun", || ends.begun.load(Ordering::Relaxed) == end).await;
        drop(consumer);
    }
    let consumer = start().await;
    until("the other one", || {
        ends.handled.load(Ordering::Relaxed) == 1
    })
    .await;
    until_buried(&broker, 1).await;
    consumer.stop().await.unwrap();
    let dead = broker.dead().await;
    assert_eq!(dead[0].0.as_ref().unwrap().payload(), b"ends");
    assert_eq!(dead[0].1, "delivered_too_often");
    assert_eq!(ends.begun.load(Ordering::Relaxed), 6);
}

/// The count of deliveries is the server's, and not what a sender writes under its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_its_sender_makes_up_buries_nothing() {
    let (broker, subject) = (OnRabbitMq::open().await, OnPostgres::open().await);
    let sent = message(TenantId::generate(), "key", b"1".to_vec());
    let event = sent.cloud_event("/s");
    let mut headers = FieldTable::default();
    for (name, value) in event.attributes() {
        let value = AMQPValue::LongString(value.into_owned().into());
        headers.insert(format!("cloudEvents_{name}").into(), value);
    }
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(1_000));
    let route = Routes::new("events").unwrap();
    let route = route.of(sent.tenant(), sent.event_type());
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_headers(headers);
    let sender = channel(broker.server.url()).await;
    let (payload, options) = (sent.payload(), BasicPublishOptions::default());
    let sending = sender.basic_publish(
        EXCHANGE.into(),
        route.as_str().into(),
        options,
        payload,
        properties,
    );
    sending.await.unwrap();
    let (effects, handler) = effects();
    let consumer = broker.consumer(&subject, handler, settings()).await;
    until("it is handled", || effects.count() == 1).await;
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
}
