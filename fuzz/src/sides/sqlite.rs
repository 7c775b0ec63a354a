//! Three SQLite databases in memory, and statements that leave them as they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteValueRef,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Either, Row as _, TypeInfo as _,
    Value as _, ValueRef as _,
};
use uuid::Uuid;

use tenantry_store::guard::SqlGuard;
use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};

use super::bare::has_bare_column;
use super::outcome::{Failure, Outcome, hexadecimal};
use super::rows::{OUR_ROWS, Rows, THEIR_ROWS};
use super::{Ground, OURS, Pair, THEIRS, Trouble, names};

/// Both sides in SQLite.
#[derive(Debug)]
pub struct Sqlite {
    shared: Database,
    alone: Database,
    /// The same rows as `alone`, in other orders.
    turned: Database,
    indexed: Database,
}

impl Ground for Sqlite {
    async fn open() -> Result<(Self, Arc<SqlGuard>), Trouble> {
        let settings = SqliteSettings::temporary()
            .with_relaxed_durability()
            .with_shared_table("editions");
        let schema: &'static str = Box::leak(schema(None).into_boxed_str());
        sqlite::migrate(&settings, &Migrations::embedded(&[(1, "fuzz", schema)])).await?;
        let store = TenantStore::sqlite(settings).await?;
        let guard = store.sql_guard().await?;
        store.close().await;
        let ground = Self {
            shared: Database::shared().await?,
            alone: Database::alone(Order::AsWritten).await?,
            turned: Database::alone(Order::Turned).await?,
            indexed: Database::alone(Order::Indexed).await?,
        };
        Ok((ground, guard))
    }

    fn is_free(sql: &str) -> bool {
        names(sql, &["rowid", "oid", "_rowid_"]) || has_bare_column(sql)
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
        let database = match way % 3 {
            0 => &mut self.alone,
            1 => &mut self.turned,
            _ => &mut self.indexed,
        };
        database.reverse(way % 2 == 1).await?;
        let outcome = database
            .run(pair.written, pair.arguments, None, pair.writes)
            .await;
        database.reverse(false).await?;
        outcome
    }
}

/// In which order rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    AsWritten,
    /// The last first, and without indexes beside the keys.
    Turned,
    /// With the indexes that begin behind the tenant, as those beside others do for one of them.
    Indexed,
}

#[derive(Debug)]
struct Database {
    connection: SqliteConnection,
    /// What a statement may still take; SQLite asks every thousand steps.
    left: Arc<AtomicU32>,
    dump: String,
}

impl Database {
    /// Opens the side of both tenants.
    async fn shared() -> Result<Self, Trouble> {
        let mut database = Self::empty(&schema(None)).await?;
        database.fill(THEIRS, THEIR_ROWS, Order::AsWritten).await?;
        database.fill(OURS, OUR_ROWS, Order::AsWritten).await?;
        Ok(database)
    }

    /// Opens a side where our tenant is alone.
    async fn alone(order: Order) -> Result<Self, Trouble> {
        let schema = schema(Some(OURS));
        let schema = match order {
            Order::AsWritten => schema,
            Order::Turned => schema
                .split_inclusive(";\n")
                .filter(|statement| !statement.contains("create index"))
                .collect::<String>()
                .replace(
                    "primary key (tenant_id, id)",
                    "primary key (tenant_id, id desc)",
                ),
            Order::Indexed => schema + INDEXES,
        };
        let mut database = Self::empty(&schema).await?;
        database.fill(OURS, OUR_ROWS, order).await?;
        Ok(database)
    }

