//! What an operator sees: a span for each call of a publisher, and with the feature `otel` metrics.

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub(crate) use disabled::Metrics;
#[cfg(feature = "otel")]
pub(crate) use otel::Metrics;

use tracing::Span;
use tracing::field::{Empty, display};

use crate::Message;

/// Returns the span of a call of a publisher: the root of a trace, for a message that waited long
/// would stretch the one of its request. That one stands in a field, to link to.
pub(crate) fn sending(system: &'static str, messages: &[Message]) -> Span {
    let span = tracing::info_span!(
        target: "tenantry::outbox",
        parent: None,
        "tenantry.outbox.send",
        messaging.system = system,
        messaging.operation.name = "send",
        messaging.operation.r#type = "send",
        messaging.batch.message_count = messages.len(),
        messaging.destination.name = Empty,
        messaging.message.id = Empty,
        tenant.id = Empty,
        tenantry.creation.traceparent = Empty,
        tenantry.outcome = Empty,
    );
    if !span.is_disabled()
        && let [first, ..] = messages
    {
        span.record("messaging.destination.name", first.event_type());
        span.record("tenant.id", display(first.tenant()));
        if messages.len() == 1 {
            span.record("messaging.message.id", display(first.id()));
        }
        if let Some(trace) = first.trace() {
            span.record("tenantry.creation.traceparent", display(trace));
        }
    }
    span
}

/// Returns the span of an attempt to handle a message, the root of a trace as well; the handler finds the trace of the
/// message in the context of its unit of work.
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
pub(crate) fn processing(system: &'static str, consumer: &str, message: &Message) -> Span {
    let span = tracing::info_span!(
        target: "tenantry::outbox",
        parent: None,
        "tenantry.outbox.process",
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = message.event_type(),
        messaging.consumer.group.name = consumer,
        messaging.message.id = Empty,
        tenant.id = Empty,
        tenantry.creation.traceparent = Empty,
        tenantry.outcome = Empty,
    );
    if !span.is_disabled() {
        span.record("messaging.message.id", display(message.id()));
        span.record("tenant.id", display(message.tenant()));
        if let Some(trace) = message.trace() {
            span.record("tenantry.creation.traceparent", display(trace));
        }
    }
    span
}
