//! What a consumer gives up is buried, whatever stands in the way for a while.

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeleteOptions};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{RealBroker as _, until};
use tenantry_outbox::{Message, MessageHandler, NewMessage};

use crate::consumer::{Consumed, Effects, settings};
use crate::nats::OnNats;
use crate::rabbitmq::{EXCHANGE, GRAVES, OnRabbitMq, channel, make_graves};
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
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
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
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
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
