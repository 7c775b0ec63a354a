use tracing::Span;

use crate::Message;

/// Stands in for the links when the feature `otel-links` is off.
pub(super) const fn link(_span: &Span, _messages: &[Message]) {}
