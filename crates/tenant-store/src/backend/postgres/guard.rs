use sqlx::postgres::{PgArguments, PgConnection, Postgres};
use sqlx::{Row as _, SqlStr};
use tenantry_core::{Error, ErrorKind, Result};

use super::error::is_stale_plan;
use super::session::PostgresSession;
use crate::backend::{Dialect, Session};
use crate::guard::sealed::{Rows, Sealed};
use crate::guard::{
    Catalog, Closed, Declared, GuardedDatabase, GuardedExecutor, Keys, Ownership,
    UnguardedExecutor, another_database,
};
use crate::platform::PlatformScope;
use crate::scope::TenantScope;
use crate::store::StoreInner;
use crate::work::UnitOfWork;

/// Runs hand-written SQL on PostgreSQL, guarded.
pub type GuardedPostgres<'w> = GuardedExecutor<'w, Postgres>;

/// Runs hand-written SQL on PostgreSQL across tenants.
pub type UnguardedPostgres<'p> = UnguardedExecutor<'p, Postgres>;

impl UnitOfWork {
    /// Returns an [`sqlx::Executor`] inside this transaction, for hand-written SQL: the tenant is
    /// put into each statement, or the statement is refused.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store is not PostgreSQL.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use tenantry_store::UnitOfWork;
    /// # async fn open(work: &UnitOfWork) -> Result<i64, Box<dyn std::error::Error>> {
    /// let open: i64 = sqlx::query_scalar("select count(*) from invoices where status = $1")
    ///     .bind("open")
    ///     .fetch_one(work.sqlx_postgres()?)
    ///     .await?;
    /// # Ok(open)
    /// # }
    /// ```
    pub fn sqlx_postgres(&self) -> Result<GuardedPostgres<'_>> {
        check_database(self.scope().store())?;
        Ok(GuardedExecutor::in_work(self))
    }
}

impl TenantScope {
    /// Returns an [`sqlx::Executor`] for hand-written SQL that reads, each statement in
    /// a transaction of its own: the tenant is put into it, or it is refused.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store is not PostgreSQL.
    pub fn sqlx_postgres(&self) -> Result<GuardedPostgres<'_>> {
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
    /// `Unsupported` if the store is not PostgreSQL.
    pub fn sqlx_postgres(&self) -> Result<UnguardedPostgres<'_>> {
        check_database(self.store())?;
        Ok(UnguardedExecutor::new(self))
    }
}

fn check_database(store: &StoreInner) -> Result<()> {
    match store.backend.dialect() {
        Dialect::Postgres => Ok(()),
        Dialect::Sqlite => Err(another_database("sqlx_postgres", "SQLite", "sqlx_sqlite")),
    }
}

impl GuardedDatabase for Postgres {}

impl Sealed for Postgres {
    #[allow(private_interfaces, reason = "it seals the trait")]
    fn run(
        session: &mut dyn Session,
        sql: SqlStr,
        arguments: PgArguments,
        persistent: bool,
    ) -> Rows<'_, Self> {
        let session: &mut dyn std::any::Any = session;
        match session.downcast_mut::<PostgresSession>() {
            Some(session) => session.run(sql, arguments, persistent),
            None => crate::guard::no_session::<Self>(),
        }
    }

    fn copy(arguments: &PgArguments) -> PgArguments {
        arguments.clone()
    }

    fn is_stale(error: &sqlx::Error) -> bool {
        is_stale_plan(error)
    }

    fn is_one_statement(_: &str) -> bool {
        true
    }
}

