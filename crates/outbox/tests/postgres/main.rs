//! The outbox on PostgreSQL: what it does on every database, and what is of this one alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod answers;
mod disk;
mod failover;
mod fences;
mod idle;
mod kept;
mod lanes;
mod outages;
mod parked;
mod processes;
mod restored;
mod several;
mod stragglers;
mod subject;
mod unreadable;
mod unsaved;
mod walls;

use subject::OnPostgres;

tenantry_outbox::conformance_suite!(OnPostgres::open);
