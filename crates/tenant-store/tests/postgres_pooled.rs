//! The conformance suite on PostgreSQL, behind PgBouncer in transaction mode.

#![cfg(all(feature = "postgres", feature = "conformance"))]

mod support;

tenantry_store::conformance_suite!(crate::support::Postgres::open_pooled);
