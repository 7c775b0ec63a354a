//! RabbitMQ.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_outbox::conformance::{RealBroker, publish_patiently};
use tenantry_outbox::{
    CloudEvent, Consumer, ConsumerSettings, ContentMode, Message, MessageHandler, MessageId,
    NewMessage, PublishErrorKind, PublishReason, Publisher, RabbitMqConnection, RabbitMqPublisher,
    RabbitMqSettings, RabbitMqSource, Routes,
};
use tenantry_store::async_trait;
use tenantry_testkit::{DelayProxy, ProxyOptions, RabbitMqOptions, RabbitMqServer, StopMode};

use crate::consumer::Consumed;
use crate::subject::OnPostgres;
use crate::worker::storm;

pub(crate) const EXCHANGE: &str = "events";
pub(crate) const QUEUE: &str = "suite";

/// For an answer beside other tests.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct OnRabbitMq {
    pub(crate) server: RabbitMqServer,
    publisher: Arc<RabbitMqPublisher>,
}

impl OnRabbitMq {
    pub(crate) async fn open() -> Self {
        // Frames are smaller than that, so that the limit is the server's own.
        let options = RabbitMqOptions::default().with_setting("max_message_size", "300000");
        let server = RabbitMqServer::start_with(options).await.unwrap();
        let channel = channel(server.url()).await;
        make(&channel, QUEUE, true).await;
        let publisher = RabbitMqPublisher::connect(settings(server.url()))
            .await
            .unwrap();
        Self {
            server,
            publisher: Arc::new(publisher),
        }
    }
}

pub(crate) async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    // It lasts as long as the test.
    std::mem::forget(connection);
    channel
}

/// Makes a durable exchange, and a queue that gets all of it.
pub(crate) async fn make(channel: &Channel, queue: &str, durable: bool) {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            EXCHANGE.into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let options = QueueDeclareOptions {
        durable,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .unwrap();
    bind(channel, queue).await;
}

/// The routing keys of all messages.
const ALL: &str = "events.#";

async fn bind(channel: &Channel, queue: &str) {
    bind_to(channel, queue, ALL).await;
}

async fn bind_to(channel: &Channel, queue: &str, keys: &str) {
    let options = QueueBindOptions::default();
    let (exchange, none) = (EXCHANGE.into(), FieldTable::default());
    let binding = channel.queue_bind(queue.into(), exchange, keys.into(), options, none);
    binding.await.unwrap();
}

async fn unbind(channel: &Channel, queue: &str) {
    let (exchange, none) = (EXCHANGE.into(), FieldTable::default());
    let unbinding = channel.queue_unbind(queue.into(), exchange, ALL.into(), none);
    unbinding.await.unwrap();
}

pub(crate) fn connection(url: &str) -> RabbitMqConnection {
    RabbitMqConnection::new(url).with_timeout(Duration::from_secs(1))
}

fn settings(url: &str) -> RabbitMqSettings {
    RabbitMqSettings::new(connection(url), EXCHANGE, "/services/suite").with_queue(QUEUE)
}

/// Reads what is in a queue, and leaves it there in its order.
pub(crate) async fn read(url: &str, queue: &str) -> Vec<Message> {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut got = Vec::new();
    while let Some(delivery) = channel
        .basic_get(queue.into(), BasicGetOptions::default())
        .await
        .unwrap()
    {
        got.push(message_of(&delivery));
    }
    // What was not acknowledged goes back.
    connection.close(200, "".into()).await.unwrap();
    got
}

/// Reads what somebody has sent, as far as it is a message.
fn read_delivery(delivery: &lapin::message::Delivery) -> tenantry_core::Result<Message> {
    let properties = &delivery.properties;
    let mut attributes = vec![];
    if let Some(media) = properties.content_type() {
        attributes.push(("datacontenttype".to_owned(), media.to_string().into()));
    }
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if let (Some(name), AMQPValue::LongString(text)) =
            (name.as_str().strip_prefix("cloudEvents_"), value)
        {
            let text = String::from_utf8(text.as_bytes().to_vec()).unwrap();
            attributes.push((name.to_owned(), text.into()));
        }
    }
    CloudEvent::read(attributes, delivery.data.clone())
}