    async fn empty(schema: &str) -> Result<Self, Trouble> {
        let mut connection = SqliteConnectOptions::new()
            .in_memory(true)
            .connect()
            .await?;
        sqlx::raw_sql(AssertSqlSafe(schema))
            .execute(&mut connection)
            .await?;
        sqlx::raw_sql("insert into editions values (1, 'first'), (2, 'second'); insert into loose values (1, 1)")
            .execute(&mut connection)
            .await?;
        let left = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&left);
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(1_000, move || {
            let spend = |left: u32| left.checked_sub(1);
            asked
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
                .is_ok()
        });
        limit_lengths(&mut handle);
        drop(handle);
        Ok(Self {
            connection,
            left,
            dump: dump(),
        })
    }

    async fn fill(&mut self, tenant: Uuid, rows: &[Rows], order: Order) -> Result<(), Trouble> {
        self.left.store(u32::MAX, Ordering::Relaxed);
        // Rows may come before those that they refer to.
        sqlx::raw_sql("begin; pragma defer_foreign_keys = on")
            .execute(&mut self.connection)
            .await?;
        for rows in rows {
            let (table, columns) = rows.table();
            let mut values = rows.values.to_vec();
            if order == Order::Turned {
                values.reverse();
            }
            for (index, row) in values.into_iter().enumerate() {
                // Ours have the highest numbers, so that the next row's is the same on both sides.
                let (column, number) = match order != Order::Turned && table != "a" {
                    true => ("rowid, ", format!("{}, ", first_number(tenant) + index)),
                    false => ("", String::new()),
                };
                let sql = format!(
                    "insert into {table} (tenant_id, {column}{columns}) values (?, {number}{row})"
                );
                sqlx::query(AssertSqlSafe(sql))
                    .bind(tenant)
                    .execute(&mut self.connection)
                    .await?;
            }
        }
        sqlx::raw_sql("commit")
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Turns the order of scans that have none round, or back.
    async fn reverse(&mut self, reversed: bool) -> Result<(), Failure> {
        let sql = match reversed {
            true => "pragma reverse_unordered_selects = on",
            false => "pragma reverse_unordered_selects = off",
        };
        sqlx::query(sql).execute(&mut self.connection).await?;
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
        self.plain("savepoint fuzz").await?;
        let outcome = match self.answer(sql, arguments, tenant, writes).await {
            Ok(mut outcome) => self.state(&mut outcome).await.map(|()| outcome),
            Err(error) => Err(error),
        };
        // What was broken off may have taken the savepoint with it.
        let back = self.plain("rollback to fuzz").await;
        let released = self.plain("release fuzz").await;
        let outcome = outcome?;
        back?;
        released?;
        Ok(outcome)
    }

    async fn plain(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.left.store(MOST_STEPS, Ordering::Relaxed);
        sqlx::query(sql).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn answer(
        &mut self,
        sql: &str,
        arguments: usize,
        tenant: Option<Uuid>,
        writes: bool,
    ) -> Result<Outcome, Failure> {
        self.left.store(MOST_STEPS, Ordering::Relaxed);
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
            ours: Vec::new(),
            theirs: Vec::new(),
        })
    }

    async fn state(&mut self, outcome: &mut Outcome) -> Result<(), Failure> {
        self.left.store(u32::MAX, Ordering::Relaxed);
        let rows: Vec<(Option<Uuid>, String)> = sqlx::query_as(AssertSqlSafe(&*self.dump))
            .fetch_all(&mut self.connection)
            .await?;
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

/// Returns the tables, in which rows are of `tenant` unless they say otherwise.
fn schema(tenant: Option<Uuid>) -> String {
    let default = tenant.map_or(String::new(), |tenant| {
        format!("default x'{}'", hexadecimal(tenant.as_bytes()))
    });
    include_str!("../schema.sql").replace(":tenant", &default)
}

fn first_number(tenant: Uuid) -> usize {
    match tenant == OURS {
        true => 100,
        false => 1,
    }
}

/// Longer texts only take time.
#[allow(unsafe_code, reason = "the driver has no call for it")]
fn limit_lengths(handle: &mut sqlx::sqlite::LockedSqliteHandle<'_>) {
    let raw = handle.as_raw_handle().as_ptr();
    // SAFETY: the handle is open, and locked by us.
    unsafe {
        libsqlite3_sys::sqlite3_limit(raw, libsqlite3_sys::SQLITE_LIMIT_LENGTH, 100_000);
    }
}

fn bound(count: usize, tenant: Option<Uuid>) -> Result<SqliteArguments, sqlx::error::BoxDynError> {
    let mut arguments = SqliteArguments::default();
    for index in 0..count {
        match index % 6 {
            0 => arguments.add(2_i64)?,
            // Whoever chooses arguments may know another tenant.
            1 => arguments.add(THEIRS)?,
            2 => arguments.add("alpha")?,
            3 => arguments.add(None::<i64>)?,
            4 => arguments.add(20_i64)?,
            _ => arguments.add(0.5_f64)?,
        }
    }
    if let Some(tenant) = tenant {
        arguments.add(tenant)?;
    }
    Ok(arguments)
}

/// Writes a row as text that tells all values apart, whatever their types.
fn canonical(row: &SqliteRow) -> Result<String, sqlx::Error> {
    let mut text = String::new();
    for index in 0..row.len() {
        let value: SqliteValueRef<'_> = row.try_get_raw(index)?;
        if value.is_null() {
            text.push_str("null | ");
            continue;
        }
        let value = value.to_owned();
        let shown = match value.type_info().name() {
            "INTEGER" => value.try_decode_unchecked::<i64>()?.to_string(),
            "REAL" => format!("{:?}", value.try_decode_unchecked::<f64>()?),
            name => {
                let bytes = value.try_decode_unchecked::<Vec<u8>>()?;
                match String::from_utf8(bytes) {
                    Ok(text) if name == "TEXT" => format!("{text:?}"),
                    Ok(text) => format!("x'{}'", hexadecimal(text.as_bytes())),
                    Err(error) => format!("{name} x'{}'", hexadecimal(error.as_bytes())),
                }
            }
        };
        text.push_str(&shown);
        text.push_str(" | ");
    }
    Ok(text)
}

/// A query of all rows: the tenant, and the rest as a text.
fn dump() -> String {
    let table = |name: &str, tenant: &str, columns: &[&str]| {
        let quoted: Vec<String> = columns
            .iter()
            .map(|column| format!("quote({column})"))
            .collect();
        format!(
            "select {tenant}, '{}: ' || {} from {name}",
            name.replace('"', ""),
            quoted.join(" || ', ' || ")
        )
    };
    [
        table("a", "tenant_id", &["id", "n", "parent", "edition", "t"]),
        table("b", "tenant_id", &["id", "n", "t"]),
        table("c", "tenant_id", &["id", "n", "code"]),
        table("customers", "tenant_id", &["id", "name"]),
        table("invoices", "tenant_id", &["id", "customer", "cents"]),
        table("\"Odd \"\"Name\"", "tenant_id", &["id", "n", "x"]),
        table("editions", "null", &["id", "name"]),
        table("loose", "null", &["id", "n"]),
    ]
    .join(" union all ")
}

/// The keys and indexes of the schema, less the tenant.
const INDEXES: &str = "
    create index a_key on a (id); create index a_parent_alone on a (parent, n);
    create index b_key on b (id); create index c_key on c (id);
    create index customers_key on customers (id); create index invoices_key on invoices (id);
";

/// How many times a statement may be asked whether it goes on.
const MOST_STEPS: u32 = 200;
