//! The server, the roles, and tables with rows in them.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tenantry_core::TenantId;
use tenantry_store::postgres::Bootstrap;
use tenantry_testkit::{Login, PostgresServer, ServerOptions, Settings, TestDatabase, Way};
use uuid::Uuid;

use crate::error::Result;
use crate::model::{COLUMNS, Key};

/// A database of this run's own, dropped with the value.
#[derive(Debug)]
pub(crate) struct Database {
    // Before the server: fields are dropped in their order.
    database: TestDatabase,
    server: PostgresServer,
    owner: Login,
    app: Login,
    platform: Login,
    peer: Login,
}

/// A table `orders` behind both walls in the schema of this name, and maybe a twin with the same
/// rows and without row-level security in the schema [`twin_schema`](Self::twin_schema).
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    pub(crate) schema: String,
    pub(crate) rows: u32,
    pub(crate) tenants: Tenants,
    pub(crate) twin: Twin,
}

/// Whose the rows are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tenants {
    /// Each has as many as any other, side by side.
    Even(u32),
    /// The k-th biggest has a k-th of what the biggest has, all mixed.
    Zipf(u32),
}

/// What stands beside the table behind the walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twin {
    None,
    /// The table of a service that has no tenants.
    WithoutTenant,
    /// The tenant is a column, and begins the key, so that the server does the same work.
    WithTenant,
}

impl Fixture {
    pub(crate) fn new(schema: &str, rows: u32, tenants: Tenants) -> Self {
        Self {
            schema: schema.to_owned(),
            rows,
            tenants,
            twin: Twin::WithoutTenant,
        }
    }

    pub(crate) const fn with_twin(mut self, twin: Twin) -> Self {
        self.twin = twin;
        self
    }

    pub(crate) fn twin_schema(&self) -> String {
        format!("{}_twin", self.schema)
    }
}

/// Messages that wait in an outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flood {
    pub(crate) tenants: [TenantId; 2],
    pub(crate) rows: usize,
    /// Of each payload.
    pub(crate) bytes: usize,
}

/// The columns of a message that are filled.
const MESSAGE: &str = "tenant_id, id, partition_id, event_type, ordering_key, occurred_at, content_type, \
                       payload, trace";

impl Flood {
    /// Returns what stands in them, of the message with the number `n`.
    fn message(&self) -> String {
        let ([one, two], bytes) = (self.tenants, self.bytes);
        format!(
            "case n % 2 when 0 then '{one}'::uuid else '{two}'::uuid end, gen_random_uuid(), n % 64, \
             'orders.changed', 'order ' || n % 1000, now(), 'application/json', \
             convert_to(repeat('x', {bytes}), 'UTF8'), \
             '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'"
        )
    }
}

impl Database {
    pub(crate) async fn create(admin_url: Option<&str>) -> Result<Self> {
        let server = match admin_url {
            Some(url) => {
                let settings = Settings::from_env()?.with_way(Way::Url).with_url(url);
                PostgresServer::find(&settings).await?
            }
            None => {
                let options = ServerOptions::default()
                    .with_durable(true)
                    .with_setting("shared_buffers", "1GB")
                    .with_setting("max_wal_size", "8GB");
                PostgresServer::start_with(&options).await?
            }
        };
        let database = TestDatabase::create(&server).await?;
        let [owner, app, platform, peer] = [
            database.create_login("owner").await?,
            database.create_login("app").await?,
            database.create_login("platform").await?,
            database.create_login("peer").await?,
        ];
        Bootstrap::new(database.admin_url())
            .with_owner_role(owner.user(), None)
            .with_app_role(app.user(), None)
            .with_platform_role(platform.user(), None)
            .run()
            .await?;
        Ok(Self {
            database,
            server,
            owner,
            app,
            platform,
            peer,
        })
    }

    /// Returns host and port of the server.
    pub(crate) fn address(&self) -> String {
        self.server.address()
    }

    /// Returns the URL of the role behind the walls.
    pub(crate) fn app_url(&self) -> &str {
        self.app.url()
    }

    /// Returns the role behind the walls.
    pub(crate) fn app_user(&self) -> &str {
        self.app.user()
    }

