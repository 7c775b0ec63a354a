//! Streams of a Redis.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tenantry_core::{ErrorKind, TenantId};
use tenantry_outbox::conformance::{RealBroker, publish_patiently};
use tenantry_outbox::{
    CloudEvent, Message, NewMessage, PublishErrorKind, PublishReason, Publisher, RedisConnection,
    RedisDurability, RedisStreamsPublisher, RedisStreamsSettings,
};
use tenantry_store::async_trait;
use tenantry_testkit::{DelayProxy, ProxyOptions, RedisOptions, RedisServer, StopMode};

use crate::worker::storm;

pub(crate) const STREAM: &str = "events";

pub(crate) struct OnRedis {
    pub(crate) server: RedisServer,
    publisher: Arc<RedisStreamsPublisher>,
}

impl OnRedis {
    pub(crate) async fn open() -> Self {
        let options = RedisOptions::default()
            .with_setting("appendonly", "yes")
            .with_setting("appendfsync", "always");
        let server = RedisServer::start_with(options).await.unwrap();
        make(&server).await;
        let publisher = RedisStreamsPublisher::connect(settings(server.url()))
            .await
            .unwrap();
        Self {
            server,
            publisher: Arc::new(publisher),
        }
    }
}

pub(crate) async fn make(server: &RedisServer) {
    let command = ["xgroup", "create", STREAM, "suite", "0", "mkstream"];
    server.execute(&command).await.unwrap();
}

fn settings(url: &str) -> RedisStreamsSettings {
    let connection = RedisConnection::new(url).with_timeout(Duration::from_secs(1));
    RedisStreamsSettings::new(connection, STREAM, "/services/suite").with_most_bytes(100_000)
}

pub(crate) async fn read(url: &str) -> Vec<Message> {
    let client = redis::Client::open(url).unwrap();
    // All of it at once takes its time.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    let entries: Vec<(String, Vec<(String, Value)>)> = redis::cmd("XRANGE")
        .arg(&[STREAM, "-", "+"])
        .query_async(&mut connection)
        .await
        .unwrap();
    let message = |(_, fields): (String, Vec<(String, Value)>)| {
        let mut payload = Vec::new();
        let mut attributes = Vec::new();
        for (name, value) in fields {
            let Value::BulkString(bytes) = value else {
                panic!("{name} is no text");
            };
            match &*name {
                "data" => payload = bytes,
                _ => attributes.push((name, String::from_utf8(bytes).unwrap().into())),
            }
        }
        CloudEvent::read(attributes, payload).unwrap()
    };
    entries.into_iter().map(message).collect()
}

