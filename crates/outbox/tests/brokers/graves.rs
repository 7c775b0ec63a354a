//! Places for dead letters that would lose them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tenantry_core::{ErrorKind, Result, TenantId};
use tenantry_outbox::conformance::{RealBroker as _, Subject as _, until};
use tenantry_outbox::{
    Consumer, ConsumerSettings, Message, NatsSource, NewMessage, RabbitMqSource,
};

use crate::consumer::{Consumed as _, Effects, settings};
use crate::nats::{self, OnNats, STREAM, jetstream_of};
use crate::rabbitmq::{self, GRAVES, OnRabbitMq, QUEUE, channel, make_graves};
use crate::subject::OnPostgres;

/// The stream of dead letters, as it is for other tests.
fn good() -> Config {
    Config {
        name: "DEAD".to_owned(),
        subjects: vec!["dead.>".to_owned()],
        ..Config::default()
    }
}

fn refused(started: Result<Consumer>, expected: &str) {
    let error = started.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
    assert!(error.detail().contains(expected), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_nats_that_loses_dead_letters_is_refused() {
    let (broker, subject) = (OnNats::open().await, OnPostgres::open().await);
    let context = jetstream_of(broker.server.url()).await;
    let source = || NatsSource::new(nats::connection(broker.server.url()), STREAM, "dead");
    let start = async |source: NatsSource| {
        let handler = Arc::new(Effects::default());
        Consumer::start_nats(subject.store(), source, handler, settings()).await
    };
    let with = |change: fn(&mut Config)| {
        let mut config = good();
        change(&mut config);
        config
    };
    for (config, expected, may_be_asked_for) in [
        (
            with(|config| config.storage = StorageType::Memory),
            "memory",
            true,
        ),
        (
            with(|config| config.retention = RetentionPolicy::Interest),
            "no consumer is there for",
            true,
        ),
        (
            with(|config| {
                config.max_messages = 1;
                config.discard = DiscardPolicy::Old;
            }),
            "oldest",
            true,
        ),
        (
            with(|config| config.subjects = vec!["dead.suite.events.*".to_owned()]),
            "dead.suite.events.>",
            false,
        ),
        (
            with(|config| config.subjects = vec!["dead.others.>".to_owned()]),
            "no stream takes dead letters",
            false,
        ),
    ] {
        context.create_stream(config).await.unwrap();
        refused(start(source()).await, expected);
        let asked_for = start(source().with_dead_letters_that_may_be_lost()).await;
        match may_be_asked_for {
            true => asked_for.unwrap().stop().await.unwrap(),
            false => refused(asked_for, expected),
        }
        context.delete_stream("DEAD").await.unwrap();
    }
    // What is asked for, and not more.
    for subject in ["dead.suite.events.>", "dead.>"] {
        let config = Config {
            subjects: vec![subject.to_owned()],
            ..good()
        };
        context.create_stream(config).await.unwrap();
        start(source()).await.unwrap().stop().await.unwrap();
        context.delete_stream("DEAD").await.unwrap();
    }
}

/// It is looked at again while the consumer runs, and nothing is given up then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_wait_while_their_stream_would_lose_them() {
    let (broker, subject) = (OnNats::open().await, OnPostgres::open().await);
    let effects = Arc::new(Effects::default());
    let handler = Arc::<Effects>::clone(&effects);
    // It is asked for again after so long, and not by another delivery.
    let wait = Duration::from_secs(1);
    let settings = ConsumerSettings::new("suite")
        .with_attempts(3)
        .with_waits(wait, wait);
    let consumer = broker.consumer(&subject, handler, settings).await;
    let context = jetstream_of(broker.server.url()).await;
    let discards = Config {
        max_messages: 1,
        discard: DiscardPolicy::Old,
        ..good()
    };
    context.update_stream(discards).await.unwrap();
    // What was seen before counts for ten seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let publisher = broker.publisher();
    let [one, two] = [TenantId::generate(), TenantId::generate()];
    for tenant in [one, two] {
        for key in ["a", "b"] {
            let content = |payload: &str| {
                NewMessage::new("suite.number", key).with_payload("text/plain", payload.into())
            };
            let sent = ["poison", "1"].map(|payload| Message::new(tenant, content(payload)));
            publisher.publish(&sent).await.unwrap();
        }
    }
    until("each is given up", || effects.calls() == 4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let dead = context.get_stream("DEAD").await.unwrap();
    assert_eq!(dead.cached_info().state.last_sequence, 0);
    context.update_stream(good()).await.unwrap();
    until("those behind are handled", || effects.count() == 4).await;
    consumer.stop().await.unwrap();
    let buried = broker.dead().await;
    let reasons: Vec<_> = buried.iter().map(|(_, reason)| &**reason).collect();
    assert_eq!(reasons, ["poison"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_or_a_queue_of_rabbitmq_that_loses_dead_letters_is_refused() {
    let (broker, subject) = (OnRabbitMq::open().await, OnPostgres::open().await);
    let url = broker.server.url();
    let administrator = channel(url).await;
    make_graves(&administrator).await;
    for (name, kind) in [
        ("fanout", ExchangeKind::Fanout),
        ("direct", ExchangeKind::Direct),
        ("topic", ExchangeKind::Topic),
    ] {
        let passing = ExchangeDeclareOptions::default();
        administrator
            .exchange_declare(name.into(), kind, passing, FieldTable::default())
            .await
            .unwrap();
    }
    let passing = QueueDeclareOptions::default();
    administrator
        .queue_declare("passing".into(), passing, FieldTable::default())
        .await
        .unwrap();
    let source = |exchange: &str| RabbitMqSource::new(rabbitmq::connection(url), QUEUE, exchange);
    let start = async |source: RabbitMqSource| {
        let handler = Arc::new(Effects::default());
        Consumer::start_rabbitmq(subject.store(), source, handler, settings()).await
    };
    for exchange in ["fanout", "direct", "topic"] {
        let expected = format!("for dead letters the exchange {exchange} is refused");
        refused(start(source(exchange)).await, &expected);
    }
    let with_queue = |queue: &str| source(GRAVES).with_dead_letter_queue(queue);
    refused(
        start(with_queue("passing")).await,
        "the queue passing is refused",
    );
    refused(
        start(with_queue("nothing")).await,
        "the queue nothing is not there",
    );
    let good = start(with_queue(GRAVES)).await.unwrap();
    good.stop().await.unwrap();
}