/// Reads what the guard has to know. The outer result is the driver's.
pub(super) async fn catalog(
    connection: &mut PgConnection,
    declared: &Declared,
) -> Result<Result<Catalog>, sqlx::Error> {
    let mut catalog = Catalog::new(Dialect::Postgres);
    let mut trusted = declared.trusted_functions.iter();
    if let Some(name) = trusted.find(|name| !name.contains('.')) {
        return Ok(Err(Error::new(ErrorKind::InvalidSettings, "read catalog")
            .with_subject(format!("trusted function {name}"))
            .with_detail("name it with its schema: schema.name")));
    }
    let (standard, as_of): (String, i64) = sqlx::query_as(AS_IT_IS)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    catalog.as_of = Some(as_of);
    if standard != "on" {
        return Ok(Err(Error::new(ErrorKind::InvalidSettings, "read catalog")
            .with_detail(
                "standard_conforming_strings is off, so that a backslash hides the end of a text: \
                 set it on for the role and the database",
            )));
    }
    let relations = sqlx::query(include_str!("sql/guard_relations.sql"))
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
    for row in relations {
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let visible: bool = row.try_get(2)?;
        let kind: String = row.try_get(3)?;
        let ownership = match &*kind {
            "tenant" => Ownership::Tenant(Keys {
                with_tenant: row
                    .try_get::<Vec<String>, _>(5)?
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                any_without: row.try_get(6)?,
                // Row-level security is looked at before any function that could tell of a row.
                index_astray: None,
            }),
            "shared" => Ownership::Shared,
            "view" => match row.try_get::<Option<String>, _>(4)? {
                Some(definition) => Ownership::View(definition.into()),
                None => Ownership::Closed(Closed::View),
            },
            "partition" => Ownership::Closed(Closed::Partition),
            "materialized view" => Ownership::Closed(Closed::MaterializedView),
            "foreign table" => Ownership::Closed(Closed::Foreign),
            "closed view" => Ownership::Closed(Closed::View),
            _ => Ownership::Closed(Closed::Undeclared),
        };
        catalog.add(&schema, &name, visible, ownership);
    }
    let functions: Vec<(Option<String>, String, bool, bool)> =
        sqlx::query_as(include_str!("sql/guard_functions.sql"))
            .bind(SAFE_FUNCTIONS)
            .bind(&declared.trusted_functions)
            .persistent(false)
            .fetch_all(connection)
            .await?;
    for name in GRAMMAR {
        catalog.add_function(None, name);
    }
    for (schema, name, safe, takes_row) in functions {
        match (safe, &schema) {
            (true, _) => catalog.add_function(schema.as_deref(), &name),
            // Not every server has each of them in its grammar.
            (false, None) => catalog.remove_function(&name),
            (false, Some(_)) => {}
        }
        if takes_row {
            catalog.add_row_function(&name);
        }
    }
    Ok(Ok(catalog))
}

/// How texts are read, and when the state was true that the transaction sees.
const AS_IT_IS: &str = "select current_setting('standard_conforming_strings'), \
     (extract(epoch from case current_setting('transaction_isolation') \
         when 'read committed' then statement_timestamp() else now() end) * 1000000)::int8";

/// What looks like a function and is a rule of the grammar.
const GRAMMAR: &[&str] = &[
    "coalesce",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "greatest",
    "grouping",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_value",
    "least",
    "localtime",
    "localtimestamp",
    "merge_action",
    "normalize",
    "nullif",
    "overlay",
    "position",
    "row",
    "session_user",
    "substring",
    "trim",
    "user",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
];

/// The functions of `pg_catalog` that are not immutable, and yet look at nothing but their
/// arguments, the clock, the time zone and chance. Immutable ones need no mention.
const SAFE_FUNCTIONS: &[&str] = &[
    "age",
    "array_agg",
    "array_in",
    "array_to_json",
    "array_to_string",
    "clock_timestamp",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "date",
    "date_add",
    "date_bin",
    "date_part",
    "date_subtract",
    "date_trunc",
    "enum_first",
    "enum_last",
    "enum_range",
    "extract",
    "format",
    "gen_random_uuid",
    "generate_series",
    "interval",
    "isfinite",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "json_to_tsvector",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
    "jsonb_to_tsvector",
    "length",
    "make_timestamptz",
    "money",
    "now",
    "numeric",
    "num_nonnulls",
    "num_nulls",
    "overlaps",
    "pg_typeof",
    "phraseto_tsquery",
    "plainto_tsquery",
    "quote_literal",
    "quote_nullable",
    "random",
    "random_normal",
    "row_to_json",
    "statement_timestamp",
    "string_agg",
    "string_to_array",
    "string_to_table",
    "text",
    "time",
    "timeofday",
    "timestamp",
    "timestamptz",
    "timetz",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "transaction_timestamp",
    "ts_headline",
    "uuidv4",
    "uuidv7",
    "websearch_to_tsquery",
];
