//! What an operator sees: spans of what is sent and handled, with the feature `otel` metrics, and with `otel-links` the
//! way from a span to where its messages come from.

#[cfg(feature = "otel")]
mod consumed;
#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel-links")]
mod links;
#[cfg(feature = "otel")]
mod otel;
#[cfg(not(feature = "otel-links"))]
mod unlinked;

#[cfg(feature = "otel")]
pub(crate) use consumed::Consumed;
#[cfg(not(feature = "otel"))]
pub(crate) use disabled::{Consumed, Metrics};
#[cfg(feature = "otel")]
pub(crate) use otel::Metrics;

#[cfg(feature = "otel-links")]
use links::link;
#[cfg(not(feature = "otel-links"))]
use unlinked::link;

use tracing::Span;
use tracing::field::{Empty, display};

use crate::Message;

/// Returns the span of a call of a publisher: the root of a trace, for a message that waited long
/// would stretch the one of its request. That one is linked to; of the first message it stands in a field as well.
pub(crate) fn sending(system: &'static str, messages: &[Message]) -> Span {
    let span = tracing::info_span!(
        target: "tenantry::outbox",
        parent: None,
        "tenantry.outbox.send",
        otel.name = Empty,
        otel.status_code = Empty,
        // It creates nothing: what the messages bear is the context in which they were appended.
        otel.kind = "client",
        messaging.system = system,
        messaging.operation.name = "send",
        messaging.operation.r#type = "send",
        // Signed, or it would be exported as a text.
        messaging.batch.message_count = i64::try_from(messages.len()).unwrap_or(i64::MAX),
        messaging.destination.name = Empty,
        messaging.message.id = Empty,
        tenant.id = Empty,
        tenantry.creation.traceparent = Empty,
        tenantry.outcome = Empty,
        error.r#type = Empty,
    );
    if !span.is_disabled()
        && let [first, ..] = messages
    {
        span.record("otel.name", format_args!("send {}", first.event_type()));
        span.record("messaging.destination.name", first.event_type());
        span.record("tenant.id", display(first.tenant()));
        if messages.len() == 1 {
            span.record("messaging.message.id", display(first.id()));
        }
        if let Some(trace) = first.trace() {
            span.record("tenantry.creation.traceparent", display(trace));
        }
        link(&span, messages);
    }
    span
}

/// Returns the span of an attempt to handle a message, the root of a trace as well, which is linked to that of the
/// message; the handler finds the trace of the message in the context of its unit of work.
pub(crate) fn processing(system: &'static str, consumer: &str, message: &Message) -> Span {
    let span = tracing::info_span!(
        target: "tenantry::outbox",
        parent: None,
        "tenantry.outbox.process",
        otel.name = Empty,
        otel.status_code = Empty,
        otel.kind = "consumer",
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = message.event_type(),
        messaging.consumer.group.name = consumer,
        messaging.message.id = Empty,
        tenant.id = Empty,
        tenantry.creation.traceparent = Empty,
        tenantry.outcome = Empty,
        error.r#type = Empty,
    );
    if !span.is_disabled() {
        span.record(
            "otel.name",
            format_args!("process {}", message.event_type()),
        );
        span.record("messaging.message.id", display(message.id()));
        span.record("tenant.id", display(message.tenant()));
        if let Some(trace) = message.trace() {
            span.record("tenantry.creation.traceparent", display(trace));
        }
        link(&span, std::slice::from_ref(message));
    }
    span
}

/// Writes down how what a span is of has ended: by `done`, or by a failure, which is an error to OpenTelemetry as well.
pub(crate) fn ended(span: &Span, done: &'static str, failure: Option<&'static str>) {
    span.record("tenantry.outcome", failure.unwrap_or(done));
    if let Some(failure) = failure {
        span.record("error.type", failure);
        span.record("otel.status_code", "ERROR");
    }
}

/// What became of a message that a broker has given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It was handled, by its first attempt or a later one.
    Handled,
    /// It had been handled before.
    Duplicate,
    /// It was given up, for this reason.
    DeadLettered(&'static str),
    /// It was given back, and comes again.
    Released,
}
