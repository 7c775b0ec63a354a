//! A database of a test's own, with the tables of the outbox and of the suite.

use std::time::Duration;

use tenantry_outbox::conformance::{SUITE_POSTGRES, Subject};
use tenantry_outbox::{OUTBOX_POSTGRES, OutboxStatus};
use tenantry_store::postgres::migrate;
use tenantry_store::{Migrations, PlatformStore, PostgresSettings, TenantStore};
use tenantry_testkit::{Login, PostgresServer, Roles, TestDatabase};

/// A database of a test's own.
pub(crate) struct OnPostgres {
    pub(crate) database: TestDatabase,
    pub(crate) owner: Login,
    pub(crate) app: Login,
    pub(crate) platform_login: Login,
    pub(crate) store: TenantStore,
    pub(crate) platform: PlatformStore,
}

impl OnPostgres {
    pub(crate) async fn open() -> Self {
        Self::open_on(PostgresServer::shared().await.unwrap()).await
    }

    pub(crate) async fn open_on(server: &PostgresServer) -> Self {
        let database = TestDatabase::create(server).await.unwrap();
        let Roles {
            owner,
            app,
            platform: platform_login,
        } = database.bootstrap().await.unwrap();
        let migrations =
            Migrations::embedded(&[(1, "outbox", OUTBOX_POSTGRES), (2, "suite", SUITE_POSTGRES)]);
        migrate(owner.url(), &migrations).await.unwrap();
        let settings = |login: &Login| PostgresSettings::new(login.url()).with_max_connections(6);
        Self {
            store: TenantStore::postgres(settings(&app)).await.unwrap(),
            platform: PlatformStore::postgres(settings(&platform_login))
                .await
                .unwrap(),
            database,
            owner,
            app,
            platform_login,
        }
    }

    /// Waits until the outbox stands so, for half a minute at most; `otherwise` says how it stands if it never does.
    pub(crate) async fn becomes(
        &self,
        otherwise: &str,
        is_so: impl Fn(&OutboxStatus) -> bool + Send + Sync,
    ) {
        let mut tries = 0;
        while !is_so(&OutboxStatus::read(&self.platform).await.unwrap()) {
            tries += 1;
            assert!(tries < 3_000, "{otherwise}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns a connection of the administrator, past all walls.
    pub(crate) async fn admin(&self) -> sqlx::PgConnection {
        use sqlx::Connection as _;
        sqlx::PgConnection::connect(self.database.admin_url())
            .await
            .unwrap()
    }
}

impl Subject for OnPostgres {
    fn store(&self) -> &TenantStore {
        &self.store
    }

    fn platform(&self) -> &PlatformStore {
        &self.platform
    }
}
