//! What an operator would see: every span and event of a test, with its fields.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// One span or event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// Spans alone have an end.
    pub(crate) closed: bool,
}

impl Seen {
    /// Returns a field; empty if it was not recorded.
    pub(crate) fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", |value| value)
    }
}

/// Sees what happens on the thread of the test, until it is dropped.
pub(crate) struct Capture {
    seen: Arc<Mutex<Vec<Seen>>>,
    _guard: DefaultGuard,
}

impl Capture {
    pub(crate) fn start() -> Self {
        let seen = Arc::default();
        let layer = Recording(Arc::clone(&seen));
        let subscriber = tracing_subscriber::registry().with(layer);
        Self {
            seen,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Returns what came from a target, in order.
    pub(crate) fn of(&self, target: &str) -> Vec<Seen> {
        let seen = self.seen.lock();
        seen.iter()
            .filter(|it| it.target == target)
            .cloned()
            .collect()
    }

    /// Returns all text that was seen, from whatever source.
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.seen.lock())
    }
}

struct Recording(Arc<Mutex<Vec<Seen>>>);

/// The place of a span among what was seen.
struct Place(usize);

impl Recording {
    fn add(&self, target: &str, record: impl FnOnce(&mut Seen)) -> usize {
        let mut seen = Seen {
            target: target.to_owned(),
            ..Seen::default()
        };
        record(&mut seen);
        let mut all = self.0.lock();
        all.push(seen);
        all.len() - 1
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Recording {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let target = attributes.metadata().target();
        let place = self.add(target, |seen| attributes.record(seen));
        if let Some(span) = cx.span(id) {
            span.extensions_mut().insert(Place(place));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(Place(place)) = span.extensions().get()
        {
            values.record(&mut self.0.lock()[*place]);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.add(event.metadata().target(), |seen| event.record(seen));
    }

    fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
        if let Some(span) = cx.span(&id)
            && let Some(Place(place)) = span.extensions().get()
        {
            self.0.lock()[*place].closed = true;
        }
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }
}
