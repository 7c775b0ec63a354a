//! The one way across tenants: for a reason, over another role, and with a trace.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;
mod trouble;

#[path = "trouble/capture.rs"]
mod capture;
#[path = "trouble/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;

use capture::Capture;
use futures_util::{StreamExt as _, TryStreamExt as _};
use postgres::Fixture;
use tenantry_core::{Actor, RequestContext, TenantId};
use tenantry_store::{
    ErrorKind, Filter, Migrations, PlatformScope, PlatformStore, PostgresSettings, Query,
    Repository, RepositoryExt as _, SqliteSettings, TenantScope, TenantStore, sqlite,
};
use trouble::{Customer, SQLITE_TABLES, Tenants, customer};
use uuid::Uuid;

/// A store with its platform store, on one backend.
struct Both {
    store: TenantStore,
    platform: PlatformStore,
    _fixture: Option<Fixture>,
}

impl Both {
    async fn on_postgres() -> Self {
        let fixture = Fixture::open().await;
        Self {
            store: fixture.store.clone(),
            platform: fixture.walled.platform_store().await,
            _fixture: Some(fixture),
        }
    }

    async fn on_sqlite() -> Self {
        let settings = SqliteSettings::temporary();
        let migrations = Migrations::embedded(&[(1, "tables", SQLITE_TABLES)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        Self {
            store: TenantStore::sqlite(settings.clone()).await.unwrap(),
            platform: PlatformStore::sqlite(settings).await.unwrap(),
            _fixture: None,
        }
    }

    async fn each() -> [Self; 2] {
        [Self::on_sqlite().await, Self::on_postgres().await]
    }

    fn scope(&self) -> PlatformScope {
        let actor = Actor::new("nightly-job").unwrap();
        self.platform
            .scope("monthly statistics", RequestContext::new(actor))
            .unwrap()
    }

    /// Stores customers of several tenants, one under an identifier that all of them have.
    async fn fill(&self, tenants: usize) -> BTreeMap<Uuid, u64> {
        let shared = Uuid::now_v7();
        let mut expected = BTreeMap::new();
        for number in 0..tenants {
            let scope = self.store.tenant(TenantId::generate());
            let name = scope.tenant().to_string();
            let mut rows: Vec<_> = (0..=number)
                .map(|row| Customer::named(&format!("{name} {row}")))
                .collect();
            rows[0].id = shared;
            scope.repository().insert_many(&mut rows).await.unwrap();
            expected.insert(scope.tenant().as_uuid(), rows.len().try_into().unwrap());
        }
        expected
    }
}

#[tokio::test]
async fn all_tenants_are_counted() {
    for both in Both::each().await {
        let expected = both.fill(4).await;
        let scope = both.scope();
        let count = scope.count(Filter::<Customer>::all()).await.unwrap();
        assert_eq!(count, expected.values().sum::<u64>());
        let none = Customer::NAME.eq("nobody".to_owned());
        assert_eq!(scope.count(none).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn all_tenants_are_streamed_each_row_with_its_own() {
    for both in Both::each().await {
        let expected = both.fill(4).await;
        let rows: Vec<(TenantId, Customer)> = both
            .scope()
            .stream(Filter::all())
            .try_collect()
            .await
            .unwrap();
        let mut seen = BTreeMap::new();
        for (tenant, row) in &rows {
            assert!(row.name.as_ref().unwrap().starts_with(&tenant.to_string()));
            *seen.entry(tenant.as_uuid()).or_insert(0) += 1;
        }
        assert_eq!(seen, expected);
        assert!(
            rows.is_sorted_by_key(|(_, row)| row.id),
            "in the order of the identifiers"
        );
    }
}

#[tokio::test]
async fn reason_is_asked_for() {
    let both = Both::on_sqlite().await;
    for reason in ["", "  ", "two\nlines", "\u{7}", &"x".repeat(201)] {
        let scope = both
            .platform
            .scope(reason.to_owned(), RequestContext::system());
        let advice = ["say why all tenants are needed, in 1 to 200 bytes on one line"];
        trouble::trouble(scope, ErrorKind::InvalidInput, &advice, &[]);
    }
    both.platform
        .scope("x".repeat(200), RequestContext::system())
        .unwrap();
}

#[tokio::test]
async fn every_use_leaves_an_event_that_says_who_and_why() {
    for both in Both::each().await {
        both.fill(2).await;
        let tenant = TenantId::generate();
        let capture = Capture::start();
        let scope = both.scope();
        assert_eq!(
            capture.of("tenantry::platform"),
            [],
            "nothing was looked at yet"
        );

        scope.count(Filter::<Customer>::all()).await.unwrap();
        drop(scope.stream(Filter::<Customer>::all()).next().await);
        drop(scope.tenant(tenant));
        let events = capture.of("tenantry::platform");
        for event in &events {
            assert_eq!(event.get("reason"), "monthly statistics");
            assert_eq!(event.get("actor"), "nightly-job");
        }
        let what: Vec<_> = events
            .iter()
            .map(|event| {
                let field = |name| event.get(name).to_owned();
                [
                    field("db.operation.name"),
                    field("db.collection.name"),
                    field("tenant.id"),
                ]
            })
            .collect();
        let tenant = tenant.to_string();
        assert_eq!(
            what,
            [
                ["count", "customers", ""],
                ["stream", "customers", ""],
                ["tenant", "", &tenant]
            ]
        );
    }
}

#[tokio::test]
async fn writes_need_a_named_tenant_and_stay_in_it() {
    for both in Both::each().await {
        let tenants = Tenants::of(&both.store);
        let foreign = customer(&tenants.two).await;
        let named: TenantScope = both.scope().tenant(tenants.one.tenant());
        assert_eq!(named.context().actor().as_str(), "nightly-job");
        let repository = named.repository::<Customer>();

        let mut row = Customer::named("by the platform");
        repository.insert(&mut row).await.unwrap();
        assert_eq!(
            tenants
                .one
                .repository::<Customer>()
                .get(row.id)
                .await
                .unwrap(),
            row
        );
        // On PostgreSQL the role sees every row: wall one alone stands here.
        assert_eq!(repository.find(&foreign.id).await.unwrap(), None);
        assert_eq!(repository.list(Query::new()).await.unwrap().items, [row]);
        let update = repository.update(&mut foreign.clone()).await;
        assert_eq!(update.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(
            repository.delete_where(Filter::all(), 100).await.unwrap(),
            1
        );
        assert_eq!(
            tenants
                .two
                .repository::<Customer>()
                .get(foreign.id)
                .await
                .unwrap(),
            foreign
        );
    }
}

#[tokio::test]
async fn role_of_the_services_does_not_open_the_platform() {
    let fixture = Fixture::open().await;
    let settings = PostgresSettings::new(fixture.walled.app.url());
    let opened = PlatformStore::postgres(settings).await;
    fixture.trouble(opened, ErrorKind::UnsafeRole, &["platform", "(fix: "]);
}

#[tokio::test]
async fn role_of_the_platform_does_not_open_a_service() {
    let fixture = Fixture::open().await;
    let settings = PostgresSettings::new(fixture.walled.platform.url());
    let opened = TenantStore::postgres(settings).await;
    fixture.trouble(opened, ErrorKind::UnsafeRole, &["app", "(fix: "]);
}
