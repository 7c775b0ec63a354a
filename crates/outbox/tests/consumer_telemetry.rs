//! What an operator sees of a consumer.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod told;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tenantry_core::{Clock as _, Error, ErrorKind, SystemClock, TenantId};
use tenantry_outbox::conformance::until;
use tenantry_outbox::{
    Consumer, ConsumerSettings, HandlerError, Message, MessageHandler, MessageId, NatsConnection,
    NatsPublisher, NatsSettings, NatsSource, NewMessage, OUTBOX_SQLITE, Publisher as _,
};
use tenantry_store::{Migrations, SqliteSettings, TenantStore, UnitOfWork, async_trait, sqlite};
use tenantry_testkit::NatsServer;
use tracing_subscriber::layer::SubscriberExt as _;

use told::told;

const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// Counts what it handles, and fails as the message says.
#[derive(Default)]
struct Counts(AtomicUsize);

#[async_trait]
impl MessageHandler for Counts {
    async fn handle(&self, _: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        let failure = Error::new(ErrorKind::Conflict, "as the test asks");
        self.0.fetch_add(1, Ordering::Relaxed);
        match message.payload() {
            b"fails" => Err(HandlerError::Retry(failure)),
            b"poison" => Err(HandlerError::Poison(failure)),
            _ => Ok(()),
        }
    }
}

impl Counts {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn message(tenant: TenantId, payload: &str) -> Message {
    let content = NewMessage::new("suite.number", payload)
        .with_payload("text/plain", payload.into())
        .with_trace(UNSAMPLED.parse().unwrap(), Some("vendor=theirs".to_owned()))
        .with_occurred_at(SystemClock.now());
    Message::new(tenant, content)
}

async fn make_streams(url: &str) -> jetstream::Context {
    let login = url.trim_start_matches("nats://").split_once('@').unwrap().0;
    let (user, password) = login.split_once(':').unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    let context = jetstream::new(options.connect(url).await.unwrap());
    for (name, subjects) in [("EVENTS", "events.>"), ("DEAD", "dead.>")] {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            duplicate_window: Duration::from_secs(120),
            ..stream::Config::default()
        };
        context.create_stream(config).await.unwrap();
    }
    context
}

/// Puts in what every metric of the consumer bears, where its attributes are in the order of their names.
fn of_suite(name: &str) -> String {
    let (start, end) = name.split_once('|').unwrap();
    let mut all: Vec<&str> = vec![
        "messaging.consumer.group.name=suite",
        "messaging.system=nats",
    ];
    let (name, failure) = start.split_once(' ').unwrap_or((start, ""));
    all.extend([failure, end].into_iter().filter(|it| !it.is_empty()));
    all.sort_unstable();
    format!("{name} {}", all.join(" "))
}

