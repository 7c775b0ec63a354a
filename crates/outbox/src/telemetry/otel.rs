use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram};
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

/// A name, its unit, what it tells, and where that stands.
type Gauge<T> = (
    &'static str,
    &'static str,
    &'static str,
    fn(&OutboxStatus) -> Option<T>,
);

const COUNTS: [Gauge<u64>; 7] = [
    (
        names::OUTBOX_BACKLOG,
        "",
        "Messages that have not left.",
        |it| Some(it.backlog),
    ),
    (
        names::OUTBOX_PARKED,
        "",
        "Messages that wait behind a failure.",
        |it| Some(it.waiting),
    ),
    (
        names::OUTBOX_BLOCKED,
        "",
        "Messages that were given up and block their key.",
        |it| Some(it.blocked),
    ),
    (
        names::OUTBOX_DEAD,
        "",
        "Messages that were given up and passed by.",
        |it| Some(it.dead),
    ),
    (
        names::OUTBOX_DEAD_TUPLES,
        "",
        "Rows of messages to be cleaned up.",
        |it| Some(it.dead_tuples),
    ),
    (names::OUTBOX_WORKERS, "", "Workers that are alive.", |it| {
        Some(it.workers)
    }),
    (
        names::OUTBOX_SIZE,
        names::OUTBOX_SIZE_UNIT,
        "Bytes that the log takes, with its indices.",
        |it| it.bytes,
    ),
];

const AGES: [Gauge<f64>; 2] = [
    (
        names::OUTBOX_OLDEST_UNSENT_AGE,
        names::OUTBOX_OLDEST_UNSENT_AGE_UNIT,
        "How long ago the first message occurred that has not left.",
        |it| Some(age(it.oldest_unsent)),
    ),
    (
        names::OUTBOX_OLDEST_KEPT_AGE,
        names::OUTBOX_OLDEST_KEPT_AGE_UNIT,
        "How long ago the first message occurred whose row stands.",
        |it| Some(age(it.oldest_kept)),
    ),
];

/// Returns how many seconds ago that was: none, where there is nothing.
fn age(since: Option<DateTime<Utc>>) -> f64 {
    let age = since.map(|since| SystemClock.now() - since);
    let age = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
    age.as_secs_f64()
}

/// Returns what observes a gauge, for as long as somebody keeps the status.
fn observing<T: 'static>(
    status: &Arc<Mutex<Option<OutboxStatus>>>,
    value: fn(&OutboxStatus) -> Option<T>,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    let status = Arc::downgrade(status);
    move |observer| {
        if let Some(status) = status.upgrade()
            && let Some(status) = &*status.lock()
            && let Some(value) = value(status)
        {
            observer.observe(value, &place(status));
        }
    }
}

impl Metrics {
    pub(crate) const IS_ON: bool = true;

    pub(crate) fn new(system: &'static str) -> Self {
        let meter = global::meter("tenantry");
        // The API has no way to take a callback away: that of a worker which has ended observes nothing.
        let status: Arc<Mutex<Option<OutboxStatus>>> = Arc::default();
        for (name, unit, description, value) in COUNTS {
            let _ = meter
                .u64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(observing(&status, value))
                .build();
        }
        for (name, unit, description, value) in AGES {
            let _ = meter
                .f64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(observing(&status, value))
                .build();
        }
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
