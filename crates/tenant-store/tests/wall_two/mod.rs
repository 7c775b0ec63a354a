//! A bootstrapped database of a test's own, and connections to it as each of its roles.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tenantry_store::postgres::{Bootstrap, Role, ServerFacts, verify};
use tenantry_store::{ErrorKind, Result};
use tenantry_testkit::{Login, PostgresServer, TestDatabase, wall_two_alone};

pub(crate) const T1: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const T2: &str = "22222222-2222-4222-8222-222222222222";

pub(crate) struct Walled {
    pub(crate) database: TestDatabase,
    pub(crate) owner: Login,
    pub(crate) app: Login,
    pub(crate) platform: Login,
}

impl Walled {
    /// Roles belong to the whole server: each test has three of its own.
    pub(crate) async fn empty() -> Self {
        let server = PostgresServer::shared().await.unwrap();
        let database = TestDatabase::create(server).await.unwrap();
        let owner = database.create_login("owner").await.unwrap();
        let app = database.create_login("app").await.unwrap();
        let platform = database.create_login("platform").await.unwrap();
        let walled = Self {
            database,
            owner,
            app,
            platform,
        };
        walled.bootstrap().run().await.unwrap();
        walled
    }

    /// With two protected tables, and a row of either tenant in each.
    pub(crate) async fn with_invoices() -> Self {
        let walled = Self::empty().await;
        walled
            .owner_runs(
                "create table customers (
                     tenant_id uuid not null, id int not null, name text,
                     primary key (tenant_id, id)
                 );
                 create table invoices (
                     tenant_id uuid not null, id int not null, customer_id int,
                     status text not null default 'open',
                     primary key (tenant_id, id),
                     foreign key (tenant_id, customer_id) references customers (tenant_id, id)
                 );
                 select tenantry.protect('customers'), tenantry.protect('invoices');",
            )
            .await
            .unwrap();
        let mut platform = walled.platform().await;
        for tenant in [T1, T2] {
            run(
                &mut platform,
                &format!("insert into customers values ('{tenant}', 7, 'c')"),
            )
            .await
            .unwrap();
            run(
                &mut platform,
                &format!("insert into invoices values ('{tenant}', 1, 7), ('{tenant}', 2, null)"),
            )
            .await
            .unwrap();
        }
        walled
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        Bootstrap::new(self.database.admin_url())
            .with_owner_role(self.owner.user(), None)
            .with_app_role(self.app.user(), None)
            .with_platform_role(self.platform.user(), None)
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        connect(self.owner.url()).await
    }

    /// Connects as a service whose statements leave the tenant out.
    pub(crate) async fn app(&self) -> PgConnection {
        connect(&wall_two_alone(self.app.url()).unwrap()).await
    }

    pub(crate) async fn platform(&self) -> PgConnection {
        connect(self.platform.url()).await
    }

    pub(crate) async fn admin(&self) -> PgConnection {
        connect(self.database.admin_url()).await
    }

    pub(crate) async fn owner_runs(&self, sql: &str) -> Result<(), Refused> {
        run(&mut self.owner().await, &self.named(sql))
            .await
            .map(|_| ())
    }

    pub(crate) async fn admin_runs(&self, sql: &str) {
        run(&mut self.admin().await, &self.named(sql))
            .await
            .unwrap();
    }

    /// Puts the roles' names in.
    pub(crate) fn named(&self, sql: &str) -> String {
        sql.replace("{owner}", self.owner.user())
            .replace("{app}", self.app.user())
            .replace("{platform}", self.platform.user())
    }

    pub(crate) async fn verify(&self) -> Result<ServerFacts> {
        verify(self.app.url(), Role::App).await
    }

    /// Asserts what a service is told that connects as the app role.
    pub(crate) async fn refuses(&self, kind: ErrorKind, fragments: &[&str]) {
        refuses(
            self.verify().await,
            kind,
            &fragments.iter().map(|f| self.named(f)).collect::<Vec<_>>(),
        );
    }

    /// Returns the codes of `tenantry.audit` for the app role.
    pub(crate) async fn codes(&self) -> Vec<String> {
        sqlx::query_scalar("select distinct code from tenantry.audit($1::text::regrole) order by 1")
            .bind(self.app.user())
            .fetch_all(&mut self.admin().await)
            .await
            .unwrap()
    }
}

pub(crate) fn refuses<T: std::fmt::Debug>(
    outcome: Result<T>,
    kind: ErrorKind,
    fragments: &[impl AsRef<str>],
) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for fragment in fragments.iter().map(AsRef::as_ref) {
        assert!(
            error.to_string().contains(fragment),
            "no `{fragment}` in `{error}`"
        );
    }
}

/// What the server refused a statement with.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        let Some(error) = error.as_database_error() else {
            panic!("{error}")
        };
        let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
        Self {
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Runs one statement or several; returns how many rows it touched.
pub(crate) async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, Refused> {
    Ok(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await?
        .rows_affected())
}

/// Runs a statement in a transaction of a tenant, which is committed.
pub(crate) async fn run_as(
    connection: &mut PgConnection,
    tenant: &str,
    sql: &str,
) -> Result<u64, Refused> {
    let mut tx = begin(connection, tenant).await;
    let outcome = run(&mut tx, sql).await;
    match outcome {
        Ok(_) => tx.commit().await?,
        Err(_) => tx.rollback().await?,
    }
    outcome
}

/// Returns the first column of all rows, as text.
pub(crate) async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            row.try_get_unchecked::<Option<String>, _>(0)
                .unwrap()
                .unwrap_or_default()
        })
        .collect()
}

/// Returns the first column of all rows that a tenant sees, as text.
pub(crate) async fn texts_as(
    connection: &mut PgConnection,
    tenant: &str,
    sql: &str,
) -> Vec<String> {
    let mut tx = begin(connection, tenant).await;
    let texts = texts(&mut tx, sql).await;
    // Dropped, it would keep its connection to the server until the next statement.
    tx.rollback().await.unwrap();
    texts
}

async fn begin<'c>(
    connection: &'c mut PgConnection,
    tenant: &str,
) -> sqlx::Transaction<'c, sqlx::Postgres> {
    let begin = format!("BEGIN; SET LOCAL tenantry.tenant_id = '{tenant}'");
    connection.begin_with(AssertSqlSafe(begin)).await.unwrap()
}