/// Sends what a publisher would, without the identifier that the broker tells repetitions by.
async fn send(
    context: &jetstream::Context,
    tenant: TenantId,
    attributes: impl Iterator<Item = (&str, Cow<'_, str>)>,
) {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in attributes {
        headers.append(format!("ce-{name}"), &*value);
    }
    let subject = format!("events.{tenant}.suite.number");
    let sent = context.publish_with_headers(subject, headers, "good".into());
    sent.await.unwrap().await.unwrap();
}

// One test alone: subscriber and provider are those of the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_linked_to_their_message_and_metrics_tell_what_becomes_of_it() {
    let metrics = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(metrics.clone()).with_interval(Duration::from_secs(3_600));
    let meters = SdkMeterProvider::builder()
        .with_reader(reader.build())
        .build();
    opentelemetry::global::set_meter_provider(meters.clone());
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("suite"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();

    let server = NatsServer::start().await.unwrap();
    let context = make_streams(server.url()).await;
    let connection = NatsConnection::new(server.url());
    let publisher = NatsPublisher::connect(NatsSettings::new(connection.clone(), "EVENTS", "/s"))
        .await
        .unwrap();
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();

    let counts = Arc::new(Counts::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Counts>::clone(&counts);
    let waits = Duration::from_millis(5);
    let settings = ConsumerSettings::new("suite")
        .with_attempts(3)
        .with_waits(waits, waits);
    let source = NatsSource::new(connection, "EVENTS", "dead");
    let consumer = Consumer::start_nats(&store, source, handler, settings)
        .await
        .unwrap();
    let tenants = [TenantId::generate(), TenantId::generate()];
    let mut sent = Vec::new();
    for tenant in tenants {
        for payload in ["good", "fails", "poison"] {
            let message = message(tenant, payload);
            publisher
                .publish(std::slice::from_ref(&message))
                .await
                .unwrap();
            sent.push(message);
        }
    }
    // One that fails is tried three times.
    until("all have been tried", || counts.count() == 2 * (1 + 3 + 1)).await;
    // One comes again, and one is no message.
    send(&context, tenants[0], sent[0].cloud_event("/s").attributes()).await;
    send(&context, tenants[0], std::iter::empty()).await;
    let expected: BTreeMap<String, u64> = [
        (
            "messaging.client.consumed.messages|messaging.operation.name=receive",
            8,
        ),
        // Of those that are messages.
        ("tenantry.consumer.message.age|", 7),
        (
            "messaging.process.duration|messaging.operation.name=process",
            3,
        ),
        (
            "messaging.process.duration error.type=failed|messaging.operation.name=process",
            6,
        ),
        (
            "messaging.process.duration error.type=poison|messaging.operation.name=process",
            2,
        ),
        ("tenantry.consumer.settled|tenantry.outcome=handled", 2),
        ("tenantry.consumer.settled|tenantry.outcome=duplicate", 1),
        (
            "tenantry.consumer.settled error.type=failed|tenantry.outcome=dead_lettered",
            2,
        ),
        (
            "tenantry.consumer.settled error.type=poison|tenantry.outcome=dead_lettered",
            2,
        ),
        (
            "tenantry.consumer.settled error.type=unreadable|tenantry.outcome=dead_lettered",
            1,
        ),
    ]
    .into_iter()
    .map(|(name, value)| (of_suite(name), value))
    .collect();
    let mut found = BTreeMap::new();
    for _ in 0..600 {
        metrics.reset();
        meters.force_flush().unwrap();
        found = told(&metrics);
        if found == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(found, expected);
    consumer.stop().await.unwrap();
    tracers.force_flush().unwrap();

    let mut handled = spans.get_finished_spans().unwrap();
    handled.retain(|span| span.name.starts_with("process "));
    let mut found: Vec<String> = Vec::new();
    for span in &handled {
        let said = |name: &str| {
            let mut attributes = span.attributes.iter();
            attributes
                .find(|it| it.key.as_str() == name)
                .unwrap()
                .value
                .to_string()
        };
        assert_eq!(span.span_kind, SpanKind::Consumer);
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        let [link] = &*span.links.links else {
            panic!("{span:?}")
        };
        let context = &link.span_context;
        assert!(context.is_remote() && !context.is_sampled());
        assert_eq!(
            format!("00-{}-{}-00", context.trace_id(), context.span_id()),
            UNSAMPLED
        );
        assert_eq!(context.trace_state().header(), "vendor=theirs");
        assert_eq!(said("tenantry.creation.traceparent"), UNSAMPLED);
        assert_eq!(
            link.attributes[0].value.to_string(),
            said("messaging.message.id")
        );
        let outcome = said("tenantry.outcome");
        let is_failure = !matches!(&*outcome, "ok" | "duplicate");
        assert_eq!(matches!(span.status, Status::Error { .. }), is_failure);
        assert_eq!(
            span.name,
            format!("process {}", said("messaging.destination.name"))
        );
        found.push(format!("{} {}", said("messaging.message.id"), outcome));
    }
    let mut expected = vec![format!("{} duplicate", sent[0].id())];
    for message in &sent {
        let (times, outcome) = match message.payload() {
            b"good" => (1, "ok"),
            b"fails" => (3, "failed"),
            _ => (1, "poison"),
        };
        let id: MessageId = message.id();
        expected.extend(vec![format!("{id} {outcome}"); times]);
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}
