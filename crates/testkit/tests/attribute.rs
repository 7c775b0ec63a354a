//! What becomes of a test that is run on databases of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use tenantry_core::{RequestContext, TenantId};
use tenantry_store::{
    Aggregate, Filter, Migrations, PlatformStore, PostgresSettings, Repository as _,
    RepositoryExt as _, TenantStore, Version,
};
use tenantry_testkit::{
    FromServiceDatabase, PostgresServer, Result, ServiceDatabase, assert_isolated,
};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    customer: String,
    #[aggregate(version)]
    version: Version,
}

fn invoice() -> Invoice {
    Invoice {
        id: Uuid::now_v7(),
        customer: "Ada".to_owned(),
        version: Version::NEW,
    }
}

fn on_sqlite() -> Migrations {
    Migrations::embedded(&[(
        1,
        "invoices",
        "create table invoices (
            tenant_id blob not null, id blob not null, customer text not null,
            version integer not null, primary key (tenant_id, id)
        ) strict",
    )])
}

fn on_postgres() -> Migrations {
    Migrations::embedded(&[(
        1,
        "invoices",
        "create table invoices (
            tenant_id uuid not null, id uuid not null, customer text not null,
            version bigint not null, primary key (tenant_id, id)
        ); select tenantry.protect('invoices')",
    )])
}

#[tenantry_testkit::test(postgres = on_postgres(), sqlite = on_sqlite())]
async fn a_store_keeps_to_its_tenant(store: TenantStore) {
    let report = assert_isolated(&store, |scope| scope.repository::<Invoice>(), invoice).await;
    assert!(report.reads > 0 && report.writes > 0, "{report:?}");
}

#[tenantry_testkit::test(postgres = on_postgres(), sqlite = on_sqlite())]
async fn a_test_may_return_a_result(store: TenantStore) -> tenantry_core::Result<()> {
    let scope = store.tenant(TenantId::from_u128(1).unwrap());
    let mut invoice = invoice();
    scope.repository().insert(&mut invoice).await?;
    let stored = scope.repository::<Invoice>().get(invoice.id).await?;
    assert_eq!(stored, invoice);
    Ok(())
}

/// What a service puts around its stores.
struct Billing {
    store: TenantStore,
    platform: PlatformStore,
}

impl FromServiceDatabase for Billing {
    async fn from_service_database(database: &ServiceDatabase) -> Result<Self> {
        Ok(Self {
            store: TenantStore::from_service_database(database).await?,
            platform: PlatformStore::from_service_database(database).await?,
        })
    }
}

/// All of a test have one database, and no two tests have the same.
#[tenantry_testkit::test(sqlite = on_sqlite(), postgres = on_postgres())]
async fn all_parameters_are_of_one_new_database(billing: Billing, store: TenantStore) {
    for (number, store) in [(1, &billing.store), (2, &store)] {
        let tenant = TenantId::from_u128(number).unwrap();
        let scope = store.tenant(tenant);
        scope.repository().insert(&mut invoice()).await.unwrap();
    }
    let context = RequestContext::system();
    let all = billing.platform.scope("count what a test wrote", context);
    let count = all.unwrap().count(Filter::<Invoice>::all()).await;
    assert_eq!(count.unwrap(), 2);
}

#[tenantry_testkit::test(sqlite = on_sqlite())]
#[should_panic(expected = "goes along")]
async fn other_attributes_go_along(database: ServiceDatabase) {
    assert!(database.on_postgres().is_some(), "it goes along");
}

#[tenantry_testkit::test(postgres = "tests/no_such_folder")]
#[should_panic(expected = "no_such_folder")]
async fn a_folder_that_is_not_there_is_named(_store: TenantStore) {}

#[tenantry_testkit::test(sqlite = Migrations::embedded(&[(1, "bad", "create table")]))]
#[should_panic(expected = "the migrations of a test fail")]
async fn a_migration_that_fails_is_told_of(_store: TenantStore) {}

/// The name of the database outlives the test, and the database does not.
#[tokio::test]
async fn a_database_is_dropped_with_the_last_that_knows_it() {
    let server = PostgresServer::shared().await.unwrap();
    let database = ServiceDatabase::postgres_on(server, &on_postgres()).await;
    let (database, store) = {
        let database = database.unwrap();
        let store = TenantStore::from_service_database(&database).await.unwrap();
        (database.clone(), store)
    };
    let (inner, roles) = database.on_postgres().unwrap();
    assert!(format!("{database:?}").contains(inner.name()));
    assert!(!format!("{database:?}{roles:?}").contains(roles.app.password()));
    let url = inner.admin_url().to_owned();
    store.ping().await.unwrap();
    drop(database);
    assert!(store.ping().await.is_err(), "it was connected to nothing");
    let settings = PostgresSettings::new(url);
    let gone = PlatformStore::postgres(settings).await.err().unwrap();
    assert!(format!("{gone:?}").contains("does not exist"), "{gone:?}");
}
