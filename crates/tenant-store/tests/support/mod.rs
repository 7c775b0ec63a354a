//! A database of a test's own on PostgreSQL, bootstrapped, with the tables of the suite.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use tenantry_store::conformance::{POSTGRES_SCHEMA, Specimen, Subject};
use tenantry_store::postgres::migrate;
use tenantry_store::{
    Migrations, PlatformStore, PostgresSettings, Repository, TenantScope, TenantStore,
};
use tenantry_testkit::{Login, PgBouncer, PgBouncerOptions, PostgresServer, Roles, TestDatabase};

/// A database with everything in it, and nothing connected.
pub(crate) struct Walled {
    pub(crate) database: TestDatabase,
    pub(crate) owner: Login,
    pub(crate) app: Login,
    pub(crate) platform: Login,
}

impl Walled {
    pub(crate) async fn on(server: &PostgresServer) -> Self {
        let database = TestDatabase::create(server).await.unwrap();
        let Roles {
            owner,
            app,
            platform,
        } = database.bootstrap().await.unwrap();
        let migrations = Migrations::embedded(&[(1, "conformance", POSTGRES_SCHEMA)]);
        migrate(owner.url(), &migrations).await.unwrap();
        Self {
            database,
            owner,
            app,
            platform,
        }
    }

    pub(crate) async fn create() -> Self {
        Self::on(PostgresServer::shared().await.unwrap()).await
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        PostgresSettings::new(self.app.url()).with_max_connections(2)
    }

    pub(crate) async fn store(&self) -> TenantStore {
        TenantStore::postgres(self.settings()).await.unwrap()
    }

    pub(crate) async fn platform_store(&self) -> PlatformStore {
        let settings = PostgresSettings::new(self.platform.url()).with_max_connections(2);
        PlatformStore::postgres(settings).await.unwrap()
    }
}

/// A store with two connections to a database of its own.
pub(crate) struct Postgres {
    pub(crate) store: TenantStore,
    pub(crate) pooler: Option<PgBouncer>,
    pub(crate) walled: Walled,
}

impl Postgres {
    pub(crate) async fn open() -> Self {
        let walled = Walled::create().await;
        Self {
            store: walled.store().await,
            pooler: None,
            walled,
        }
    }

    /// The same behind PgBouncer in transaction mode, with two connections to the server.
    pub(crate) async fn open_pooled() -> Self {
        let server = PostgresServer::shared().await.unwrap();
        let walled = Walled::on(server).await;
        let options = PgBouncerOptions::default().with_login(&walled.app);
        let pooler = PgBouncer::start(server, options).await.unwrap();
        let settings = PostgresSettings::new(pooler.url(walled.app.url()).unwrap())
            .with_max_connections(4)
            .with_pooler(tenantry_store::Pooler::TransactionMode);
        let store = TenantStore::postgres(settings).await.unwrap();
        Self {
            store,
            pooler: Some(pooler),
            walled,
        }
    }
}

impl Subject for Postgres {
    fn store(&self) -> &TenantStore {
        &self.store
    }

    fn specimens(&self, scope: &TenantScope) -> Arc<dyn Repository<Specimen>> {
        Arc::new(scope.repository())
    }
}
