//! Each repository of the product keeps to its tenant, as its service makes it, on both databases.

use std::fmt::Debug;

use chrono::DateTime;
use tenantry::Migrations;
use tenantry::cache::{Cache, CachePolicy};
use tenantry::prelude::*;
use tenantry_testkit::assert_isolated;
use uuid::Uuid;

use crate::notifications::{Notification, NotificationState};
use crate::operations::{Flight, FlightId};
use crate::reporting::{DelayFact, ReportDefinition, ReportFormat, ReportRun, RunState};
use crate::tenants::{TenantRecord, TenantStatus};

/// The tables of a service, of either kind of database.
fn tables(sql: &'static str) -> Migrations {
    Migrations::embedded(&[(1, "tables", sql)])
}

async fn keeps_to_its_tenant<A>(storage: &Storage, make: impl Fn() -> A + Send + Sync)
where
    A: Aggregate + Clone + PartialEq + Debug,
{
    let report = assert_isolated(
        storage.tenant_store(),
        |scope| scope.repository::<A>(),
        make,
    );
    let report = report.await;
    assert!(report.reads > 0 && report.writes > 0);
}

#[tenantry_testkit::test(
    postgres = tables(include_str!("../migrations/postgres/tenants.sql")),
    sqlite = tables(include_str!("../migrations/sqlite/tenants.sql"))
)]
async fn tenants_keep_to_themselves(storage: Storage) {
    let record = || TenantRecord {
        id: Uuid::now_v7(),
        slug: "united".to_owned(),
        name: "United Air Lines".to_owned(),
        carrier: Some("UA".to_owned()),
        status: TenantStatus::Active,
        flights: 1,
        access_code: "env:UNITED".parse().unwrap(),
        version: Version::NEW,
    };
    keeps_to_its_tenant(&storage, record).await;
}

#[tenantry_testkit::test(
    postgres = tables(include_str!("../migrations/postgres/operations.sql")),
    sqlite = tables(include_str!("../migrations/sqlite/operations.sql"))
)]
async fn flights_keep_to_their_tenant_behind_the_cache_as_well(storage: Storage) {
    let flight = || Flight {
        id: FlightId(Uuid::now_v7()),
        number: 1,
        tail_number: None,
        origin: "EWR".to_owned(),
        destination: "IAH".to_owned(),
        scheduled_departure: DateTime::UNIX_EPOCH,
        departure_delay: Some(5),
        is_cancelled: false,
        version: Version::NEW,
    };
    keeps_to_its_tenant(&storage, flight).await;
    let cache = Cache::builder().build().unwrap();
    let cached = storage.cached(&cache).unwrap();
    let cached = cached.aggregate::<Flight>(CachePolicy::default()).unwrap();
    let cached = cached.with_lists(CachePolicy::default()).unwrap();
    let made = |scope: &TenantScope| cached.repository(scope).unwrap();
    let report = assert_isolated(storage.tenant_store(), made, flight).await;
    assert!(report.reads > 0 && report.writes > 0);
}

#[tenantry_testkit::test(
    postgres = tables(include_str!("../migrations/postgres/notifications.sql")),
    sqlite = tables(include_str!("../migrations/sqlite/notifications.sql"))
)]
async fn notifications_keep_to_their_tenant(storage: Storage) {
    let notification = || Notification {
        id: Uuid::now_v7(),
        title: "late".to_owned(),
        body: "a blob".to_owned(),
        attachment: None,
        state: NotificationState::New,
        trace: None,
        created_at: DateTime::UNIX_EPOCH,
        version: Version::NEW,
    };
    keeps_to_its_tenant(&storage, notification).await;
}

#[tenantry_testkit::test(
    postgres = tables(include_str!("../migrations/postgres/reporting.sql")),
    sqlite = tables(include_str!("../migrations/sqlite/reporting.sql"))
)]
async fn reports_keep_to_their_tenant(storage: Storage) {
    let definition = || ReportDefinition {
        id: Uuid::now_v7(),
        name: "late".to_owned(),
        least_minutes: 60,
        format: ReportFormat::Csv,
        runs_by_itself: false,
        retention_days: 30,
        version: Version::NEW,
    };
    keeps_to_its_tenant(&storage, definition).await;
    let run = || ReportRun {
        id: Uuid::now_v7(),
        definition: Uuid::now_v7(),
        name: "late".to_owned(),
        least_minutes: 60,
        format: ReportFormat::Parquet,
        retention_days: 30,
        state: RunState::Queued,
        lease_until: None,
        attempts: 0,
        artifact: None,
        lines: 0,
        trace: None,
        requested_by: "user:ada".to_owned(),
        requested_at: DateTime::UNIX_EPOCH,
        version: Version::NEW,
    };
    keeps_to_its_tenant(&storage, run).await;
    let fact = || DelayFact {
        id: Uuid::now_v7(),
        number: 1,
        origin: "EWR".to_owned(),
        destination: "IAH".to_owned(),
        scheduled_departure: DateTime::UNIX_EPOCH,
        minutes: 90,
        version: Version::NEW,
    };
    keeps_to_its_tenant(&storage, fact).await;
}