#[async_trait]
impl RealBroker for OnRedis {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::<RedisStreamsPublisher>::clone(&self.publisher)
    }

    async fn got(&self) -> Vec<Message> {
        read(self.server.url()).await
    }

    fn too_large(&self) -> usize {
        100_001
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

tenantry_outbox::publisher_suite!(OnRedis::open);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_there_twice_while_the_server_fails() {
    let broker = OnRedis::open().await;
    let outcome = storm(&broker).await;
    assert!(
        outcome.committed > 100,
        "hardly anything happened: {outcome:?}"
    );
    assert_eq!(outcome.duplicates, 0, "{outcome:?}");
}

fn message(tenant: TenantId, number: usize) -> Message {
    let content = NewMessage::new("suite.number", "key")
        .with_payload("text/plain", number.to_string().into_bytes());
    Message::new(tenant, content)
}

fn tenants() -> [TenantId; 2] {
    [TenantId::generate(), TenantId::generate()]
}

#[tokio::test]
async fn a_server_that_may_lose_or_has_no_stream_is_refused_by_name() {
    let refused = async |options: RedisOptions, durability: RedisDurability, makes: bool| {
        let server = RedisServer::start_with(options).await.unwrap();
        if makes {
            make(&server).await;
        }
        let settings = settings(server.url()).with_durability(durability);
        let error = RedisStreamsPublisher::connect(settings).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
        error.to_string()
    };
    let plain = RedisOptions::default;
    let told = refused(plain(), RedisDurability::Disk, true).await;
    assert!(told.contains("appendonly"), "{told}");
    let evicts = plain().with_setting("maxmemory-policy", "allkeys-lru");
    let told = refused(evicts, RedisDurability::Memory, true).await;
    assert!(told.contains("allkeys-lru"), "{told}");
    let told = refused(plain(), RedisDurability::Replicas(1), true).await;
    assert!(told.contains("replicas"), "{told}");
    let told = refused(plain(), RedisDurability::Memory, false).await;
    assert!(told.contains("events is not there"), "{told}");

    let server = RedisServer::start().await.unwrap();
    let memory = |url: &str| settings(url).with_durability(RedisDurability::Memory);
    server.execute(&["set", STREAM, "x"]).await.unwrap();
    let error = RedisStreamsPublisher::connect(memory(server.url()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no stream"), "{error}");
    let wrong = format!("redis://:wrong@{}", server.address());
    let error = RedisStreamsPublisher::connect(memory(&wrong))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
    let error = RedisStreamsPublisher::connect(memory("redis://127.0.0.1:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = RedisStreamsPublisher::new(memory("http://a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
}

#[cfg(not(feature = "redis-streams-tls"))]
#[test]
fn a_server_over_tls_takes_a_feature() {
    for url in ["rediss://:hunter2@a", "REDISS://:hunter2@a"] {
        let error = RedisStreamsPublisher::new(settings(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
        assert!(error.detail().contains("redis-streams-tls"), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_goes_or_is_full_holds_everything_up() {
    let broker = OnRedis::open().await;
    let publisher =
        RedisStreamsPublisher::connect(settings(broker.server.url()).with_most_entries(2))
            .await
            .unwrap();
    for tenant in tenants() {
        publish_patiently(&publisher, &[message(tenant, 0), message(tenant, 1)]).await;
        let error = publisher
            .publish(&[message(tenant, 2)])
            .await
            .unwrap_err()
            .error;
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert_eq!(error.reason(), Some(PublishReason::Full), "{error:?}");
        broker.server.execute(&["del", STREAM]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        let error = publisher
            .publish(&[message(tenant, 2)])
            .await
            .unwrap_err()
            .error;
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert_eq!(
            error.reason(),
            Some(PublishReason::DestinationMissing),
            "{error:?}"
        );
        make(&broker.server).await;
    }
}

/// Neither what a group has not read, nor what it has not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_group_has_read_is_removed_and_nothing_else() {
    let broker = OnRedis::open().await;
    let settings = settings(broker.server.url()).with_trim_of_what_is_read();
    let [one, two] = tenants();
    let first: Vec<_> = (0..10).map(|number| message(one, number)).collect();
    // The first call of a publisher looks at what may go.
    let fresh = || RedisStreamsPublisher::new(settings.clone()).unwrap();
    fresh().publish(&first).await.unwrap();
    assert_eq!(broker.got().await.len(), 10);
    let read = [
        "xreadgroup",
        "group",
        "suite",
        "reader",
        "count",
        "6",
        "streams",
        STREAM,
        ">",
    ];
    broker.server.execute(&read).await.unwrap();
    fresh().publish(&[message(two, 0)]).await.unwrap();
    assert_eq!(broker.got().await.len(), 11, "nothing is acknowledged");
    let client = redis::Client::open(broker.server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let entries: Vec<(String, Vec<(String, Value)>)> = redis::cmd("XRANGE")
        .arg(&[STREAM, "-", "+"])
        .query_async(&mut connection)
        .await
        .unwrap();
    for (id, _) in &entries[..4] {
        broker
            .server
            .execute(&["xack", STREAM, "suite", id])
            .await
            .unwrap();
    }
    fresh().publish(&[message(two, 1)]).await.unwrap();
    let left = broker.got().await;
    assert_eq!(left.len(), 12 - 4);
    assert_eq!(left[0].payload(), b"4");
}

/// A replica that does not follow holds it up; what was written is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_counts_when_the_replicas_have_it() {
    let broker = OnRedis::open().await;
    let replica = broker.server.start_replica().await.unwrap();
    let settings = settings(broker.server.url()).with_durability(RedisDurability::Replicas(1));
    let publisher = RedisStreamsPublisher::connect(settings).await.unwrap();
    for tenant in tenants() {
        publish_patiently(&publisher, &[message(tenant, 0)]).await;
        replica.pause().await.unwrap();
        let second = [message(tenant, 1)];
        let error = publisher.publish(&second).await.unwrap_err().error;
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert_eq!(error.reason(), Some(PublishReason::NoAnswer), "{error:?}");
        replica.resume().await.unwrap();
        publish_patiently(&publisher, &second).await;
    }
    assert_eq!(broker.got().await.len(), 4);
    let numbers: Vec<_> = read(replica.url())
        .await
        .iter()
        .map(|it| it.payload().to_vec())
        .collect();
    assert_eq!(numbers, [b"0", b"1", b"0", b"1"]);
}

/// The answer is lost with the connection; the message is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_before_the_answer_makes_no_second_message() {
    let broker = OnRedis::open().await;
    let proxy = DelayProxy::start(&broker.server.address(), ProxyOptions::default())
        .await
        .unwrap();
    let url = broker.server.url_through(proxy.address()).unwrap();
    let publisher = RedisStreamsPublisher::connect(settings(&url))
        .await
        .unwrap();
    for tenant in tenants() {
        let messages: Vec<_> = (0..3).map(|number| message(tenant, number)).collect();
        publisher.publish(&messages[..1]).await.unwrap();
        proxy.cut_after(messages[1].id().to_string().into_bytes());
        let stopped = publisher.publish(&messages[1..]).await.unwrap_err();
        assert_eq!(stopped.acknowledged, 0);
        assert_eq!(stopped.error.kind(), PublishErrorKind::Unavailable);
        publish_patiently(&publisher, &messages[1..]).await;
    }
    let got = broker.got().await;
    let numbers: Vec<_> = got.iter().map(Message::payload).collect();
    assert_eq!(numbers, [b"0", b"1", b"2", b"0", b"1", b"2"]);
}

/// Nothing counts as handed over that was not added: not when it comes again either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_added_is_not_taken_for_what_was() {
    let broker = OnRedis::open().await;
    let server = &broker.server;
    let message = Message::new(TenantId::generate(), NewMessage::new("suite.a", "k"));
    let sent = [message];
    let user = [
        "acl",
        "setuser",
        "adds-nothing",
        "on",
        ">secret",
        "~*",
        "+@all",
        "-xadd",
    ];
    server.execute(&user).await.unwrap();
    let plain = format!("redis://adds-nothing:secret@{}", server.address());
    let refused = RedisStreamsPublisher::connect(settings(&plain))
        .await
        .unwrap();
    for _ in 0..2 {
        refused.publish(&sent).await.unwrap_err();
    }
    server.execute(&["del", STREAM]).await.unwrap();
    server.execute(&["set", STREAM, "no stream"]).await.unwrap();
    broker.publisher.publish(&sent).await.unwrap_err();
    server.execute(&["del", STREAM]).await.unwrap();
    make(server).await;
    for _ in 0..2 {
        publish_patiently(&*broker.publisher, &sent).await;
        assert_eq!(read(server.url()).await.len(), 1, "once");
    }
}

/// More of one key than the stream may hold: the rest waits until somebody has read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_stream_takes_what_it_has_room_for() {
    const ROOM: usize = 50;
    let broker = OnRedis::open().await;
    let settings = settings(broker.server.url())
        .with_most_entries(ROOM as u64)
        .with_trim_of_what_is_read();
    let publisher = RedisStreamsPublisher::connect(settings).await.unwrap();
    let tenant = TenantId::generate();
    let sent: Vec<_> = (0..ROOM + 10)
        .map(|number| message(tenant, number))
        .collect();
    let stopped = publisher.publish(&sent).await.unwrap_err();
    assert_eq!(stopped.acknowledged, ROOM, "{stopped:?}");
    let got: Vec<_> = broker.got().await.iter().map(Message::id).collect();
    let expected: Vec<_> = sent[..ROOM].iter().map(Message::id).collect();
    assert_eq!(got, expected);
    // It is acknowledged again, also where the answer was lost and nothing fits any longer.
    publisher.publish(&sent[..ROOM]).await.unwrap();
    assert_eq!(broker.got().await.len(), ROOM);
}

/// As long as the server can count it, and nothing that it would refuse with each message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_without_an_end_is_refused_and_the_longest_works() {
    let broker = OnRedis::open().await;
    let with = |window| settings(broker.server.url()).with_duplicate_window(window);
    let longest = Duration::from_secs(30 * 24 * 60 * 60);
    for window in [longest + Duration::from_millis(1), Duration::MAX] {
        let refused = RedisStreamsPublisher::new(with(window)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidSettings);
    }
    for window in [longest, Duration::from_millis(1), Duration::ZERO] {
        let publisher = RedisStreamsPublisher::new(with(window)).unwrap();
        let sent = message(TenantId::generate(), 1);
        publisher.publish(&[sent]).await.unwrap();
    }
    assert_eq!(broker.got().await.len(), 3);
}