    /// Returns the URL of the role that owns the twins.
    pub(crate) fn peer_url(&self) -> &str {
        self.peer.url()
    }

    /// Returns the URL of the role that works across tenants.
    pub(crate) fn platform_url(&self) -> &str {
        self.platform.url()
    }

    /// Runs a migration in the schema of a fixture.
    pub(crate) async fn migrate(&self, schema: &str, sql: &str) -> Result<()> {
        let path = format!("set search_path to {schema}");
        run(self.owner.url(), &[&path, sql]).await
    }

    /// Creates a table like that of the messages for the peer, with the one index that it needs.
    pub(crate) async fn create_queue(&self, schema: &str, twin: &str) -> Result<()> {
        let peer = self.peer.user();
        let sql = format!(
            "create schema {twin} authorization {peer};
             create table {twin}.queue (like {schema}.outbox_messages);
             alter table {twin}.queue add primary key (position);
             alter table {twin}.queue owner to {peer};"
        );
        Ok(self.database.execute(&sql).await?)
    }

    /// Lets a peer that brings tables of its own make a schema for them.
    pub(crate) async fn let_peer_create_schemas(&self) -> Result<()> {
        let peer = self.peer.user();
        let sql = format!(
            "do $$ begin
                 execute format('grant create on database %I to {peer}', current_database());
             end $$"
        );
        Ok(self.database.execute(&sql).await?)
    }

    /// Appends messages of two tenants under a thousand keys, and leaves the server as if they had stood for long.
    pub(crate) async fn fill_outbox(&self, schema: &str, flood: Flood) -> Result<()> {
        self.flood_outbox(schema, flood).await?;
        let vacuum = format!("vacuum (analyze) {schema}.outbox_messages");
        for sql in [vacuum, "checkpoint".to_owned()] {
            self.database.execute(&sql).await?;
        }
        Ok(())
    }

    /// Appends messages of two tenants under a thousand keys, in one transaction.
    pub(crate) async fn flood_outbox(&self, schema: &str, flood: Flood) -> Result<()> {
        let sql = format!(
            "insert into {schema}.outbox_messages ({MESSAGE}) select {} from generate_series(1, {}) n",
            flood.message(),
            flood.rows
        );
        Ok(self.database.execute(&sql).await?)
    }

    /// Gives the peer as many rows of the same kind.
    pub(crate) async fn fill_queue(&self, twin: &str, flood: Flood) -> Result<()> {
        let sql = format!(
            "insert into {twin}.queue (generation, xid, position, {MESSAGE})
             select 0, pg_current_xact_id(), n, {} from generate_series(1, {}) n",
            flood.message(),
            flood.rows
        );
        let vacuum = format!("vacuum (analyze) {twin}.queue");
        for sql in [sql, vacuum, "checkpoint".to_owned()] {
            self.database.execute(&sql).await?;
        }
        Ok(())
    }

    /// Empties the outbox.
    pub(crate) async fn empty_messages(&self, schema: &str) -> Result<()> {
        let sql = format!("truncate {schema}.outbox_messages");
        Ok(self.database.execute(&sql).await?)
    }

    /// Empties both.
    pub(crate) async fn empty_outbox(&self, schema: &str, twin: &str) -> Result<()> {
        let sql = format!("truncate {schema}.outbox_messages, {twin}.queue");
        Ok(self.database.execute(&sql).await?)
    }

    /// Creates the tables of a fixture and fills them.
    pub(crate) async fn load(&self, fixture: &Fixture) -> Result<()> {
        let Fixture { schema, .. } = fixture;
        let (owner, app, platform) = (self.owner.user(), self.app.user(), self.platform.user());
        self.database
            .execute(&format!(
                "create schema {schema} authorization {owner};
                 grant usage on schema {schema} to {app}, {platform};"
            ))
            .await?;
        // Keys last, for speed; before the table is protected its owner may still write.
        run(
            self.owner.url(),
            &[
                &format!("create table {schema}.orders (tenant_id uuid not null, {ROW})"),
                "select setseed(0.5)",
                &fill(fixture),
                &format!("alter table {schema}.orders add primary key (tenant_id, id)"),
                &format!("select tenantry.protect('{schema}.orders')"),
                &format!("vacuum (freeze, analyze) {schema}.orders"),
            ],
        )
        .await?;
        match fixture.twin {
            Twin::None => {}
            Twin::WithoutTenant => self.load_twin(fixture, ["", ""]).await?,
            Twin::WithTenant => {
                self.load_twin(fixture, ["tenant_id uuid not null, ", "tenant_id, "])
                    .await?;
            }
        }
        Ok(self.database.execute("checkpoint").await?)
    }

