//! What the catalog of a database knows of its tables, and what the tables tell of their rows.
//!
//! All of it is read by the role for work across tenants, one statement in a transaction of its own, each
//! within the time limit of the connection.

mod sql;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tenantry_core::{ErrorKind, Result, TenantId};
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement, OwnTable};
use tenantry_store::{PlatformScope, Row, ValueError};
use uuid::Uuid;

use crate::progress::Progress;

static CATALOG: OwnTable = OwnTable::new("tables");

/// A table, and what is known of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// With its indexes and large values; of a partitioned one with its partitions.
    pub(crate) bytes: Option<u64>,
    pub(crate) rows: Option<u64>,
    /// Whether the rows were not counted, but are what the server reckons with.
    pub(crate) is_estimate: bool,
    /// Whether its rows are of tenants.
    #[serde(skip)]
    pub(crate) has_tenant: bool,
    /// The column that tells when a row came, where one is known to.
    pub(crate) time_column: Option<String>,
    pub(crate) oldest: Option<DateTime<Utc>>,
}

/// How many rows a tenant has in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rows: u64,
    /// Whether there are more, which were not counted.
    pub(crate) is_cut: bool,
}

/// Lists the tables of a schema, with what their definitions tell: no table is waited for.
///
/// # Errors
///
/// Those of a statement that reads.
pub(crate) async fn tables(scope: &PlatformScope, schema: &str) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    let is_server = scope.engine() == Engine::Postgres;
    let bind = |arguments: &mut Arguments<'_>| match is_server {
        true => arguments.value().text(schema),
        false => Ok(()),
    };
    let sql = if is_server {
        sql::POSTGRES
    } else {
        sql::SQLITE
    };
    fetch(scope, "list tables", sql, &bind, &mut |row| {
        tables.push(Table {
            name: row.text(0)?.unwrap_or_default().to_owned(),
            bytes: None,
            rows: None,
            is_estimate: is_server,
            has_tenant: row.bool(1)?.unwrap_or_default(),
            time_column: row.text(2)?.map(str::to_owned),
            oldest: None,
        });
        Ok(())
    })
    .await?;
    Ok(tables)
}

/// Finds out how large tables are, how many rows they have and since when; what takes too long, as of a table that
/// somebody has locked, stays unknown.
///
/// # Errors
///
/// Those of a statement that reads, but for its time.
pub(crate) async fn measure(
    scope: &PlatformScope,
    schema: &str,
    tables: &mut [Table],
    progress: &Progress,
) -> Result<()> {
    let is_server = scope.engine() == Engine::Postgres;
    if !is_server {
        progress.at("sizes");
        sizes(scope, tables).await?;
    }
    for table in tables {
        progress.at(&table.name);
        match is_server {
            true => estimate(scope, schema, table).await?,
            false => count(scope, table).await?,
        }
        oldest(scope, table).await?;
        progress.step();
    }
    Ok(())
}

/// Reads the bytes of a table, and the rows that the server reckons with.
async fn estimate(scope: &PlatformScope, schema: &str, table: &mut Table) -> Result<()> {
    let bind = |arguments: &mut Arguments<'_>| {
        arguments.value().text(schema)?;
        arguments.value().text(&table.name)
    };
    let mut known = (None, None);
    let read = fetch(scope, "measure table", sql::MEASURE, &bind, &mut |row| {
        known = (unsigned(row.integer(0)?), unsigned(row.integer(1)?));
        Ok(())
    })
    .await;
    within_time(read)?;
    (table.bytes, table.rows) = known;
    Ok(())
}

/// Sums up the pages of each table and its indexes, on SQLite.
async fn sizes(scope: &PlatformScope, tables: &mut [Table]) -> Result<()> {
    let mut sizes = Vec::new();
    let nothing = |_: &mut Arguments<'_>| Ok(());
    let read = fetch(scope, "sum up pages", sql::PAGES, &nothing, &mut |row| {
        let name = row.text(0)?.unwrap_or_default().to_owned();
        sizes.push((name, unsigned(row.integer(1)?)));
        Ok(())
    })
    .await;
    if within_time(read)?.is_some() {
        for table in tables {
            let size = sizes.iter().find(|(name, _)| *name == table.name);
            table.bytes = size.and_then(|(_, bytes)| *bytes);
        }
    }
    Ok(())
}

/// Counts the rows of a table, where nobody reckons with a number.
async fn count(scope: &PlatformScope, table: &mut Table) -> Result<()> {
    let sql = format!("select count(*) from {}", place(&table.name));
    let mut rows = None;
    let nothing = |_: &mut Arguments<'_>| Ok(());
    let read = fetch(scope, "count rows", &sql, &nothing, &mut |row| {
        rows = unsigned(row.integer(0)?);
        Ok(())
    })
    .await;
    within_time(read)?;
    table.rows = rows;
    Ok(())
}

/// Reads when the oldest row came, where a column tells it.
async fn oldest(scope: &PlatformScope, table: &mut Table) -> Result<()> {
    let Some(column) = &table.time_column else {
        return Ok(());
    };
    let sql = format!("select min({}) from {}", quoted(column), place(&table.name));
    let mut oldest = None;
    let nothing = |_: &mut Arguments<'_>| Ok(());
    let read = fetch(scope, "read oldest row", &sql, &nothing, &mut |row| {
        // A time that nobody can read is no reason to tell nothing.
        oldest = row.timestamp(0).unwrap_or_default();
        Ok(())
    })
    .await;
    within_time(read)?;
    table.oldest = oldest;
    Ok(())
}

