//! From the span of a call of a publisher one gets to where its messages come from.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use opentelemetry::trace::{Link, SpanId, SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tenantry_core::{RequestContext, TenantId, TraceParent};
use tenantry_outbox::conformance::{Broker, quick, until};
use tenantry_outbox::{MessageId, NewMessage, OUTBOX_SQLITE, Outbox, OutboxWorker};
use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};
use tracing_subscriber::layer::SubscriberExt as _;

const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn trace(text: &str) -> TraceParent {
    text.parse().unwrap()
}

/// Returns what a link says, its context as the header would.
fn said(link: &Link) -> (String, String, String) {
    let context = &link.span_context;
    assert!(context.is_remote());
    let flags = context.trace_flags().to_u8();
    let header = format!(
        "00-{}-{}-{flags:02x}",
        context.trace_id(),
        context.span_id()
    );
    let [id] = &*link.attributes else {
        panic!("{:?}", link.attributes)
    };
    assert_eq!(id.key.as_str(), "messaging.message.id");
    (header, context.trace_state().header(), id.value.to_string())
}

fn count_of(span: &SpanData) -> i64 {
    let mut attributes = span.attributes.iter();
    let count = attributes.find(|it| it.key.as_str() == "messaging.batch.message_count");
    let opentelemetry::Value::I64(count) = count.unwrap().value else {
        panic!("{span:?}")
    };
    count
}

// One test alone: the subscriber is that of the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_linked_to_the_trace_of_each_message_sampled_or_not() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("suite"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();

    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    let platform = PlatformStore::sqlite(settings).await.unwrap();
    let outbox = Outbox::new(&store);

    // That of the request, and one that somebody else has begun.
    let context = RequestContext::system().with_trace(trace(UNSAMPLED));
    let tenant = store.tenant(TenantId::generate()).with_context(context);
    let work = tenant.begin().await.unwrap();
    let append = |message| outbox.append_message(&work, message).unwrap();
    let of_request = append(NewMessage::new("a", "few"));
    let of_other = append(
        NewMessage::new("a", "few").with_trace(trace(SAMPLED), Some("vendor=of theirs".to_owned())),
    );
    // A state that nobody can read takes no link away.
    let of_junk =
        append(NewMessage::new("a", "few").with_trace(trace(SAMPLED), Some("no state".to_owned())));
    work.commit().await.unwrap();
    let tenant = store.tenant(tenant.tenant());
    let work = tenant.begin().await.unwrap();
    outbox
        .append_message(&work, NewMessage::new("a", "few"))
        .unwrap();
    let many: Vec<MessageId> = (0..200)
        .map(|_| NewMessage::new("a", "many").with_trace(trace(SAMPLED), None))
        .map(|message| outbox.append_message(&work, message).unwrap())
        .collect();
    work.commit().await.unwrap();

    let broker = Broker::default();
    let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), quick()).unwrap();
    until("all have left", || broker.count() == 204).await;
    worker.stop().await.unwrap();
    provider.force_flush().unwrap();

    let mut sent = exporter.get_finished_spans().unwrap();
    sent.retain(|span| span.name == "send a");
    sent.sort_by_key(count_of);
    let [few, most] = &*sent else {
        panic!("{sent:?}")
    };
    for span in [few, most] {
        assert_eq!(span.span_kind, SpanKind::Client);
        // A trace of its own, which is none of those that it is linked to.
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        for link in span.links.iter() {
            assert_ne!(link.span_context.trace_id(), span.span_context.trace_id());
        }
    }
    assert_eq!(count_of(few), 4);
    let found: Vec<_> = few.links.iter().map(said).collect();
    let link = |header: &str, state: &str, id: MessageId| {
        (header.to_owned(), state.to_owned(), id.to_string())
    };
    let expected = [
        link(UNSAMPLED, "", of_request),
        link(SAMPLED, "vendor=of theirs", of_other),
        link(SAMPLED, "", of_junk),
    ];
    assert_eq!(found, expected);

    // As many as an SDK takes, from the first on.
    assert_eq!(count_of(most), 200);
    let found: Vec<_> = most.links.iter().map(said).collect();
    let expected: Vec<_> = many[..128]
        .iter()
        .map(|id| link(SAMPLED, "", *id))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(most.links.dropped_count, 0);
}
