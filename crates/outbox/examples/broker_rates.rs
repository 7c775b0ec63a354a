//! How many messages a second a publisher hands over, beside the client of the broker by itself.
//!
//! ```text
//! with_postgres --nats --rabbitmq cargo run --release -p tenantry-outbox --example broker_rates \
//!     --features nats,rabbitmq
//! ```
//!
//! Both sides wait for every acknowledgement, in turns of one run. The publisher has 256 keys under way, and one
//! message of each; the client has 2,000 messages under way in no order, once with the payload alone and once with the
//! same headers.

#![allow(clippy::unwrap_used, reason = "what cannot be measured ends it")]
#![allow(clippy::print_stdout, reason = "the figures")]
#![allow(clippy::disallowed_methods, reason = "where the brokers are")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures_util::{StreamExt as _, stream as futures};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, ConnectionProperties, ExchangeKind};
use tenantry_core::TenantId;
use tenantry_outbox::{
    Message, NatsConnection, NatsPublisher, NatsSettings, NewMessage, Publisher,
    RabbitMqConnection, RabbitMqPublisher, RabbitMqSettings,
};

const KEYS: usize = 256;
const WINDOW: usize = 2_000;
const SOURCE: &str = "/services/rates";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let set = |name: &str| std::env::var(name).ok();
    let number = |name: &str, otherwise: usize| {
        set(name).map_or(otherwise, |number| number.parse().unwrap())
    };
    let (each, rounds) = (number("EACH", 60), number("ROUNDS", 5));
    if let Some(url) = set("TENANTRY_TEST_NATS_URL") {
        nats(&url, each, rounds).await;
    }
    if let Some(url) = set("TENANTRY_TEST_RABBITMQ_URL") {
        rabbitmq(&url, each, rounds).await;
    }
}

/// Returns messages of 400 bytes, of each key together.
fn messages(each: usize) -> Vec<Vec<Message>> {
    let tenants = [TenantId::generate(), TenantId::generate()];
    let of_key = |key: usize| {
        let message = || {
            NewMessage::new("billing.invoice.paid", key.to_string())
                .with_payload("application/octet-stream", vec![b'x'; 400])
        };
        (0..each)
            .map(|_| Message::new(tenants[key % 2], message()))
            .collect()
    };
    (0..KEYS).map(of_key).collect()
}

/// Returns how many messages a second a publisher hands over.
async fn published(publisher: &Arc<dyn Publisher>, each: usize) -> f64 {
    let by_key = messages(each);
    let started = Instant::now();
    futures::iter(by_key)
        .for_each_concurrent(KEYS, |messages| async move {
            publisher.publish(&messages).await.unwrap();
        })
        .await;
    (KEYS * each) as f64 / started.elapsed().as_secs_f64()
}

