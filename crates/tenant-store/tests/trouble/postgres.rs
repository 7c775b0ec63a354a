//! A store on PostgreSQL with a network that a test can break, and the eyes of an operator.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tenantry_store::{ErrorKind, PostgresSettings, Result, TenantStore};
use tenantry_testkit::{DelayProxy, PostgresServer, ProxyOptions};

use crate::support::Walled;
use crate::trouble::{POSTGRES_TABLES, Tenants, eventually, trouble};

/// How long a test waits for a connection that does not come.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// A store with two connections through a proxy, and two tenants.
pub(crate) struct Fixture {
    // Closed before the database goes.
    pub(crate) store: TenantStore,
    pub(crate) tenants: Tenants,
    pub(crate) proxy: DelayProxy,
    pub(crate) walled: Walled,
}

impl Fixture {
    pub(crate) async fn open() -> Self {
        Self::on(PostgresServer::shared().await.unwrap()).await
    }

    pub(crate) async fn on(server: &PostgresServer) -> Self {
        Self::with(server, ProxyOptions::default(), |settings| settings).await
    }

    pub(crate) async fn with(
        server: &PostgresServer,
        options: ProxyOptions,
        change: impl FnOnce(PostgresSettings) -> PostgresSettings + Send,
    ) -> Self {
        let walled = Walled::on(server).await;
        run(walled.owner.url(), POSTGRES_TABLES).await;
        let proxy = DelayProxy::start(&server.address(), options).await.unwrap();
        let url = proxy.url(walled.app.url()).unwrap();
        let settings = PostgresSettings::new(url).with_max_connections(2);
        let store = TenantStore::postgres(change(settings)).await.unwrap();
        Self {
            tenants: Tenants::of(&store),
            store,
            proxy,
            walled,
        }
    }

    /// Opens another store of the same database, not through the proxy.
    pub(crate) async fn another(
        &self,
        change: impl FnOnce(PostgresSettings) -> PostgresSettings + Send,
    ) -> Result<TenantStore> {
        TenantStore::postgres(change(PostgresSettings::new(self.walled.app.url()))).await
    }

    /// Runs SQL as the owner of the tables.
    pub(crate) async fn owner_runs(&self, sql: &str) {
        run(self.walled.owner.url(), sql).await;
    }

    /// Asks one question as the administrator.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let mut connection = connect(self.walled.database.admin_url()).await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// Returns how many connections of the app role meet a condition on `pg_stat_activity`.
    pub(crate) async fn connections(&self, condition: &str) -> i64 {
        let user = self.walled.app.user();
        self.count(&format!(
            "select count(*) from pg_stat_activity where usename = '{user}' and ({condition})"
        ))
        .await
    }

    /// Waits until so many connections of the app role meet a condition.
    pub(crate) async fn until_connections(&self, count: i64, condition: &str) {
        eventually(condition, async || {
            self.connections(condition).await == count
        })
        .await;
    }

    /// Returns the server process of the one connection that meets a condition.
    pub(crate) async fn process(&self, condition: &str) -> i32 {
        let user = self.walled.app.user();
        let sql = format!(
            "select pid::bigint from pg_stat_activity where usename = '{user}' and ({condition})"
        );
        self.count(&sql).await.try_into().unwrap()
    }

    /// Asserts a trouble that shows neither a password nor the other tenant.
    pub(crate) fn trouble<T: std::fmt::Debug>(
        &self,
        outcome: Result<T>,
        kind: ErrorKind,
        advice: &[&str],
    ) -> tenantry_store::Error {
        let two = self.tenants.two.tenant().to_string();
        let walled = &self.walled;
        let passwords = [&walled.app, &walled.owner, &walled.platform].map(|it| it.password());
        let secrets: Vec<&str> = passwords.into_iter().chain([&*two]).collect();
        trouble(outcome, kind, advice, &secrets)
    }
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Runs one statement or several, over a connection of its own.
pub(crate) async fn run(url: &str, sql: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
