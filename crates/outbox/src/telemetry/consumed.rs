use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use tenantry_core::telemetry as names;
use tenantry_core::{Clock as _, SystemClock};

use super::Settled;
use crate::Message;

/// How many messages come, how old they are, how long they take, and what becomes of them.
#[derive(Debug, Clone)]
pub(crate) struct Consumed {
    system: KeyValue,
    consumer: KeyValue,
    received: Counter<u64>,
    ages: Histogram<f64>,
    durations: Histogram<f64>,
    settled: Counter<u64>,
}

impl Consumed {
    pub(crate) fn new(system: &'static str, consumer: &str) -> Self {
        let meter = global::meter("tenantry");
        Self {
            system: KeyValue::new(names::MESSAGING_SYSTEM, system),
            consumer: KeyValue::new(names::MESSAGING_CONSUMER_GROUP_NAME, consumer.to_owned()),
            received: meter
                .u64_counter(names::MESSAGING_CLIENT_CONSUMED_MESSAGES)
                .with_description("Messages that the broker has given out.")
                .build(),
            ages: meter
                .f64_histogram(names::CONSUMER_MESSAGE_AGE)
                .with_unit(names::CONSUMER_MESSAGE_AGE_UNIT)
                .with_description("How long ago messages occurred when they are first handled.")
                .with_boundaries(names::CONSUMER_MESSAGE_AGE_BUCKETS.to_vec())
                .build(),
            durations: meter
                .f64_histogram(names::MESSAGING_PROCESS_DURATION)
                .with_unit(names::MESSAGING_PROCESS_DURATION_UNIT)
                .with_description("Duration of attempts to handle a message.")
                .with_boundaries(names::MESSAGING_PROCESS_DURATION_BUCKETS.to_vec())
                .build(),
            settled: meter
                .u64_counter(names::CONSUMER_SETTLED)
                .with_description("What became of messages that were given out.")
                .build(),
        }
    }

    pub(crate) fn received(&self, messages: usize) {
        let attributes = self.attributes("receive");
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.received.add(messages, &attributes);
    }

    /// The clocks of services differ: what is of the future is as old as nothing.
    pub(crate) fn begins(&self, message: &Message) {
        let age = SystemClock.now() - message.occurred_at();
        let age = age.to_std().unwrap_or_default();
        let attributes = [self.system.clone(), self.consumer.clone()];
        self.ages.record(age.as_secs_f64(), &attributes);
    }

    pub(crate) fn attempted(&self, took: Duration, failure: Option<&'static str>) {
        let seconds = took.as_secs_f64();
        let [system, operation, consumer] = self.attributes("process");
        match failure {
            None => self
                .durations
                .record(seconds, &[system, operation, consumer]),
            Some(failure) => {
                let failure = KeyValue::new(names::ERROR_TYPE, failure);
                let attributes = [system, operation, consumer, failure];
                self.durations.record(seconds, &attributes);
            }
        }
    }

    pub(crate) fn settled(&self, settled: Settled) {
        let (outcome, reason) = match settled {
            Settled::Handled => ("handled", None),
            Settled::Duplicate => ("duplicate", None),
            Settled::DeadLettered(reason) => ("dead_lettered", Some(reason)),
            Settled::Released => ("released", None),
        };
        let attributes = [
            self.system.clone(),
            self.consumer.clone(),
            KeyValue::new(names::OUTCOME, outcome),
            KeyValue::new(names::ERROR_TYPE, reason.unwrap_or_default()),
        ];
        // What may be absent stands at the end.
        let end = if reason.is_some() { 4 } else { 3 };
        self.settled.add(1, &attributes[..end]);
    }

    fn attributes(&self, operation: &'static str) -> [KeyValue; 3] {
        [
            self.system.clone(),
            KeyValue::new(names::MESSAGING_OPERATION_NAME, operation),
            self.consumer.clone(),
        ]
    }
}
