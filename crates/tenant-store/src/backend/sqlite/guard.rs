use sqlx::SqlStr;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use tenantry_core::Result;

use super::schema::isolation::{says_on_conflict, tokens};
use super::session::SqliteSession;
use crate::backend::{Dialect, Session};
use crate::guard::sealed::{Rows, Sealed};
use crate::guard::{
    Catalog, Closed, Declared, GuardedDatabase, GuardedExecutor, Keys, Ownership,
    UnguardedExecutor, another_database, view_query,
};
use crate::platform::PlatformScope;
use crate::scope::TenantScope;
use crate::store::StoreInner;
use crate::work::UnitOfWork;

/// Runs hand-written SQL on SQLite, guarded.
pub type GuardedSqlite<'w> = GuardedExecutor<'w, Sqlite>;

/// Runs hand-written SQL on SQLite across tenants.
pub type UnguardedSqlite<'p> = UnguardedExecutor<'p, Sqlite>;

impl UnitOfWork {
    /// Returns an [`sqlx::Executor`] inside this transaction, for hand-written SQL: the tenant is
    /// put into each statement, or the statement is refused.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store is not SQLite.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = include_str!("../../examples/open.md")]
    /// use tenantry_store::guard::OrStoreError as _;
    ///
    /// tenant.repository().insert(&mut invoice("Ada", 12_000)).await?;
    ///
    /// let work = tenant.begin().await?;
    /// sqlx::query("update invoices set total_cents = total_cents + $1")
    ///     .bind(500)
    ///     .execute(work.sqlx_sqlite()?)
    ///     .await
    ///     .or_store_error()?;
    /// let total: i64 = sqlx::query_scalar("select sum(total_cents) from invoices")
    ///     .fetch_one(work.sqlx_sqlite()?)
    ///     .await
    ///     .or_store_error()?;
    /// assert_eq!(total, 12_500);
    /// work.commit().await?;
    #[doc = include_str!("../../examples/close.md")]
    /// ```
    pub fn sqlx_sqlite(&self) -> Result<GuardedSqlite<'_>> {
        check_database(self.scope().store())?;
        Ok(GuardedExecutor::in_work(self))
    }
}

impl TenantScope {
    /// Returns an [`sqlx::Executor`] for hand-written SQL that reads, each statement by itself: the
    /// tenant is put into it, or it is refused.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store is not SQLite.
    pub fn sqlx_sqlite(&self) -> Result<GuardedSqlite<'_>> {
        check_database(self.store())?;
        Ok(GuardedExecutor::in_scope(self))
    }
}

impl PlatformScope {
    /// Returns an [`sqlx::Executor`] for hand-written SQL that reads the rows of all tenants, as it
    /// is written.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store is not SQLite.
    pub fn sqlx_sqlite(&self) -> Result<UnguardedSqlite<'_>> {
        check_database(self.store())?;
        Ok(UnguardedExecutor::new(self))
    }
}

fn check_database(store: &StoreInner) -> Result<()> {
    match store.backend.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => Err(another_database(
            "sqlx_sqlite",
            "PostgreSQL",
            "sqlx_postgres",
        )),
    }
}

impl GuardedDatabase for Sqlite {}

impl Sealed for Sqlite {
    #[allow(private_interfaces, reason = "it seals the trait")]
    fn run(
        session: &mut dyn Session,
        sql: SqlStr,
        arguments: SqliteArguments,
        persistent: bool,
    ) -> Rows<'_, Self> {
        let session: &mut dyn std::any::Any = session;
        match session.downcast_mut::<SqliteSession>() {
            Some(session) => session.run(sql, arguments, persistent),
            None => crate::guard::no_session::<Self>(),
        }
    }

    fn copy(arguments: &SqliteArguments) -> SqliteArguments {
        arguments.clone()
    }

    fn is_stale(_: &sqlx::Error) -> bool {
        false
    }

    /// The driver runs all that stand in a text.
    fn is_one_statement(sql: &str) -> bool {
        tokens(sql)
            .skip_while(|token| *token != ";")
            .all(|token| token == ";")
    }
}

