//! The conformance suite on PostgreSQL.

#![cfg(all(feature = "postgres", feature = "conformance"))]

mod support;

tenantry_store::conformance_suite!(crate::support::Postgres::open);
