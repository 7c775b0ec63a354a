//! NATS JetStream.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use tenantry_core::{ErrorKind, Secret, TenantId};
use tenantry_outbox::conformance::{RealBroker, publish_patiently, until};
use tenantry_outbox::{
    CloudEvent, Consumer, ConsumerSettings, ContentMode, Message, MessageHandler, MessageId,
    NatsConnection, NatsPublisher, NatsSettings, NatsSource, NewMessage, PublishErrorKind,
    PublishReason, Publisher, Routes,
};
use tenantry_store::async_trait;
use tenantry_testkit::{DelayProxy, NatsOptions, NatsServer, ProxyOptions, StopMode};

use crate::consumer::Consumed;
use crate::subject::OnPostgres;
use crate::worker::storm;

pub(crate) const STREAM: &str = "EVENTS";

pub(crate) struct OnNats {
    pub(crate) server: NatsServer,
    publisher: Arc<NatsPublisher>,
}

impl OnNats {
    pub(crate) async fn open() -> Self {
        Self::open_with(NatsOptions::default().with_setting("max_payload", "65536")).await
    }

    async fn open_with(options: NatsOptions) -> Self {
        let server = NatsServer::start_with(options).await.unwrap();
        make_stream(server.url(), good()).await;
        let publisher = NatsPublisher::connect(settings(server.url()))
            .await
            .unwrap();
        Self {
            server,
            publisher: Arc::new(publisher),
        }
    }
}

pub(crate) fn good() -> stream::Config {
    stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["events.>".to_owned()],
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    }
}

pub(crate) async fn jetstream_of(url: &str) -> jetstream::Context {
    jetstream_with(url, async_nats::ConnectOptions::new()).await
}

pub(crate) async fn jetstream_with(
    url: &str,
    options: async_nats::ConnectOptions,
) -> jetstream::Context {
    // The client does not look for a login in the URL.
    let (_, rest) = url.split_once("://").unwrap();
    let (login, _) = rest.split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let options = options.user_and_password(user.into(), password.into());
    jetstream::new(options.connect(url).await.unwrap())
}

pub(crate) async fn make_stream(url: &str, config: stream::Config) {
    jetstream_of(url).await.create_stream(config).await.unwrap();
}

pub(crate) fn connection(url: &str) -> NatsConnection {
    NatsConnection::new(url).with_timeout(Duration::from_secs(1))
}

fn settings(url: &str) -> NatsSettings {
    NatsSettings::new(connection(url), STREAM, "/services/suite")
}

/// Reads all of a stream, in binary mode or in structured.
pub(crate) async fn read(url: &str, name: &str) -> Vec<Message> {
    read_by(&jetstream_of(url).await, name).await
}

pub(crate) async fn read_by(context: &jetstream::Context, name: &str) -> Vec<Message> {
    let stream = context.get_stream(name).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut got = Vec::new();
    // Without any it begins with none.
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let raw = stream.get_raw_message(sequence).await.unwrap();
        if raw.headers.get("Content-Type").is_some() {
            got.push(CloudEvent::read_structured(&raw.payload).unwrap());
            continue;
        }
        let attributes = raw.headers.iter().filter_map(|(name, values)| {
            let name: &str = name.as_ref();
            let value = values.first().unwrap().as_str();
            let value = percent_encoding::percent_decode_str(value)
                .decode_utf8()
                .unwrap();
            Some((name.strip_prefix("ce-")?, value))
        });
        let message = CloudEvent::read(attributes, raw.payload.to_vec()).unwrap();
        let routes = Routes::new("events").unwrap();
        assert_eq!(
            routes.of(message.tenant(), message.event_type()),
            raw.subject.as_str()
        );
        got.push(message);
    }
    got
}

fn attributes_of(
    headers: &async_nats::HeaderMap,
    payload: &[u8],
) -> tenantry_core::Result<Message> {
    let attributes = headers.iter().filter_map(|(name, values)| {
        let name: &str = name.as_ref();
        let value = values.first()?.as_str();
        let value = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .ok()?;
        Some((name.strip_prefix("ce-")?, value))
    });
    CloudEvent::read(attributes, payload.to_vec())
}

