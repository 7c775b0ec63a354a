//! Hand-written SQL through the guard, on both databases alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod suite;

mod corners;
mod dropped;
mod postgres;
mod sqlite;
