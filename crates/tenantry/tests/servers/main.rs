//! A service with everything: PostgreSQL, Redis, NATS and Azurite, by one settings file.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod brokers;
mod closing;
mod health;
mod ownership;
mod rotation;
mod story;
mod world;