fn message_of(delivery: &lapin::message::Delivery) -> Message {
    let properties = &delivery.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    let media = properties.content_type().as_ref().unwrap().to_string();
    if media == CloudEvent::structured_content_type() {
        return CloudEvent::read_structured(&delivery.data).unwrap();
    }
    let message = read_delivery(delivery).unwrap();
    let routes = Routes::new("events").unwrap();
    let route = routes.of(message.tenant(), message.event_type());
    assert_eq!(route, delivery.routing_key.as_str());
    let id = properties.message_id().as_ref().unwrap().as_str();
    assert_eq!(id, message.id().to_string());
    message
}

#[async_trait]
impl RealBroker for OnRabbitMq {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::<RabbitMqPublisher>::clone(&self.publisher)
    }

    async fn got(&self) -> Vec<Message> {
        read(self.server.url(), QUEUE).await
    }

    fn too_large(&self) -> usize {
        300_001
    }

    fn tells_duplicates(&self) -> bool {
        false
    }

    async fn halt(&self) {
        self.server.pause().await.unwrap();
    }

    async fn go_on(&self) {
        self.server.resume().await.unwrap();
    }

    async fn kill(&self) {
        self.server.stop(StopMode::Immediate).await.unwrap();
    }

    async fn start(&self) {
        self.server.restart().await.unwrap();
    }
}

mod suite {
    use super::OnRabbitMq;

    tenantry_outbox::publisher_suite! {
        @tests OnRabbitMq::open;
        what_is_published_is_there_as_it_was,
        many_keys_are_published_at_a_time_each_in_order,
        what_is_published_again_is_told_apart_where_the_broker_can,
        a_broker_that_is_halted_is_unavailable_and_comes_back,
        a_broker_that_is_down_is_unavailable_and_comes_back,
        a_check_tells_whether_the_broker_would_take_messages,
    }

    /// The limit is the publisher's own: of that of the server a closed channel tells, below.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_too_large_is_poison_and_nothing_else_is() {
        let mut broker = OnRabbitMq::open().await;
        let settings = super::settings(broker.server.url()).with_most_bytes(300_000);
        let publisher = super::RabbitMqPublisher::connect(settings).await.unwrap();
        broker.publisher = std::sync::Arc::new(publisher);
        tenantry_outbox::conformance::what_is_too_large_is_poison_and_nothing_else_is(&broker)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_the_broker_fails() {
    let broker = OnRabbitMq::open().await;
    let outcome = storm(&broker).await;
    assert!(
        outcome.committed > 100,
        "hardly anything happened: {outcome:?}"
    );
    // What was under way: one message of each of 60 keys, at each of four faults.
    assert!(outcome.duplicates <= 4 * 60, "{outcome:?}");
}

fn message(tenant: TenantId, number: usize) -> Message {
    let content = NewMessage::new("suite.number", "key")
        .with_payload("text/plain", number.to_string().into_bytes());
    Message::new(tenant, content)
}

fn tenants() -> [TenantId; 2] {
    [TenantId::generate(), TenantId::generate()]
}

/// It is of its key alone, and leaves when there is a queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_back_was_not_handed_over() {
    let broker = OnRabbitMq::open().await;
    let publisher = broker.publisher();
    let channel = channel(broker.server.url()).await;
    for tenant in tenants() {
        unbind(&channel, QUEUE).await;
        for _ in 0..2 {
            let stopped = publisher
                .publish(&[message(tenant, 0), message(tenant, 1)])
                .await;
            let stopped = stopped.unwrap_err();
            assert_eq!(stopped.acknowledged, 0);
            assert_eq!(stopped.error.kind(), PublishErrorKind::Refused);
            assert_eq!(
                stopped.error.reason(),
                Some(PublishReason::Unroutable),
                "{stopped:?}"
            );
        }
        bind(&channel, QUEUE).await;
        publisher.publish(&[message(tenant, 0)]).await.unwrap();
    }
    assert_eq!(broker.got().await.len(), 2);
}

