//! What a service sets up to see what Tenantry does: spans and metrics by OTLP, to a collector such as that of
//! `observability/collector.yml`.

mod orders;

use std::error::Error;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tenantry::core::TraceParent;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use self::orders::place_an_order;

/// What is sent to a collector, as long as the process lives.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

impl Telemetry {
    /// Begins to send the spans and metrics of this process, as those of a service, to a collector that takes OTLP by
    /// HTTP: `http://127.0.0.1:4318`, or where the variable `OTEL_EXPORTER_OTLP_ENDPOINT` says. Stores are opened after
    /// this: they take their metrics as they are opened.
    ///
    /// # Errors
    ///
    /// Where the address is none, or the process has a subscriber already. A collector that is not there is no error:
    /// what it should have had is dropped.
    pub fn start(service: &'static str) -> Result<Self, Box<dyn Error>> {
        choose_cryptography();
        let spans = SpanExporter::builder().with_http().build()?;
        let points = MetricExporter::builder().with_http().build()?;
        Self::start_with(service, spans, points)
    }

    /// The same with the address of the collector, such as `http://127.0.0.1:4318`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_to(collector: &str, service: &'static str) -> Result<Self, Box<dyn Error>> {
        choose_cryptography();
        let endpoint = |of| format!("{}/v1/{of}", collector.trim_end_matches('/'));
        let spans = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint("traces"));
        let points = MetricExporter::builder()
            .with_http()
            .with_endpoint(endpoint("metrics"));
        Self::start_with(service, spans.build()?, points.build()?)
    }

    fn start_with(
        service: &'static str,
        spans: SpanExporter,
        points: MetricExporter,
    ) -> Result<Self, Box<dyn Error>> {
        let resource = Resource::builder().with_service_name(service).build();
        let traces = SdkTracerProvider::builder()
            .with_batch_exporter(spans)
            .with_resource(resource.clone())
            .build();
        let metrics = SdkMeterProvider::builder()
            .with_periodic_exporter(points)
            .with_resource(resource)
            .build();
        opentelemetry::global::set_meter_provider(metrics.clone());

        // Of the libraries below, warnings alone: the exporter's own client would tell of itself without end.
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,tenantry=info,telemetry=info"));
        tracing_subscriber::registry()
            .with(filter)
            .with(tracing_opentelemetry::layer().with_tracer(traces.tracer("tenantry")))
            .with(tracing_subscriber::fmt::layer())
            .try_init()?;
        Ok(Self { traces, metrics })
    }

    /// Sends what is left, and ends; it waits for the collector, for some seconds at most.
    ///
    /// # Errors
    ///
    /// Where the collector does not take it.
    pub fn shutdown(self) -> Result<(), Box<dyn Error>> {
        let traces = self.traces.shutdown();
        self.metrics.shutdown()?;
        Ok(traces?)
    }
}

/// Says whose cryptography the process uses. The client of the exporters wants to know where any part of it has TLS, as
/// those of Tenantry for Azure do; that is for a service to say, and for no library.
fn choose_cryptography() {
    // It is an error where it was said before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns the trace that a span is of, for the context of a request: messages of the outbox carry it on, and so their
/// spans are linked to it, in whatever process.
#[must_use]
pub fn trace_of(span: &Span) -> Option<TraceParent> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let (trace, parent) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    TraceParent::new(trace, parent, context.trace_flags().to_u8()).ok()
}