#[async_trait]
impl RealBroker for OnNats {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::<NatsPublisher>::clone(&self.publisher)
    }

    async fn got(&self) -> Vec<Message> {
        read(self.server.url(), STREAM).await
    }

    fn too_large(&self) -> usize {
        // The headers are what is too much.
        65_536 - 100
    }

    fn tells_duplicates(&self) -> bool {
        true
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

tenantry_outbox::publisher_suite!(OnNats::open);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_there_twice_while_the_broker_fails() {
    let broker = OnNats::open().await;
    let outcome = storm(&broker).await;
    assert!(
        outcome.committed > 100,
        "hardly anything happened: {outcome:?}"
    );
    assert_eq!(
        outcome.duplicates, 0,
        "the stream tells them apart: {outcome:?}"
    );
}

fn message(tenant: TenantId, number: usize) -> Message {
    let content = NewMessage::new("suite.number", "key")
        .with_payload("text/plain", number.to_string().into_bytes());
    Message::new(tenant, content)
}

fn tenants() -> [TenantId; 2] {
    [TenantId::generate(), TenantId::generate()]
}

/// The answer to a message is lost with the connection; the message is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_before_the_answer_makes_no_second_message() {
    let broker = OnNats::open().await;
    let proxy = DelayProxy::start(&broker.server.address(), ProxyOptions::default())
        .await
        .unwrap();
    let url = broker.server.url_through(proxy.address()).unwrap();
    let publisher = NatsPublisher::connect(settings(&url)).await.unwrap();
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
        proxy.cut();
        publish_patiently(&publisher, &messages[2..]).await;
    }
    let got = broker.got().await;
    let numbers: Vec<_> = got.iter().map(Message::payload).collect();
    assert_eq!(numbers, [b"0", b"1", b"2", b"0", b"1", b"2"]);
}