/// The server confirms many at once, and does not say which of them it sent back: the client hands those out with the
/// confirms of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_many_each_that_comes_back_is_told_of_and_no_other() {
    const EACH: usize = 1_500;
    let broker = OnRabbitMq::open().await;
    let channel = channel(broker.server.url()).await;
    unbind(&channel, QUEUE).await;
    bind_to(&channel, QUEUE, "events.*.suite.bound").await;
    let connection = RabbitMqConnection::new(broker.server.url()).with_timeout(PATIENCE);
    let settings = RabbitMqSettings::new(connection, EXCHANGE, "/services/suite").with_channels(1);
    let publisher = Arc::new(RabbitMqPublisher::connect(settings).await.unwrap());
    let [tenant, _] = tenants();
    for round in 0..4 {
        let under_way: Vec<_> = (0..EACH)
            .map(|number| {
                let event_type = ["suite.bound", "suite.unbound"][number % 2];
                let content = NewMessage::new(event_type, format!("{round} {number}"))
                    .with_payload("text/plain", b"x".to_vec());
                let (message, publisher) = (Message::new(tenant, content), Arc::clone(&publisher));
                tokio::spawn(async move { (number % 2, publisher.publish(&[message]).await) })
            })
            .collect();
        for publishing in under_way {
            let (is_unbound, outcome) = publishing.await.unwrap();
            let reason = outcome.err().and_then(|stopped| stopped.error.reason());
            let expected = [None, Some(PublishReason::Unroutable)][is_unbound];
            assert_eq!(reason, expected);
        }
    }
    assert_eq!(broker.got().await.len(), 4 * EACH / 2);
}