fn told(broker: &str, rates: &[[f64; 3]]) {
    let median = |values: Vec<f64>| {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let column = |index: usize| median(rates.iter().map(|round| round[index]).collect());
    let ratios = |index: usize| {
        let mut ratios: Vec<_> = rates.iter().map(|round| round[0] / round[index]).collect();
        ratios.sort_by(f64::total_cmp);
        format!(
            "{:.2} ({:.2} to {:.2})",
            median(ratios.clone()),
            ratios[0],
            ratios[ratios.len() - 1]
        )
    };
    println!(
        "{broker}: publisher {:.0}/s; client, payload alone {:.0}/s, ratio {}; client, same headers \
         {:.0}/s, ratio {}",
        column(0),
        column(1),
        ratios(1),
        column(2),
        ratios(2)
    );
}

async fn nats(url: &str, each: usize, rounds: usize) {
    let login = url.trim_start_matches("nats://").split_once('@').unwrap().0;
    let (user, password) = login.split_once(':').unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    let context = jetstream::new(options.connect(url).await.unwrap());
    let config = stream::Config {
        name: "RATES".to_owned(),
        subjects: vec!["rates.>".to_owned()],
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    };
    let made = context.create_stream(config).await.unwrap();
    let routes = tenantry_outbox::Routes::new("rates").unwrap();
    let connection = NatsConnection::new(url).with_timeout(Duration::from_secs(30));
    let settings = NatsSettings::new(connection, "RATES", SOURCE).with_routes(routes.clone());
    let publisher: Arc<dyn Publisher> = Arc::new(NatsPublisher::connect(settings).await.unwrap());
    let mut rates = Vec::new();
    for round in 0..=rounds {
        let ours = published(&publisher, each).await;
        made.purge().await.unwrap();
        let mut peers = [0.0; 2];
        for (index, peer) in peers.iter_mut().enumerate() {
            let flat: Vec<_> = messages(each).into_iter().flatten().collect();
            let started = Instant::now();
            let context = &context;
            futures::iter(&flat)
                .map(|message| {
                    let subject = routes.of(message.tenant(), message.event_type());
                    let mut publish = jetstream::message::PublishMessage::build()
                        .message_id(message.id().to_string())
                        .payload(message.payload().to_vec().into());
                    if index == 1 {
                        for (name, value) in message.cloud_event(SOURCE).attributes() {
                            publish = publish.header(format!("ce-{name}"), &*value);
                        }
                    }
                    async move {
                        let sent = context.send_publish(subject, publish).await.unwrap();
                        sent.await.unwrap()
                    }
                })
                .buffer_unordered(WINDOW)
                .for_each(|_| std::future::ready(()))
                .await;
            *peer = (KEYS * each) as f64 / started.elapsed().as_secs_f64();
            made.purge().await.unwrap();
        }
        // The first round warms up.
        if round > 0 {
            rates.push([ours, peers[0], peers[1]]);
        }
    }
    told("nats", &rates);
}

async fn rabbitmq(url: &str, each: usize, rounds: usize) {
    let connection = lapin::Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let name = "rates";
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            name.into(),
            ExchangeKind::Topic,
            durable,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.into(), durable, FieldTable::default())
        .await
        .unwrap();
    let options = QueueBindOptions::default();
    channel
        .queue_bind(
            name.into(),
            name.into(),
            "#".into(),
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let routes = tenantry_outbox::Routes::new("rates").unwrap();
    let login = RabbitMqConnection::new(url).with_timeout(Duration::from_secs(30));
    let settings = RabbitMqSettings::new(login, name, SOURCE).with_routes(routes.clone());
    let publisher: Arc<dyn Publisher> =
        Arc::new(RabbitMqPublisher::connect(settings).await.unwrap());
    let mut rates = Vec::new();
    for round in 0..=rounds {
        let purge = async || {
            let purging = channel.queue_purge(name.into(), QueuePurgeOptions::default());
            purging.await.unwrap();
        };
        let ours = published(&publisher, each).await;
        purge().await;
        let mut peers = [0.0; 2];
        for (index, peer) in peers.iter_mut().enumerate() {
            let flat: Vec<_> = messages(each).into_iter().flatten().collect();
            let started = Instant::now();
            let channel = &channel;
            futures::iter(&flat)
                .map(|message| {
                    let route = routes.of(message.tenant(), message.event_type());
                    let mut properties = BasicProperties::default()
                        .with_delivery_mode(2)
                        .with_message_id(message.id().to_string().into());
                    if index == 1 {
                        let mut headers = FieldTable::default();
                        for (name, value) in message.cloud_event(SOURCE).attributes() {
                            let value = AMQPValue::LongString(value.into_owned().into());
                            headers.insert(format!("cloudEvents_{name}").into(), value);
                        }
                        properties = properties.with_headers(headers);
                    }
                    async move {
                        let options = BasicPublishOptions {
                            mandatory: true,
                            immediate: false,
                        };
                        let payload = message.payload();
                        let route = route.as_str().into();
                        let sent =
                            channel.basic_publish(name.into(), route, options, payload, properties);
                        let confirmed = sent.await.unwrap().await.unwrap();
                        assert_eq!(confirmed, Confirmation::Ack(None));
                    }
                })
                .buffer_unordered(WINDOW)
                .for_each(|()| std::future::ready(()))
                .await;
            *peer = (KEYS * each) as f64 / started.elapsed().as_secs_f64();
            purge().await;
        }
        // The first round warms up.
        if round > 0 {
            rates.push([ours, peers[0], peers[1]]);
        }
    }
    told("rabbitmq", &rates);
}