/// What is wrong with a stream, and a word of what is said of it.
type Case = (fn(&mut stream::Config), &'static str);

#[tokio::test]
async fn a_stream_that_may_lose_or_is_missing_is_refused_by_name() {
    let server = NatsServer::start().await.unwrap();
    let url = server.url();
    let refused = async |settings: NatsSettings| {
        let error = NatsPublisher::connect(settings).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
        error.to_string()
    };
    assert!(refused(settings(url)).await.contains("EVENTS is not there"));
    let context = jetstream_of(url).await;
    let cases: [Case; 4] = [
        (|config| config.no_ack = true, "no_ack"),
        (
            |config| config.storage = stream::StorageType::Memory,
            "memory",
        ),
        (
            |config| config.duplicate_window = Duration::from_secs(5),
            "duplicate window",
        ),
        (
            |config| config.subjects = vec!["events.*.billing.>".to_owned()],
            "events.>",
        ),
    ];
    for (change, said) in cases {
        let mut config = good();
        change(&mut config);
        context.create_stream(config).await.unwrap();
        let told = refused(settings(url)).await;
        assert!(told.contains(said), "{told}");
        context.delete_stream(STREAM).await.unwrap();
    }
    for (settings, kind) in [
        (
            NatsSettings::new(connection("http://a:1"), STREAM, "/s"),
            ErrorKind::InvalidSettings,
        ),
        (
            NatsSettings::new(connection(url), "a b", "/s"),
            ErrorKind::InvalidSettings,
        ),
        (
            NatsSettings::new(connection("nats://127.0.0.1:1"), STREAM, "/s"),
            ErrorKind::Unavailable,
        ),
    ] {
        assert_eq!(
            NatsPublisher::connect(settings).await.unwrap_err().kind(),
            kind
        );
    }
}

/// It is noticed at the next message, and forgotten when the stream is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_goes_or_turns_unsafe_holds_everything_up_and_blames_no_message() {
    let broker = OnNats::open().await;
    let publisher = broker.publisher();
    let context = jetstream_of(broker.server.url()).await;
    for tenant in tenants() {
        publisher.publish(&[message(tenant, 0)]).await.unwrap();
        context.delete_stream(STREAM).await.unwrap();
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
                "{error}"
            );
        }
        let other = stream::Config {
            name: "OTHER".to_owned(),
            ..good()
        };
        context.create_stream(other).await.unwrap();
        let error = publisher
            .publish(&[message(tenant, 1)])
            .await
            .unwrap_err()
            .error;
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        context.delete_stream("OTHER").await.unwrap();
        make_stream(broker.server.url(), good()).await;
        publish_patiently(&*publisher, &[message(tenant, 1)]).await;
        assert_eq!(broker.got().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_full_holds_everything_up_until_it_is_not() {
    let broker = OnNats::open().await;
    let publisher = broker.publisher();
    let context = jetstream_of(broker.server.url()).await;
    let full = stream::Config {
        max_messages: 1,
        discard: stream::DiscardPolicy::New,
        ..good()
    };
    context.update_stream(full).await.unwrap();
    let [one, two] = tenants();
    publisher.publish(&[message(one, 0)]).await.unwrap();
    for tenant in [one, two] {
        let error = publisher
            .publish(&[message(tenant, 1)])
            .await
            .unwrap_err()
            .error;
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert_eq!(error.reason(), Some(PublishReason::Full), "{error}");
    }
    context.update_stream(good()).await.unwrap();
    publish_patiently(&*publisher, &[message(two, 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_of_and_a_subject_that_is_forbidden_is_of_its_tenant() {
    let [forbidden, allowed] = tenants();
    let permissions = format!("{{ publish: {{ deny: [\"events.{forbidden}.>\"] }} }}");
    let options = NatsOptions::default().with_user("limited", "secret", &permissions);
    let broker = OnNats::open_with(options).await;
    let url = broker.server.url_of("tests", "wrong").unwrap();
    let error = NatsPublisher::connect(settings(&url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");

    let plain = format!("nats://{}", broker.server.address());
    let login = connection(&plain)
        .with_user("limited")
        .with_password(Secret::new("secret"));
    let settings = NatsSettings::new(login, STREAM, "/services/suite");
    assert!(!format!("{settings:?}").contains("secret"));
    let publisher = NatsPublisher::connect(settings).await.unwrap();
    publisher.publish(&[message(allowed, 0)]).await.unwrap();
    let error = publisher
        .publish(&[message(forbidden, 0)])
        .await
        .unwrap_err()
        .error;
    assert_eq!(error.kind(), PublishErrorKind::Refused, "{error}");
    assert_eq!(error.reason(), Some(PublishReason::Forbidden), "{error}");
    publisher.publish(&[message(allowed, 1)]).await.unwrap();
    assert_eq!(broker.got().await.len(), 2);
}

#[tokio::test]
async fn an_event_in_one_document_is_read_as_it_was() {
    let broker = OnNats::open().await;
    let settings = settings(broker.server.url()).with_mode(ContentMode::Structured);
    let publisher = NatsPublisher::connect(settings).await.unwrap();
    let mut sent = Vec::new();
    for tenant in tenants() {
        let at = chrono::DateTime::from_timestamp(5, 0).unwrap();
        let json = NewMessage::new("suite.json", "key").with_occurred_at(at);
        let json = json.with_payload("application/json", br#"{"total": 1}"#.to_vec());
        let bytes = NewMessage::new("suite.bytes", "key").with_occurred_at(at);
        let bytes = bytes.with_payload("application/octet-stream", vec![0, 255]);
        let messages = [Message::new(tenant, json), Message::new(tenant, bytes)];
        publisher.publish(&messages).await.unwrap();
        sent.extend(messages);
        let broken =
            NewMessage::new("suite.json", "key").with_payload("application/json", vec![b'{']);
        let error = publisher
            .publish(&[Message::new(tenant, broken)])
            .await
            .unwrap_err()
            .error;
        assert_eq!(error.kind(), PublishErrorKind::Poison);
        assert_eq!(error.reason(), Some(PublishReason::Unwritable));
    }
    assert_eq!(broker.got().await, sent);
}

pub(crate) async fn make_graves(context: &jetstream::Context) {
    let graves = stream::Config {
        name: "DEAD".to_owned(),
        subjects: vec!["dead.>".to_owned()],
        ..stream::Config::default()
    };
    context.get_or_create_stream(graves).await.unwrap();
}

#[async_trait]
impl Consumed for OnNats {
    async fn consumer(
        &self,
        subject: &OnPostgres,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Consumer {
        make_graves(&jetstream_of(self.server.url()).await).await;
        let source = NatsSource::new(connection(self.server.url()), STREAM, "dead");
        Consumer::start_nats(&subject.store, source, handler, settings)
            .await
            .unwrap()
    }

    async fn waiting(&self) -> u64 {
        let context = jetstream_of(self.server.url()).await;
        let stream = context.get_stream(STREAM).await.unwrap();
        stream.consumer_info("suite").await.unwrap().num_pending
    }

    async fn dead(&self) -> Vec<(Option<Message>, String)> {
        let context = jetstream_of(self.server.url()).await;
        let stream = context.get_stream("DEAD").await.unwrap();
        let state = stream.cached_info().state.clone();
        let mut dead = Vec::new();
        if state.messages > 0 {
            for sequence in state.first_sequence..=state.last_sequence {
                let raw = stream.get_raw_message(sequence).await.unwrap();
                let reason = raw.headers.get("Tenantry-Dead-Reason").unwrap().to_string();
                // It is left out where there is no room for it.
                if let Some(under) = raw.headers.get("Tenantry-Dead-Subject") {
                    assert_eq!(raw.subject.as_str(), format!("dead.suite.{under}"));
                }
                dead.push((attributes_of(&raw.headers, &raw.payload).ok(), reason));
            }
        }
        dead
    }

    async fn forge(&self, route: &str, attributes: &[(&str, Cow<'_, str>)], payload: &[u8]) {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in attributes {
            headers.append(format!("ce-{name}"), &**value);
        }
        let context = jetstream_of(self.server.url()).await;
        let sent = context.publish_with_headers(route.to_owned(), headers, payload.to_vec().into());
        sent.await.unwrap().await.unwrap();
    }
}

crate::consumer::stories!(OnNats::open);

#[tokio::test]
async fn a_consumer_without_a_place_for_dead_letters_is_not_started() {
    let broker = OnNats::open().await;
    let subject = OnPostgres::open().await;
    let start = async |stream: &str, dead: &str, settings: ConsumerSettings| {
        let source = NatsSource::new(connection(broker.server.url()), stream, dead);
        let handler = Arc::new(crate::consumer::Effects::default());
        let started = Consumer::start_nats(&subject.store, source, handler, settings).await;
        let error = started.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
        error.to_string()
    };
    let settings = crate::consumer::settings;
    assert!(
        start(STREAM, "dead", settings())
            .await
            .contains("no stream takes dead letters: make one with the subjects dead.suite.>")
    );
    assert!(
        start(STREAM, "events.dead", settings())
            .await
            .contains("delivered as messages")
    );
    assert!(
        start("NONE", "dead", settings())
            .await
            .contains("NONE is not there: make it")
    );
    assert!(
        start(STREAM, "dead", ConsumerSettings::new("a b"))
            .await
            .contains("name")
    );
}

/// By somebody who tidies up, and with its stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_gone_on_the_server_is_made_again() {
    let (broker, subject) = (OnNats::open().await, OnPostgres::open().await);
    let effects = Arc::new(crate::consumer::Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<crate::consumer::Effects>::clone(&effects);
    let settings = crate::consumer::settings();
    let consumer = broker.consumer(&subject, handler, settings).await;
    let context = jetstream_of(broker.server.url()).await;
    let publisher = broker.publisher();
    let [tenant, other] = tenants();
    publisher.publish(&[message(tenant, 1)]).await.unwrap();
    until("the first is handled", || effects.count() == 1).await;
    let stream = context.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("suite").await.unwrap();
    publisher.publish(&[message(other, 1)]).await.unwrap();
    until("the second is handled", || effects.count() == 2).await;
    context.delete_stream(STREAM).await.unwrap();
    make_stream(broker.server.url(), good()).await;
    publish_patiently(&*publisher, &[message(tenant, 2)]).await;
    until("the third is handled", || effects.count() == 3).await;
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_consumers_that_get_one_message_at_a_time_keep_the_order() {
    let broker = OnNats::open().await;
    let subject = OnPostgres::open().await;
    make_graves(&jetstream_of(broker.server.url()).await).await;
    let order = Arc::new(crate::consumer::Order::default());
    let source = NatsSource::new(connection(broker.server.url()), STREAM, "dead");
    let start = async |source: NatsSource| {
        let handler: Arc<dyn MessageHandler> = Arc::<crate::consumer::Order>::clone(&order);
        Consumer::start_nats(&subject.store, source, handler, crate::consumer::settings()).await
    };
    let mut consumers = Vec::new();
    for _ in 0..3 {
        let source = source.clone().with_one_at_a_time();
        consumers.push(start(source).await.unwrap());
    }
    crate::consumer::several_keep_the_order(&broker, &order, consumers).await;

    // One on the server that gives out more keeps no order.
    let stream = jetstream_of(broker.server.url()).await;
    let stream = stream.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("suite").await.unwrap();
    start(source.clone()).await.unwrap().stop().await.unwrap();
    let error = start(source.with_one_at_a_time()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert!(error.to_string().contains("max_ack_pending"), "{error}");
}

/// An event that came from elsewhere goes to two tenants with the identifier that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identifier_is_that_of_its_tenant() {
    let broker = OnNats::open().await;
    let id = MessageId::generate();
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let message = Message::new(tenant, NewMessage::new("suite.a", "k").with_id(id));
        for _ in 0..2 {
            broker
                .publisher()
                .publish(std::slice::from_ref(&message))
                .await
                .unwrap();
        }
    }
    let got: Vec<_> = broker.got().await.iter().map(Message::tenant).collect();
    assert_eq!(got.len(), 2, "{got:?}");
    assert_ne!(got[0], got[1]);
}