/// The relations: name, kind, the text that made it, whether a table has a tenant, whether it has a
/// unique key without one, an index that does not begin with it. A primary key that is the number of
/// the row has no index.
const RELATIONS: &str = "SELECT t.name, t.type, v.sql, \
     EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) AS c \
          WHERE c.name = 'tenant_id' COLLATE NOCASE), \
     EXISTS (SELECT 1 FROM pragma_index_list(t.name) AS i WHERE i.\"unique\" \
          AND NOT EXISTS (SELECT 1 FROM pragma_index_info(i.name) AS k \
               WHERE k.name = 'tenant_id' COLLATE NOCASE)) \
     OR EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) AS p WHERE p.pk > 0) \
     AND NOT EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) AS p \
          WHERE p.pk > 0 AND p.name = 'tenant_id' COLLATE NOCASE), \
     (SELECT min(i.name) FROM pragma_index_list(t.name) AS i WHERE NOT EXISTS ( \
          SELECT 1 FROM pragma_index_info(i.name) AS k \
          WHERE k.seqno = 0 AND k.name = 'tenant_id' COLLATE NOCASE)) \
     FROM pragma_table_list AS t \
     LEFT JOIN sqlite_schema AS v ON v.type = t.type AND v.name = t.name \
     WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// Reads what the guard has to know. The outer result is the driver's.
pub(super) async fn catalog(
    connection: &mut SqliteConnection,
    declared: &Declared,
) -> Result<Catalog, sqlx::Error> {
    let mut catalog = Catalog::new(Dialect::Sqlite);
    type Found = (String, String, Option<String>, bool, bool, Option<String>);
    let relations: Vec<Found> = sqlx::query_as(RELATIONS).fetch_all(connection).await?;
    for (name, kind, definition, has_tenant, any_without, index_astray) in relations {
        let definition = definition.unwrap_or_default();
        let is_shared = declared
            .shared_tables
            .iter()
            .any(|shared| shared.eq_ignore_ascii_case(&name));
        let ownership = match &*kind {
            "view" => view_query(&definition).map_or(Ownership::Closed(Closed::View), |query| {
                Ownership::View(query.into())
            }),
            "virtual" => Ownership::Closed(Closed::Virtual),
            "table" if says_on_conflict(&definition) => Ownership::Closed(Closed::Replacing),
            "table" if has_tenant => Ownership::Tenant(Keys {
                with_tenant: [].into(),
                any_without,
                index_astray: index_astray.map(Into::into),
            }),
            "table" if is_shared => Ownership::Shared,
            _ => Ownership::Closed(Closed::Undeclared),
        };
        catalog.add("main", &name, true, ownership);
    }
    for name in TOTAL_FUNCTIONS.iter().chain(OTHER_FUNCTIONS) {
        catalog.add_function(None, name);
    }
    catalog.set_total_functions(TOTAL_FUNCTIONS);
    catalog.set_table_functions(&["generate_series", "json_each", "json_tree"]);
    Ok(catalog)
}

/// The functions that come with SQLite, look at nothing but their arguments, the clock and chance, and
/// fail for no value of a column, or whose values are of rows that have passed every condition.
const TOTAL_FUNCTIONS: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "group_concat",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "json_error_position",
    "json_group_array",
    "json_group_object",
    "json_quote",
    "json_valid",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "quote",
    "radians",
    "random",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
];

/// The others that look at nothing else: for a value they may fail
/// (<https://www.sqlite.org/lang_corefunc.html> and the pages beside it).
const OTHER_FUNCTIONS: &[&str] = &[
    "abs",
    "format",
    "glob",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "like",
    "printf",
    "randomblob",
    "zeroblob",
];