/// One event that is told to two tenants keeps its identifier. What became of the one says nothing of the other, also
/// where nobody waits for it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_not_taken_for_that_of_another_tenant_with_its_identifier() {
    let broker = OnRabbitMq::open().await;
    let publisher = broker.publisher();
    let mut expected = Vec::new();
    for round in 0..10 {
        let id = MessageId::generate();
        let [left, right] = tenants().map(|tenant| {
            let content = NewMessage::new("suite.told", "a key").with_id(id);
            Message::new(tenant, content.with_payload("text/plain", b"x".to_vec()))
        });
        if round % 2 == 0 {
            broker.halt().await;
        }
        let asking = publisher.publish(std::slice::from_ref(&left));
        // Of a broker that is halted nobody hears what became of it.
        let answer = tokio::time::timeout(Duration::from_millis(50), asking).await;
        let others = tokio::spawn({
            let (publisher, right) = (Arc::clone(&publisher), right.clone());
            async move { publish_patiently(&*publisher, &[right]).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        if round % 2 == 0 {
            broker.go_on().await;
        }
        others.await.unwrap();
        expected.push((right.tenant(), id));
        if let Ok(Ok(())) = answer {
            expected.push((left.tenant(), id));
        }
    }
    let got: std::collections::HashSet<_> = broker
        .got()
        .await
        .iter()
        .map(|it| (it.tenant(), it.id()))
        .collect();
    for told in expected {
        assert!(got.contains(&told), "{told:?}");
    }
}

/// The server closes the channel, and with it what others had under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_the_server_is_learned_and_blames_the_large_one_alone() {
    let broker = OnRabbitMq::open().await;
    let publisher = broker.publisher();
    for tenant in tenants() {
        let large =
            NewMessage::new("suite.large", "large").with_payload("text/plain", vec![b'x'; 300_001]);
        let large = [Message::new(tenant, large)];
        let small: Vec<_> = (0..50).map(|number| message(tenant, number)).collect();
        let (outcome, ()) = tokio::join!(
            publisher.publish(&large),
            publish_patiently(&*publisher, &small)
        );
        let error = outcome.unwrap_err().error;
        assert_eq!(error.kind(), PublishErrorKind::Poison, "{error:?}");
        assert_eq!(error.reason(), Some(PublishReason::TooLarge));
    }
    let ids: std::collections::HashSet<_> = broker.got().await.iter().map(Message::id).collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_full_refuses_its_messages() {
    let broker = OnRabbitMq::open().await;
    let publisher = broker.publisher();
    let channel = channel(broker.server.url()).await;
    channel
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(QUEUE.into(), options, arguments)
        .await
        .unwrap();
    bind(&channel, QUEUE).await;
    let mut refused = 0;
    for tenant in tenants() {
        for number in 0..3 {
            if let Err(stopped) = publisher.publish(&[message(tenant, number)]).await {
                assert_eq!(
                    stopped.error.kind(),
                    PublishErrorKind::Refused,
                    "{stopped:?}"
                );
                assert_eq!(stopped.error.reason(), Some(PublishReason::Full));
                refused += 1;
            }
        }
    }
    assert!(refused >= 3, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_or_goes_with_its_server_is_refused_by_name() {
    let server = RabbitMqServer::start().await.unwrap();
    let url = server.url();
    let refused = async |settings: RabbitMqSettings| {
        let error = RabbitMqPublisher::connect(settings).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
        error.to_string()
    };
    assert!(
        refused(settings(url))
            .await
            .contains("exchange events is not there")
    );
    let channel = channel(url).await;
    make(&channel, "other", false).await;
    assert!(
        refused(settings(url))
            .await
            .contains("queue suite is not there")
    );
    let told = refused(settings(url).with_queue("other")).await;
    assert!(told.contains("queue suite is not there"), "{told}");
    make(&channel, QUEUE, true).await;
    let told = refused(settings(url).with_queue("other")).await;
    assert!(told.contains("queue other is refused"), "{told}");
    for (name, kind) in [
        ("passing", ExchangeKind::Topic),
        ("passing-to-all", ExchangeKind::Fanout),
    ] {
        let options = ExchangeDeclareOptions::default();
        channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await
            .unwrap();
        let passing = RabbitMqSettings::new(connection(url), name, "/s");
        let told = refused(passing).await;
        assert!(
            told.contains(&format!("exchange {name} is refused")),
            "{told}"
        );
    }
    RabbitMqPublisher::connect(settings(url)).await.unwrap();

    let wrong = server.url_of("tests", "wrong").unwrap();
    let error = RabbitMqPublisher::connect(settings(&wrong))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    for (url, kind) in [
        ("http://a:1", ErrorKind::InvalidSettings),
        ("amqp://127.0.0.1:1", ErrorKind::Unavailable),
        (&*format!("{url}/nowhere"), ErrorKind::InvalidSettings),
    ] {
        let error = RabbitMqPublisher::connect(settings(url)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
}

/// It is noticed at the next message, blames none, and is over when the exchange is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_goes_holds_everything_up() {
    let broker = OnRabbitMq::open().await;
    let publisher = broker.publisher();
    let channel = channel(broker.server.url()).await;
    for tenant in tenants() {
        publisher.publish(&[message(tenant, 0)]).await.unwrap();
        channel
            .exchange_delete(
                EXCHANGE.into(),
                lapin::options::ExchangeDeleteOptions::default(),
            )
            .await
            .unwrap();
        for _ in 0..2 {
            let error = publisher
                .publish(&[message(tenant, 1)])
                .await
                .unwrap_err()
                .error;
            assert_eq!(error.kind(), PublishErrorKind::Unavailable);
            assert_eq!(
                error.reason(),
                Some(PublishReason::DestinationMissing),
                "{error:?}"
            );
        }
        make(&channel, QUEUE, true).await;
        publish_patiently(&*publisher, &[message(tenant, 1)]).await;
    }
    assert_eq!(broker.got().await.len(), 4);
}

/// The confirm is lost with the connection: the message is there, and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_before_the_confirm_loses_nothing() {
    let broker = OnRabbitMq::open().await;
    let proxy = DelayProxy::start(&broker.server.address(), ProxyOptions::default())
        .await
        .unwrap();
    let url = broker.server.url_through(proxy.address()).unwrap();
    let publisher = RabbitMqPublisher::connect(settings(&url)).await.unwrap();
    for tenant in tenants() {
        let messages: Vec<_> = (0..3).map(|number| message(tenant, number)).collect();
        proxy.cut_after(messages[1].id().to_string().into_bytes());
        let stopped = publisher.publish(&messages).await.unwrap_err();
        assert_eq!(stopped.acknowledged, 1);
        assert_eq!(
            stopped.error.reason(),
            Some(PublishReason::Disconnected),
            "{stopped:?}"
        );
        publish_patiently(&publisher, &messages[1..]).await;
    }
    let got = broker.got().await;
    let numbers: Vec<_> = got.iter().map(Message::payload).collect();
    assert_eq!(numbers, [b"0", b"1", b"1", b"2", b"0", b"1", b"1", b"2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_in_one_document_is_read_as_it_was_and_a_key_that_is_too_long_is_poison() {
    let broker = OnRabbitMq::open().await;
    let settings = settings(broker.server.url()).with_mode(ContentMode::Structured);
    let publisher = RabbitMqPublisher::connect(settings).await.unwrap();
    let mut sent = Vec::new();
    for tenant in tenants() {
        let at = chrono::DateTime::from_timestamp(5, 0).unwrap();
        let json = NewMessage::new("suite.json", "key").with_occurred_at(at);
        let json = Message::new(
            tenant,
            json.with_payload("application/json", b"{ }".to_vec()),
        );
        publisher
            .publish(std::slice::from_ref(&json))
            .await
            .unwrap();
        sent.push(json);
        for poison in [
            NewMessage::new("*".repeat(100), "key").with_payload("application/json", b"1".to_vec()),
            NewMessage::new("suite.json", "key").with_payload("application/json", vec![b'{']),
        ] {
            let error = publisher
                .publish(&[Message::new(tenant, poison)])
                .await
                .unwrap_err()
                .error;
            assert_eq!(error.kind(), PublishErrorKind::Poison);
            assert_eq!(error.reason(), Some(PublishReason::Unwritable));
        }
    }
    assert_eq!(broker.got().await, sent);
}

pub(crate) const GRAVES: &str = "dead-letters";

pub(crate) async fn make_graves(channel: &Channel) {
    channel
        .exchange_declare(
            GRAVES.into(),
            ExchangeKind::Fanout,
            ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            },
            FieldTable::default(),
        )
        .await
        .unwrap();
    channel
        .queue_declare(
            GRAVES.into(),
            QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            },
            FieldTable::default(),
        )
        .await
        .unwrap();
    channel
        .queue_bind(
            GRAVES.into(),
            GRAVES.into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
}

#[async_trait]
impl Consumed for OnRabbitMq {
    async fn consumer(
        &self,
        subject: &OnPostgres,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Consumer {
        make_graves(&channel(self.server.url()).await).await;
        let source = RabbitMqSource::new(connection(self.server.url()), QUEUE, GRAVES);
        Consumer::start_rabbitmq(&subject.store, source, handler, settings)
            .await
            .unwrap()
    }

    async fn waiting(&self) -> u64 {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = channel(self.server.url()).await;
        let looking = channel.queue_declare(QUEUE.into(), options, FieldTable::default());
        looking.await.unwrap().message_count().into()
    }

    async fn dead(&self) -> Vec<(Option<Message>, String)> {
        let connection = Connection::connect(self.server.url(), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let mut dead = Vec::new();
        while let Some(got) = channel
            .basic_get(GRAVES.into(), BasicGetOptions::default())
            .await
            .unwrap()
        {
            let headers = got.properties.headers().as_ref().unwrap().inner();
            let Some(AMQPValue::LongString(reason)) = headers.get("tenantry-dead-reason") else {
                panic!("a dead letter without a reason");
            };
            dead.push((read_delivery(&got).ok(), reason.to_string()));
        }
        connection.close(200, "".into()).await.unwrap();
        dead
    }

    async fn forge(&self, route: &str, attributes: &[(&str, Cow<'_, str>)], payload: &[u8]) {
        let mut headers = FieldTable::default();
        for (name, value) in attributes {
            let value = AMQPValue::LongString(value.clone().into_owned().into());
            headers.insert(format!("cloudEvents_{name}").into(), value);
        }
        let channel = channel(self.server.url()).await;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        let sent = channel.basic_publish(
            EXCHANGE.into(),
            route.into(),
            BasicPublishOptions::default(),
            payload,
            lapin::BasicProperties::default().with_headers(headers),
        );
        sent.await.unwrap().await.unwrap();
    }
}

crate::consumer::stories!(OnRabbitMq::open);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_without_its_queue_or_a_place_for_dead_letters_is_not_started() {
    let broker = OnRabbitMq::open().await;
    let subject = OnPostgres::open().await;
    let start = async |queue: &str, dead: &str| {
        let source = RabbitMqSource::new(connection(broker.server.url()), queue, dead);
        let handler = Arc::new(crate::consumer::Effects::default());
        let settings = crate::consumer::settings();
        let started = Consumer::start_rabbitmq(&subject.store, source, handler, settings).await;
        let error = started.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
        error.to_string()
    };
    assert!(
        start(QUEUE, "nowhere")
            .await
            .contains("for dead letters the exchange nowhere is not there")
    );
    assert!(
        start("nothing", EXCHANGE)
            .await
            .contains("queue nothing is not there")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_consumers_of_a_queue_with_one_that_is_active_keep_the_order() {
    let broker = OnRabbitMq::open().await;
    let subject = OnPostgres::open().await;
    let channel = channel(broker.server.url()).await;
    make_graves(&channel).await;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    channel
        .queue_declare("single".into(), durable, arguments)
        .await
        .unwrap();
    bind(&channel, "single").await;
    let order = Arc::new(crate::consumer::Order::default());
    let mut consumers = Vec::new();
    for _ in 0..3 {
        let handler: Arc<dyn MessageHandler> = Arc::<crate::consumer::Order>::clone(&order);
        let source = RabbitMqSource::new(connection(broker.server.url()), "single", GRAVES);
        let consumer =
            Consumer::start_rabbitmq(&subject.store, source, handler, crate::consumer::settings());
        consumers.push(consumer.await.unwrap());
    }
    crate::consumer::several_keep_the_order(&broker, &order, consumers).await;
}

/// The log of a process that asks for everything, in which the client writes each frame.
#[derive(Clone, Default)]
struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_is_in_the_log_at_any_level() {
    let broker = OnRabbitMq::open().await;
    let (log, url) = (Log::default(), broker.server.url());
    let written = log.clone();
    // Of the whole process: the client has a thread of its own.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || written.clone())
        .init();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (login, host) = rest.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let apart = RabbitMqConnection::new(format!("{scheme}://{host}"))
        .with_user(user)
        .with_password(tenantry_core::Secret::new(password));
    for connection in [connection(url), apart] {
        let settings = RabbitMqSettings::new(connection, EXCHANGE, "/services/suite");
        let publisher = RabbitMqPublisher::connect(settings).await.unwrap();
        let sent = message(TenantId::generate(), 1);
        publisher.publish(&[sent]).await.unwrap();
    }
    // Whatever is said when they end.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let text = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(text.contains("lapin"), "the client says nothing: {text}");
    let bytes = format!("{:?}", password.as_bytes());
    for form in [password, bytes.trim_matches(['[', ']'])] {
        let found = text.lines().find(|line| line.contains(form));
        let target = found.and_then(|line| line.split(": ").next());
        assert!(found.is_none(), "a password is written: {target:?}");
    }
}
