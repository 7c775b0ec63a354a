//! What a connection to PostgreSQL is like, and what of its migrations has not been run.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod support;

use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;
use std::time::Duration;

use support::Walled;
use tenantry_core::{Clock, ErrorKind, SystemClock};
use tenantry_store::conformance::POSTGRES_SCHEMA;
use tenantry_store::postgres::{TlsDemand, migrate, pending_migrations, probe};
use tenantry_store::{Migrations, PostgresSettings};
use tenantry_testkit::{PostgresServer, TestDatabase};

/// A machine whose clock is late.
#[derive(Debug)]
struct Late(TimeDelta);

impl Clock for Late {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() - self.0
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

#[tokio::test]
async fn a_connection_is_told_as_it_is() {
    let walled = Walled::create().await;
    let told = probe(walled.app.url()).await.unwrap();
    assert_eq!(told.user, walled.app.user());
    assert!(told.has_history && told.server_version_num >= 140_000 && !told.in_recovery);
    assert_eq!((told.tls, told.tls_demand), (None, TlsDemand::Either));
    assert!(
        told.tables.contains(&"specimens".to_owned()),
        "{told:?}",
        told = told.tables
    );
    assert!(!told.address.contains(walled.app.password()));

    let late =
        PostgresSettings::new(walled.app.url()).with_clock(Arc::new(Late(TimeDelta::minutes(10))));
    let told = probe(late).await.unwrap();
    let off = (told.clock_ahead - TimeDelta::minutes(10)).abs();
    // One machine has one clock: what is left is the way.
    assert!(
        off <= TimeDelta::from_std(told.round_trip).unwrap(),
        "{off}"
    );
}

#[tokio::test]
async fn a_database_is_told_of_before_its_bootstrap() {
    let database = TestDatabase::create(PostgresServer::shared().await.unwrap())
        .await
        .unwrap();
    let told = probe(database.admin_url()).await.unwrap();
    assert!(told.tables.is_empty() && !told.has_history);
    let url = format!("{}?sslmode=disable", database.admin_url());
    assert_eq!(probe(&*url).await.unwrap().tls_demand, TlsDemand::Plain);
}

#[tokio::test]
async fn what_has_not_been_run_is_told_and_not_run() {
    let walled = Walled::create().await;
    let more = "create table notes (tenant_id uuid not null, id uuid not null, \
                primary key (tenant_id, id)); select tenantry.protect('notes')";
    let migrations =
        Migrations::embedded(&[(1, "conformance", POSTGRES_SCHEMA), (2, "notes", more)]);
    for _ in 0..2 {
        let pending = pending_migrations(walled.owner.url(), &migrations).await;
        assert_eq!(pending.unwrap(), [2]);
    }
    migrate(walled.owner.url(), &migrations).await.unwrap();
    let pending = pending_migrations(walled.owner.url(), &migrations).await;
    assert!(pending.unwrap().is_empty());

    let older = Migrations::embedded(&[(1, "conformance", POSTGRES_SCHEMA)]);
    let error = pending_migrations(walled.owner.url(), &older)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
    let error = pending_migrations(walled.app.url(), &migrations)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
}
