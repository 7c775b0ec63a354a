//! What a collector gets of one request.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use telemetry::{Telemetry, place_an_order};
use tokio::net::TcpListener;

/// What has come.
#[derive(Debug, Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Takes OTLP by HTTP; returns where.
    async fn serve(&self) -> String {
        let (spans, metrics) = (Arc::clone(&self.spans), Arc::clone(&self.metrics));
        let traces = move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = request
                .resource_spans
                .into_iter()
                .flat_map(|it| it.scope_spans);
            spans.lock().unwrap().extend(scopes.flat_map(|it| it.spans));
        };
        let points = move |body: Bytes| async move {
            let request = ExportMetricsServiceRequest::decode(body).unwrap();
            let scopes = request
                .resource_metrics
                .into_iter()
                .flat_map(|it| it.scope_metrics);
            let names = scopes.flat_map(|it| it.metrics).map(|it| it.name);
            metrics.lock().unwrap().extend(names);
        };
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(points));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

// One test alone: the subscriber is that of the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_request_its_unit_of_work_and_the_way_of_its_event() {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let telemetry = Telemetry::start_to(&endpoint, "orders").unwrap();
    place_an_order().await.unwrap();
    let ended = tokio::task::spawn_blocking(|| telemetry.shutdown().map_err(|it| it.to_string()));
    ended.await.unwrap().unwrap();

    let spans = collector.spans.lock().unwrap();
    let request = spans.iter().find(|it| it.name == "POST /orders").unwrap();
    let is_inside = |span: &&Span| span.parent_span_id == request.span_id;
    let inside: Vec<_> = spans.iter().filter(is_inside).collect();
    for operation in ["begin", "insert", "commit"] {
        let is_it = |span: &&&Span| attribute(span, "db.operation.name") == Some(operation);
        let of_it: Vec<_> = inside.iter().filter(is_it).collect();
        assert_eq!(of_it.len(), 1, "{operation}: {inside:?}");
        assert_eq!(attribute(of_it[0], "tenantry.outcome"), Some("ok"));
        assert_eq!(of_it[0].trace_id, request.trace_id);
    }
    // It leaves by itself, and leads back to the request.
    let sent: Vec<_> = spans.iter().filter(|it| !it.links.is_empty()).collect();
    assert_eq!(sent.len(), 1, "{spans:?}");
    assert_ne!(sent[0].trace_id, request.trace_id);
    assert_eq!(sent[0].links[0].trace_id, request.trace_id);

    let metrics = collector.metrics.lock().unwrap();
    for name in [
        "db.client.operation.duration",
        "messaging.client.sent.messages",
    ] {
        assert!(metrics.iter().any(|it| it == name), "{name}: {metrics:?}");
    }
}

fn attribute<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let attribute = span.attributes.iter().find(|it| it.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
