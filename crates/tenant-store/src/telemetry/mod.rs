//! What an operator sees: a span for each operation, and with the feature `otel` a histogram.

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
use disabled::Durations;
#[cfg(feature = "otel")]
use otel::Durations;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use futures_core::stream::BoxStream;
use tenantry_core::{Result, TenantId};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// How an operation ended whose caller did not wait for its end.
const DROPPED: &str = "dropped";

/// Watches the operations of one store.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    system: &'static str,
    durations: Durations,
}

impl Telemetry {
    pub(crate) fn new(system: &'static str) -> Self {
        Self {
            system,
            durations: Durations::new(system),
        }
    }

    /// Runs an operation inside its span, and records how long it took and how it ended.
    ///
    /// An operation on no table in particular, such as a commit, names `""`.
    pub(crate) async fn observe<T>(
        &self,
        operation: &'static str,
        table: &'static str,
        tenant: Option<TenantId>,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let mut observation = self.start(operation, table, tenant);
        let result = if observation.span.is_disabled() {
            future.await
        } else {
            future.instrument(observation.span.clone()).await
        };
        observation.failure = failure_of(&result);
        result
    }

    /// Does the same for a stream, from its first poll to its end.
    pub(crate) fn observe_stream<'s, T: Send + 's>(
        &self,
        operation: &'static str,
        table: &'static str,
        tenant: Option<TenantId>,
        stream: BoxStream<'s, Result<T>>,
    ) -> BoxStream<'s, Result<T>> {
        Box::pin(Observed {
            telemetry: self.clone(),
            start: (operation, table, tenant),
            observation: None,
            stream,
        })
    }

    /// Does the same for what hand-written SQL answers.
    #[cfg(feature = "guard")]
    pub(crate) fn observe_rows<'s, T: Send + 's>(
        &self,
        operation: &'static str,
        tenant: Option<TenantId>,
        stream: BoxStream<'s, Result<T, sqlx::Error>>,
    ) -> BoxStream<'s, Result<T, sqlx::Error>> {
        Box::pin(Observed {
            telemetry: self.clone(),
            start: (operation, "", tenant),
            observation: None,
            stream,
        })
    }

    fn start(
        &self,
        operation: &'static str,
        table: &'static str,
        tenant: Option<TenantId>,
    ) -> Observation {
        let span = tracing::info_span!(
            target: "tenantry::store",
            "tenantry.store",
            db.system.name = self.system,
            db.operation.name = operation,
            db.collection.name = Empty,
            tenant.id = Empty,
            tenantry.outcome = Empty,
        );
        if !span.is_disabled() {
            if !table.is_empty() {
                span.record("db.collection.name", table);
            }
            if let Some(tenant) = tenant {
                span.record("tenant.id", tracing::field::display(tenant));
            }
        }
        Observation {
            durations: self.durations.clone(),
            span,
            started: Instant::now(),
            operation,
            table,
            failure: Some(DROPPED),
        }
    }
}

/// One operation under way. What became of it is recorded when it is dropped, by whomever.
struct Observation {
    durations: Durations,
    span: Span,
    started: Instant,
    operation: &'static str,
    table: &'static str,
    failure: Option<&'static str>,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let failure = self.failure;
        self.span
            .record("tenantry.outcome", failure.unwrap_or("ok"));
        self.durations
            .record(self.started.elapsed(), self.operation, self.table, failure);
    }
}

/// A stream with its observation. Whoever has seen a row and wants no more has seen it succeed.
struct Observed<'s, T, E> {
    telemetry: Telemetry,
    start: (&'static str, &'static str, Option<TenantId>),
    observation: Option<Observation>,
    stream: BoxStream<'s, Result<T, E>>,
}

impl<T, E: Failure> Stream for Observed<'_, T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            telemetry,
            start: (operation, table, tenant),
            observation,
            stream,
        } = &mut *self;
        let observation =
            observation.get_or_insert_with(|| telemetry.start(operation, table, *tenant));
        let item = {
            let _entered = observation.span.enter();
            ready!(stream.as_mut().poll_next(context))
        };
        match &item {
            Some(result) => observation.failure = failure_of(result),
            // An error was the last item; without one the stream may have had none at all.
            None if observation.failure == Some(DROPPED) => observation.failure = None,
            None => {}
        }
        Poll::Ready(item)
    }
}

fn failure_of<T, E: Failure>(result: &Result<T, E>) -> Option<&'static str> {
    result.as_ref().err().map(E::name)
}

/// An error with a name for metrics.
trait Failure {
    fn name(&self) -> &'static str;
}

impl Failure for tenantry_core::Error {
    fn name(&self) -> &'static str {
        self.kind().as_str()
    }
}

#[cfg(feature = "guard")]
impl Failure for sqlx::Error {
    fn name(&self) -> &'static str {
        crate::guard::kind_of(self).as_str()
    }
}
