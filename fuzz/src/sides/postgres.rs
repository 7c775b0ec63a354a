//! Three databases of a PostgreSQL server that ends with the process.
//!
//! Statements run as a superuser, whom row-level security lets pass: only the guard is judged.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow, PgValueRef};
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Either, Row as _, TypeInfo as _,
    ValueRef as _,
};
use tenantry_store::guard::SqlGuard;
use tenantry_store::{Migrations, PostgresSettings, TenantStore, postgres};
use tenantry_testkit::{PostgresServer, TestDatabase};
use uuid::Uuid;

use super::outcome::{Failure, Outcome, hexadecimal};
use super::rows::{OUR_ROWS, Rows, THEIR_ROWS};
use super::{Ground, OURS, Pair, THEIRS, Trouble, names};

/// Both sides in PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    shared: Database,
    alone: Database,
    /// The same rows as `alone`, put in the other way round and without the indexes.
    turned: Database,
    /// What the databases need to stay.
    _server: PostgresServer,
}

#[derive(Debug)]
struct Database {
    connection: PgConnection,
    _database: TestDatabase,
}

impl Ground for Postgres {
    async fn open() -> Result<(Self, Arc<SqlGuard>), Trouble> {
        let server = PostgresServer::start().await?;
        let (shared, guard) = shared(&server).await?;
        let ground = Self {
            shared,
            alone: alone(&server, false).await?,
            turned: alone(&server, true).await?,
            _server: server,
        };
        Ok((ground, guard))
    }

    fn is_free(sql: &str) -> bool {
        names(sql, &["ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"])
    }

    async fn shared(&mut self, pair: &Pair<'_>) -> Result<Outcome, Failure> {
        let tenant = pair.binds_tenant.then_some(OURS);
        self.shared
            .run(pair.rewritten, pair.arguments, tenant, pair.writes)
            .await
    }

    async fn alone(&mut self, pair: &Pair<'_>) -> Result<Outcome, Failure> {
        self.alone
            .run(pair.written, pair.arguments, None, pair.writes)
            .await
    }

    async fn otherwise(&mut self, pair: &Pair<'_>, way: usize) -> Result<Outcome, Failure> {
        let database = match way % 2 {
            0 => &mut self.alone,
            _ => &mut self.turned,
        };
        let (before, after) = match way / 2 % 4 {
            0 => ("select 1", "select 1"),
            1 => (NO_HASHES, ALL_PLANS),
            2 => (NO_SCANS, ALL_PLANS),
            _ => (NO_INDEXES, ALL_PLANS),
        };
        database.plain(before).await?;
        let outcome = database
            .run(pair.written, pair.arguments, None, pair.writes)
            .await;
        database.plain(after).await?;
        outcome
    }
}

const NO_HASHES: &str =
    "set enable_hashagg = off; set enable_hashjoin = off; set enable_mergejoin = off";
const NO_SCANS: &str =
    "set enable_seqscan = off; set enable_nestloop = off; set enable_material = off";
const NO_INDEXES: &str = "set enable_indexscan = off; set enable_indexonlyscan = off; \
     set enable_bitmapscan = off";
const ALL_PLANS: &str = "reset enable_hashagg; reset enable_hashjoin; reset enable_mergejoin; \
     reset enable_seqscan; reset enable_nestloop; reset enable_material; \
     reset enable_indexscan; reset enable_indexonlyscan; reset enable_bitmapscan";

/// Opens the side of both tenants, and the guard of a store over it.
async fn shared(server: &PostgresServer) -> Result<(Database, Arc<SqlGuard>), Trouble> {
    let database = TestDatabase::create(server).await?;
    let owner = database.create_login("owner").await?;
    let app = database.create_login("app").await?;
    let platform = database.create_login("platform").await?;
    postgres::Bootstrap::new(database.admin_url())
        .with_owner_role(owner.user(), None)
        .with_app_role(app.user(), None)
        .with_platform_role(platform.user(), None)
        .run()
        .await?;
    let protect = "select tenantry.protect('a'), tenantry.protect('b'), tenantry.protect('c'), \
         tenantry.protect('customers'), tenantry.protect('invoices'), \
         tenantry.protect('\"Odd \"\"Name\"'), tenantry.share('editions');";
    let schema: &'static str = Box::leak(format!("{}{protect}", schema(None)).into_boxed_str());
    postgres::migrate(owner.url(), &Migrations::embedded(&[(1, "fuzz", schema)])).await?;
    let views = format!("grant select on named, busy, above to {}", app.user());
    database.execute(&views).await?;
    let store = TenantStore::postgres(PostgresSettings::new(app.url())).await?;
    let guard = store.sql_guard().await?;
    store.close().await;
    let mut shared = Database::connect(database).await?;
    shared.fill(THEIRS, THEIR_ROWS, false).await?;
    shared.fill(OURS, OUR_ROWS, false).await?;
    shared.plain(ROWS_OF_NOBODY).await?;
    Ok((shared, guard))
}

/// Opens a side where our tenant is alone.
async fn alone(server: &PostgresServer, turned: bool) -> Result<Database, Trouble> {
    let database = TestDatabase::create(server).await?;
    let schema = schema(Some(OURS));
    let schema: Vec<&str> = schema
        .split_inclusive(";\n")
        .filter(|statement| !turned || !statement.contains("create index"))
        .collect();
    database.execute(&schema.concat()).await?;
    let mut alone = Database::connect(database).await?;
    alone.fill(OURS, OUR_ROWS, turned).await?;
    alone.plain(ROWS_OF_NOBODY).await?;
    Ok(alone)
}

