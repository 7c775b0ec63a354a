//! Publishers and consumers against the brokers that they are for.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod buried;
mod consumer;
mod graves;
mod nats;
mod rabbitmq;
mod redis_streams;
mod refused;
#[path = "../postgres/subject.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of the outbox on PostgreSQL"
)]
mod subject;
mod tls;
mod worker;
