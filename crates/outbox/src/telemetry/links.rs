use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use tenantry_core::TraceParent;
use tenantry_core::telemetry as names;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::Message;

/// As many links as an SDK keeps of a span, unless it is told otherwise.
const MOST: usize = 128;

/// Links a span to the contexts in which its messages were appended, sampled or not.
pub(super) fn link(span: &Span, messages: &[Message]) {
    let created = messages
        .iter()
        .filter_map(|message| Some((message, message.trace()?)));
    for (message, trace) in created.take(MOST) {
        let id = KeyValue::new(names::MESSAGING_MESSAGE_ID, message.id().to_string());
        span.add_link_with_attributes(context(trace, message.trace_state()), vec![id]);
    }
}

fn context(trace: TraceParent, state: Option<&str>) -> SpanContext {
    // What vendors have put beside it is not worth a link that is missing.
    let state = state.and_then(|state| state.parse::<TraceState>().ok());
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id()),
        SpanId::from_bytes(trace.parent_id()),
        TraceFlags::new(trace.flags()),
        true,
        state.unwrap_or_default(),
    )
}