/// Lists the first tenants that have rows in a table, after one, in the order of their identifiers, each with its
/// rows up to a number; `None` where that takes too long.
///
/// It goes from tenant to tenant by the index that begins with them, and reads no row of others.
///
/// # Errors
///
/// Those of a statement that reads, but for its time.
pub(crate) async fn tenants(
    scope: &PlatformScope,
    table: &str,
    after: Option<TenantId>,
    limit: usize,
    most: u64,
) -> Result<Option<Vec<(TenantId, Count)>>> {
    let place = place(table);
    let from = match (after, scope.engine()) {
        (None, _) => "",
        (Some(_), Engine::Sqlite) => "where tenant_id > ?1",
        (Some(_), _) => "where tenant_id > $1",
    };
    let sql = format!(
        "with recursive seen (id) as ( \
             select (select tenant_id from {place} {from} order by tenant_id limit 1) \
             union all \
             select (select tenant_id from {place} where tenant_id > seen.id order by tenant_id limit 1) \
             from seen where seen.id is not null) \
         select id, (select count(*) from (select 1 from {place} where tenant_id = seen.id limit {}) rows) \
         from seen where id is not null limit {limit}",
        most.saturating_add(1).min(i64::MAX.unsigned_abs())
    );
    let mut tenants = Vec::new();
    let bind = |arguments: &mut Arguments<'_>| match after {
        Some(after) => arguments.value().uuid(after.as_uuid()),
        None => Ok(()),
    };
    let read = fetch(scope, "list tenants", &sql, &bind, &mut |row| {
        let tenant = row.uuid(0)?.unwrap_or(Uuid::nil());
        // A nil one is nobody's: the audit tells of it.
        if let Ok(tenant) = TenantId::new(tenant) {
            tenants.push((tenant, counted(row.integer(1)?, most)));
        }
        Ok(())
    })
    .await;
    Ok(within_time(read)?.map(|()| tenants))
}

/// Counts the rows of a tenant in a table up to a number; `None` where that takes too long.
///
/// # Errors
///
/// Those of a statement that reads, but for its time.
pub(crate) async fn rows_of(
    scope: &PlatformScope,
    table: &str,
    tenant: TenantId,
    most: u64,
) -> Result<Option<Count>> {
    let one = match scope.engine() {
        Engine::Sqlite => "?1",
        _ => "$1",
    };
    let sql = format!(
        "select count(*) from (select 1 from {} where tenant_id = {one} limit {}) rows",
        place(table),
        most.saturating_add(1).min(i64::MAX.unsigned_abs())
    );
    let bind = |arguments: &mut Arguments<'_>| arguments.value().uuid(tenant.as_uuid());
    let mut count = None;
    let read = fetch(scope, "count rows of tenant", &sql, &bind, &mut |row| {
        count = Some(counted(row.integer(0)?, most));
        Ok(())
    })
    .await;
    within_time(read)?;
    Ok(count)
}

/// Counts what a tenant has in a table for each value of a column of text.
///
/// # Errors
///
/// Those of a statement that reads.
pub(crate) async fn by_text(
    scope: &PlatformScope,
    table: &str,
    column: &str,
    tenant: TenantId,
) -> Result<Option<Vec<(String, u64)>>> {
    let one = match scope.engine() {
        Engine::Sqlite => "?1",
        _ => "$1",
    };
    let (column, place) = (quoted(column), place(table));
    let sql = format!(
        "select {column}, count(*) from {place} where tenant_id = {one} group by {column} order by {column}"
    );
    let bind = |arguments: &mut Arguments<'_>| arguments.value().uuid(tenant.as_uuid());
    let mut counts = Vec::new();
    let read = fetch(scope, "count rows of tenant", &sql, &bind, &mut |row| {
        let value = row.text(0)?.unwrap_or_default().to_owned();
        counts.push((value, unsigned(row.integer(1)?).unwrap_or_default()));
        Ok(())
    })
    .await;
    Ok(within_time(read)?.map(|()| counts))
}

fn counted(count: Option<i64>, most: u64) -> Count {
    let rows = unsigned(count).unwrap_or_default();
    Count {
        rows: rows.min(most),
        is_cut: rows > most,
    }
}

async fn fetch(
    scope: &PlatformScope,
    operation: &'static str,
    sql: &str,
    bind: &BindOwn<'_>,
    each: &mut (dyn for<'r> FnMut(&'r dyn Row) -> Result<(), ValueError> + Send),
) -> Result<()> {
    let sql = scope.own_sql(sql);
    let statement = OwnStatement {
        operation,
        table: &CATALOG,
        sql: &sql,
        bind,
    };
    let mut work = scope.read_own(operation).await?;
    work.fetch(&statement, each).await
}

/// Takes what lasts too long for unknown.
fn within_time(read: Result<()>) -> Result<Option<()>> {
    match read {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::StatementTimeout => Ok(None),
        Err(error) => Err(error),
    }
}

fn place(table: &str) -> String {
    format!("{{schema}}{}", quoted(table))
}

/// Writes a name as SQL does, whatever it holds.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn unsigned(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok())
}
