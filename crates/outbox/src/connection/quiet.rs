//! A log without what a client writes of its own login.

use std::mem::ManuallyDrop;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// Keeps what `client` writes at `TRACE` in this thread, from now on, out of the log: each frame as it goes to the server,
/// the one with the login among them.
pub(super) fn leave_frames_out_of_log(client: &'static str) {
    let inner = dispatcher::get_default(Dispatch::clone);
    if inner.is::<NoSubscriber>() || inner.is::<WithoutFrames>() {
        return;
    }
    let without = Dispatch::new(WithoutFrames {
        most: LevelFilter::current(),
        inner,
        client,
    });
    // It is for as long as the thread, which the client has for one connection.
    let _ = ManuallyDrop::new(dispatcher::set_default(&without));
}

/// Hands everything else on.
struct WithoutFrames {
    /// Of the whole process; one that says nothing would make it ask for each event of each level.
    most: LevelFilter,
    inner: Dispatch,
    client: &'static str,
}

impl WithoutFrames {
    fn is_left_out(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::TRACE && metadata.target().starts_with(self.client)
    }
}

impl Subscriber for WithoutFrames {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.is_left_out(metadata) {
            true => Interest::never(),
            false => self.inner.register_callsite(metadata),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !self.is_left_out(metadata) && self.inner.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.inner.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        !self.is_left_out(event.metadata())
    }

    fn event(&self, event: &Event<'_>) {
        self.inner.event(event);
    }

    fn enter(&self, span: &Id) {
        self.inner.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.inner.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.inner.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.inner.try_close(id)
    }
}