const ROWS_OF_NOBODY: &str =
    "insert into editions values (1, 'first'), (2, 'second'); insert into loose values (1, 1)";

fn schema(tenant: Option<Uuid>) -> String {
    let default = tenant.map_or(String::new(), |tenant| format!("default '{tenant}'"));
    include_str!("../schema_postgres.sql").replace(":tenant", &default)
}

impl Database {
    async fn connect(database: TestDatabase) -> Result<Self, Trouble> {
        let options: PgConnectOptions = database.admin_url().parse()?;
        let connection = options
            .options([("statement_timeout", "500ms"), ("jit", "off")])
            .connect()
            .await?;
        Ok(Self {
            connection,
            _database: database,
        })
    }

    async fn fill(&mut self, tenant: Uuid, rows: &[Rows], turned: bool) -> Result<(), Trouble> {
        self.plain("begin; set constraints all deferred").await?;
        for rows in rows {
            let (table, columns) = rows.table();
            let mut values = rows.values.to_vec();
            if turned {
                values.reverse();
            }
            for row in values {
                let sql = format!("insert into {table} (tenant_id, {columns}) values ($1, {row})");
                sqlx::query(AssertSqlSafe(sql))
                    .bind(tenant)
                    .execute(&mut self.connection)
                    .await?;
            }
        }
        self.plain("commit").await?;
        Ok(())
    }

    async fn plain(&mut self, sql: &'static str) -> Result<(), Failure> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Runs a statement, and takes back what it writes.
    async fn run(
        &mut self,
        sql: &str,
        arguments: usize,
        tenant: Option<Uuid>,
        writes: bool,
    ) -> Result<Outcome, Failure> {
        if !writes {
            return self.answer(sql, arguments, tenant, writes).await;
        }
        self.plain("begin").await?;
        let outcome = match self.answer(sql, arguments, tenant, writes).await {
            Ok(mut outcome) => self.state(&mut outcome).await.map(|()| outcome),
            Err(error) => Err(error),
        };
        self.plain("rollback").await?;
        outcome
    }

    async fn answer(
        &mut self,
        sql: &str,
        arguments: usize,
        tenant: Option<Uuid>,
        writes: bool,
    ) -> Result<Outcome, Failure> {
        let arguments = bound(arguments, tenant).map_err(sqlx::Error::Encode)?;
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(false);
        // Nothing else tells both the rows and how many were written.
        #[allow(deprecated, reason = "there is one statement in the text")]
        let mut answers = query.fetch_many(&mut self.connection);
        let (mut rows, mut affected) = (Vec::new(), 0);
        while let Some(answer) = answers.try_next().await? {
            match answer {
                Either::Left(done) => affected += done.rows_affected(),
                Either::Right(row) => rows.push(canonical(&row)?),
            }
        }
        rows.sort_unstable();
        Ok(Outcome {
            rows,
            affected: writes.then_some(affected),
            ..Outcome::default()
        })
    }

    async fn state(&mut self, outcome: &mut Outcome) -> Result<(), Failure> {
        let rows: Vec<(Option<Uuid>, String)> =
            sqlx::query_as(DUMP).fetch_all(&mut self.connection).await?;
        for (tenant, row) in rows {
            match tenant == Some(THEIRS) {
                true => outcome.theirs.push(row),
                false => outcome.ours.push(row),
            }
        }
        outcome.ours.sort_unstable();
        outcome.theirs.sort_unstable();
        Ok(())
    }
}

/// All rows: the tenant, and the whole as a text.
const DUMP: &str = "select tenant_id, 'a' || a::text from a \
     union all select tenant_id, 'b' || b::text from b \
     union all select tenant_id, 'c' || c::text from c \
     union all select tenant_id, 'customers' || customers::text from customers \
     union all select tenant_id, 'invoices' || invoices::text from invoices \
     union all select tenant_id, 'odd' || o::text from \"Odd \"\"Name\" o \
     union all select null, 'editions' || editions::text from editions \
     union all select null, 'loose' || loose::text from loose";

fn bound(count: usize, tenant: Option<Uuid>) -> Result<PgArguments, sqlx::error::BoxDynError> {
    let mut arguments = PgArguments::default();
    for index in 0..count {
        arguments.add([2_i64, 10, 20][index % 3])?;
    }
    if let Some(tenant) = tenant {
        arguments.add(tenant)?;
    }
    Ok(arguments)
}

/// Writes a row as text that tells all values apart, whatever their types.
fn canonical(row: &PgRow) -> Result<String, sqlx::Error> {
    let mut text = String::new();
    for index in 0..row.len() {
        let value: PgValueRef<'_> = row.try_get_raw(index)?;
        if value.is_null() {
            text.push_str("null | ");
            continue;
        }
        let name = value.type_info().name().to_owned();
        let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
        let shown = match (&*name, <[u8; 8]>::try_from(bytes)) {
            ("INT8", Ok(bytes)) => i64::from_be_bytes(bytes).to_string(),
            ("UUID", _) => hexadecimal(bytes),
            // In a record stand the numbers of types, which each database gives anew.
            ("RECORD" | "RECORD[]", _) => {
                let texts = bytes.split(|byte| !byte.is_ascii_graphic());
                let texts = texts.filter(|text| text.len() > 2);
                format!(
                    "{name} {:?}",
                    texts.map(String::from_utf8_lossy).collect::<Vec<_>>()
                )
            }
            // Whatever is in it, texts in it stay texts.
            _ => format!("{name} {:?}", String::from_utf8_lossy(bytes)),
        };
        text.push_str(&shown);
        text.push_str(" | ");
    }
    Ok(text)
}