    async fn load_twin(&self, fixture: &Fixture, [column, name]: [&str; 2]) -> Result<()> {
        let (schema, twin, peer) = (&fixture.schema, fixture.twin_schema(), self.peer.user());
        self.database
            .execute(&format!(
                "create schema {twin} authorization {peer};
                 create table {twin}.orders ({column}{ROW});
                 insert into {twin}.orders select {name}{COLUMNS} from {schema}.orders;
                 alter table {twin}.orders add primary key ({name}id);
                 alter table {twin}.orders owner to {peer};"
            ))
            .await?;
        run(
            self.peer.url(),
            &[&format!("vacuum (freeze, analyze) {twin}.orders")],
        )
        .await
    }

    /// Returns about `count` of a fixture's rows, drawn at random: big tenants come often.
    pub(crate) async fn keys(&self, fixture: &Fixture, count: u32) -> Result<Vec<Key>> {
        let percent = (100.0 * f64::from(count) / f64::from(fixture.rows)).min(100.0);
        self.select_keys(&format!(
            "select tenant_id, id from {}.orders tablesample bernoulli ({percent}) repeatable (1)
             order by md5(id::text)",
            fixture.schema
        ))
        .await
    }

    /// Returns one row of each of up to `count` tenants.
    pub(crate) async fn key_per_tenant(&self, fixture: &Fixture, count: u32) -> Result<Vec<Key>> {
        self.select_keys(&format!(
            "select distinct on (tenant_id) tenant_id, id from {}.orders limit {count}",
            fixture.schema
        ))
        .await
    }

    /// Returns the row that was loaded first.
    pub(crate) async fn first_key(&self, fixture: &Fixture) -> Result<Key> {
        let sql = format!(
            "select tenant_id, id from {}.orders order by id limit 1",
            fixture.schema
        );
        self.select_keys(&sql)
            .await?
            .pop()
            .ok_or_else(|| "the table is empty".into())
    }

    async fn select_keys(&self, sql: &str) -> Result<Vec<Key>> {
        // The superuser sees the rows of all tenants.
        let mut connection = PgConnection::connect(self.database.admin_url()).await?;
        let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await?;
        connection.close().await?;
        rows.into_iter()
            .map(|(tenant, id)| {
                Ok(Key {
                    tenant: TenantId::new(tenant)?,
                    id,
                })
            })
            .collect()
    }
}

const ROW: &str = "id uuid not null, customer text not null, reference text not null, \
     total_cents bigint not null, lines integer not null, placed_at timestamptz not null, \
     note text, version bigint not null";

/// Writes the statement that fills the table behind the walls.
///
/// Identifiers rise with the row's number, as those of UUID version 7 rise with the time.
fn fill(fixture: &Fixture) -> String {
    let rows = fixture.rows;
    let tenant = match fixture.tenants {
        Tenants::Even(tenants) => format!("(n - 1) / {}", (rows / tenants).max(1)),
        // The inverse of the distribution function, ln k / ln tenants.
        Tenants::Zipf(tenants) => format!("floor(power({tenants}, random()))::int"),
    };
    format!(
        "insert into {schema}.orders (tenant_id, {COLUMNS})
         select
             md5('tenant ' || {tenant})::uuid,
             (lpad(to_hex(n), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
             'Customer ' || n % 997,
             'PO-2026-' || lpad(n::text, 9, '0'),
             n % 1000000,
             n % 20,
             timestamptz '2026-01-01' + n * interval '1 second',
             case when n % 3 = 0 then 'deliver to the back door' end,
             1
         from generate_series(1, {rows}) n, md5(n::text) hash",
        schema = fixture.schema,
    )
}

async fn run(url: &str, statements: &[&str]) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe((*statement).to_owned()))
            .execute(&mut connection)
            .await?;
    }
    Ok(connection.close().await?)
}
