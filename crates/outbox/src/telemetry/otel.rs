use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use parking_lot::Mutex;
use tenantry_core::telemetry as names;
use tenantry_core::{Clock as _, SystemClock};

use crate::OutboxStatus;

/// How long calls of a publisher take, how many messages leave, and how the outbox is doing.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    system: &'static str,
    durations: Histogram<f64>,
    sent: Counter<u64>,
    /// As a worker has seen it last; none where another one looks.
    status: Arc<Mutex<Option<OutboxStatus>>>,
}

/// Which database figures are of.
fn place(status: &OutboxStatus) -> Vec<KeyValue> {
    let database = KeyValue::new(names::DB_NAMESPACE, status.database.clone());
    let cluster = status.cluster.clone();
    let cluster = cluster.map(|it| KeyValue::new(names::OUTBOX_CLUSTER, it));
    std::iter::once(database).chain(cluster).collect()
}

/// A name, what it tells, and where that stands.
type Gauge = (&'static str, &'static str, fn(&OutboxStatus) -> u64);

impl Metrics {
    pub(crate) const IS_ON: bool = true;

    pub(crate) fn new(system: &'static str) -> Self {
        let meter = global::meter("tenantry");
        // The API has no way to take a callback away: that of a worker which has ended observes nothing.
        let status: Arc<Mutex<Option<OutboxStatus>>> = Arc::default();
        let gauges: [Gauge; 6] = [
            (
                names::OUTBOX_BACKLOG,
                "Messages that have not left.",
                |it| it.backlog,
            ),
            (
                names::OUTBOX_PARKED,
                "Messages that wait behind a failure.",
                |it| it.waiting,
            ),
            (
                names::OUTBOX_BLOCKED,
                "Messages that were given up and block their key.",
                |it| it.blocked,
            ),
            (
                names::OUTBOX_DEAD,
                "Messages that were given up and passed by.",
                |it| it.dead,
            ),
            (
                names::OUTBOX_DEAD_TUPLES,
                "Rows of messages to be cleaned up.",
                |it| it.dead_tuples,
            ),
            (names::OUTBOX_WORKERS, "Workers that are alive.", |it| {
                it.workers
            }),
        ];
        for (name, description, value) in gauges {
            let status = Arc::downgrade(&status);
            let _ = meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| {
                    if let Some(status) = status.upgrade()
                        && let Some(status) = &*status.lock()
                    {
                        observer.observe(value(status), &place(status));
                    }
                })
                .build();
        }
        let of_age = Arc::downgrade(&status);
        let _ = meter
            .f64_observable_gauge(names::OUTBOX_OLDEST_UNSENT_AGE)
            .with_unit(names::OUTBOX_OLDEST_UNSENT_AGE_UNIT)
            .with_description("How long ago the first message occurred that has not left.")
            .with_callback(move |observer| {
                if let Some(status) = of_age.upgrade()
                    && let Some(status) = &*status.lock()
                {
                    let age = status.oldest_unsent.map(|since| SystemClock.now() - since);
                    let seconds = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
                    observer.observe(seconds.as_secs_f64(), &place(status));
                }
            })
            .build();
        Self {
            system,
            durations: meter
                .f64_histogram(names::MESSAGING_CLIENT_OPERATION_DURATION)
                .with_unit(names::MESSAGING_CLIENT_OPERATION_DURATION_UNIT)
                .with_description("Duration of calls of publishers.")
                .with_boundaries(names::DB_CLIENT_OPERATION_DURATION_BUCKETS.to_vec())
                .build(),
            sent: meter
                .u64_counter(names::MESSAGING_CLIENT_SENT_MESSAGES)
                .with_description("Messages that the broker has acknowledged.")
                .build(),
            status,
        }
    }

    pub(crate) fn sent(&self, took: Duration, messages: usize, failure: Option<&'static str>) {
        let attributes = [
            KeyValue::new(names::MESSAGING_SYSTEM, self.system),
            KeyValue::new(names::MESSAGING_OPERATION_NAME, "send"),
            KeyValue::new(names::ERROR_TYPE, failure.unwrap_or_default()),
        ];
        // What may be absent stands at the end.
        let end = if failure.is_some() { 3 } else { 2 };
        self.durations
            .record(took.as_secs_f64(), &attributes[..end]);
        self.sent.add(
            u64::try_from(messages).unwrap_or(u64::MAX),
            &attributes[..2],
        );
    }

    pub(crate) fn stands(&self, status: Option<OutboxStatus>) {
        *self.status.lock() = status;
    }
}
