//! The audit of a database: every way round the wall, as data.

use serde::Serialize;
use sqlx::{Connection as _, PgConnection, Row as _};
use tenantry_core::{Error, ErrorKind, Result};

use super::bootstrap::{
    MINIMUM_SERVER_VERSION, SCHEMA_VERSION, database_error, newer_schema, schema_version,
    unsupported_server,
};
use super::connect::{CHECK_LIMIT, address, answered, connect_with, is_pooled};
use super::settings::{Pooler, PostgresSettings};
use crate::audit::{AuditReport, Finding, Fix, Severity};

const OPERATION: &str = "audit database";

/// What a connection to PostgreSQL is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The services: one tenant at a time.
    App,
    /// Work across tenants.
    Platform,
}

impl Role {
    /// Returns the name that `tenantry.audit` knows.
    const fn purpose(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Platform => "platform",
        }
    }
}

/// What is known of a database after the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerFacts {
    /// `150018` for PostgreSQL 15.18.
    pub server_version_num: i32,
    /// Whether the server is a replica, which takes no writes.
    pub in_recovery: bool,
    /// The version of the schema `tenantry`.
    pub schema_version: i32,
    /// The role whose rights statements run with.
    pub user: String,
    /// The database.
    pub database: String,
}

/// Looks for every way in which the role that the settings connect as could get round the wall.
///
/// What is found is data, and no error: [`AuditReport::findings`] has one entry for each fault, with
/// what mends it. What a service refuses at connect are those of [`Severity::Error`]; warnings tell
/// what the next change would open. Tables out of the role's reach are looked at as well.
///
/// Everything is read in one transaction, without named statements and without a write, so a
/// pooler in transaction mode may stand in between. Where the settings do not tell of one, a
/// second connection is opened to look for it.
/// `select * from tenantry.audit('tenantry_app')` shows the same in SQL, but for what belongs to
/// the connection.
///
/// # Errors
///
/// Nothing could be audited:
///
/// - [`ErrorKind::Unsupported`]: the server is older than PostgreSQL 14.
/// - [`ErrorKind::UnsafeRole`]: the role is none of this database.
/// - [`ErrorKind::SchemaMismatch`]: the schema `tenantry` is missing, older or newer.
/// - the kinds of a connection that fails.
///
/// # Cancel safety
///
/// Dropped, it closes its connections; it changes nothing.
///
/// # Examples
///
/// ```no_run
/// use tenantry_core::Secret;
/// use tenantry_store::postgres::{PostgresSettings, Role, audit};
///
/// # async fn example(password: String) -> tenantry_store::Result<()> {
/// let settings = PostgresSettings::new("postgres://tenantry_app@localhost/billing")
///     .with_password(Secret::new(password));
/// let report = audit(settings, Role::App).await?;
/// assert!(report.is_clean(), "{:?}", report.findings());
/// # Ok(())
/// # }
/// ```
pub async fn audit(
    settings: impl Into<PostgresSettings> + Send,
    role: Role,
) -> Result<AuditReport<ServerFacts>> {
    let settings = settings.into();
    let options = settings.connect_options().await?;
    let limit = settings.acquire_timeout;
    let mut connection = connect_with(OPERATION, &options, limit).await?;
    let inspected = async {
        let report = inspect(OPERATION, &mut connection, role, &settings.schema).await?;
        check_schema(&mut connection, &settings.schema).await?;
        Ok(report)
    };
    let mut outcome = answered(OPERATION, &options, CHECK_LIMIT, inspected).await;
    if settings.pooler == Pooler::None
        && let Ok(report) = outcome
    {
        outcome = is_pooled(OPERATION, &mut connection, &options, limit)
            .await
            .map(|is_pooled| {
                let (facts, mut findings) = report.into_parts();
                findings.extend(is_pooled.then(|| hidden_pooler(address(&options))));
                AuditReport::new(facts, findings)
            });
    }
    // What was found out stays so, however the server takes the farewell.
    let _ = connection.close().await;
    outcome
}

/// Refuses a schema that is not there: nothing would be found in it.
async fn check_schema(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let is_there: bool = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_namespace where nspname = $1)",
    )
    .bind(schema)
    .persistent(false)
    .fetch_one(connection)
    .await
    .map_err(|error| database_error(OPERATION, error))?;
    match is_there {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
            .with_subject(format!("schema {schema}"))
            .with_detail("there is none: name the one that the tables are in")),
    }
}

/// Looks at a database over a connection of the caller's, outside any transaction.
pub(super) async fn inspect(
    operation: &'static str,
    connection: &mut PgConnection,
    role: Role,
    home: &str,
) -> Result<AuditReport<ServerFacts>> {
    // Names are resolved, and policies printed, without the schemas of anybody else.
    let mut tx = connection
        .begin_with("BEGIN READ ONLY; SET LOCAL search_path TO pg_catalog")
        .await
        .map_err(|error| database_error(operation, error))?;
    let outcome = inspect_in_tx(operation, &mut tx, role, home).await;
    // Nothing was written; an error of the rollback would only hide what was found.
    let _ = tx.rollback().await;
    outcome
}

async fn inspect_in_tx(
    operation: &'static str,
    tx: &mut PgConnection,
    role: Role,
    home: &str,
) -> Result<AuditReport<ServerFacts>> {
    let session = Session::read(tx)
        .await
        .map_err(|error| database_error(operation, error))?;
    if session.server_version_num < MINIMUM_SERVER_VERSION {
        return Err(unsupported_server(operation, session.server_version_num));
    }
    let version = if session.may_use_schema {
        schema_version(tx)
            .await
            .map_err(|error| database_error(operation, error))?
    } else {
        None
    };
    let version = match version {
        Some(version) if version == SCHEMA_VERSION => version,
        // Whatever the schema is, this is no role for a service.
        _ if session.strong_role.is_some() => return Err(session.too_strong(operation)),
        Some(version) if version > SCHEMA_VERSION => return Err(newer_schema(operation, version)),
        None if session.has_schema && !session.may_use_schema => {
            return Err(session.unknown_role(operation, role));
        }
        older => return Err(older_schema(operation, older)),
    };
    let mut findings = session.findings();
    findings.extend(
        catalog_findings(tx, role, home, &session)
            .await
            .map_err(|error| database_error(operation, error))?,
    );
    let facts = ServerFacts {
        server_version_num: session.server_version_num,
        in_recovery: session.in_recovery,
        schema_version: version,
        user: session.current_user,
        database: session.database,
    };
    Ok(AuditReport::new(facts, findings))
}

/// What can be asked before the schema `tenantry` is known to be there.
struct Session {
    server_version_num: i32,
    in_recovery: bool,
    current_user: String,
    session_user: String,
    database: String,
    row_security: bool,
    row_security_reset: Option<String>,
    has_tenant: bool,
    tenant_reset: Option<String>,
    strong_role: Option<String>,
    has_schema: bool,
    owns_schema: bool,
    may_use_schema: bool,
}

impl Session {
    async fn read(tx: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "with defaults as ( \
                 select \
                     lower(split_part(setting, '=', 1)) as name, \
                     format('alter %s reset %I', case \
                         when setrole = 0 and setdatabase = 0 then 'role all' \
                         when setrole = 0 then format('database %I', current_database()) \
                         when setdatabase = 0 then format('role %I', session_user) \
                         else format('role %I in database %I', session_user, current_database()) \
                     end, split_part(setting, '=', 1)) as reset \
                 from pg_db_role_setting, unnest(setconfig) setting \
                 where setrole in (0, (select oid from pg_roles where rolname = session_user)) \
                     and setdatabase in \
                         (0, (select oid from pg_database where datname = current_database())) \
             ) \
             select \
                 current_setting('server_version_num')::int4 as server_version_num, \
                 pg_is_in_recovery() as in_recovery, \
                 current_user::text as current_user, \
                 session_user::text as session_user, \
                 current_database()::text as database, \
                 current_setting('row_security')::bool as row_security, \
                 (select string_agg(reset, '; ') from defaults where name = 'row_security') \
                     as row_security_reset, \
                 coalesce(current_setting('tenantry.tenant_id', true), '') <> '' as has_tenant, \
                 (select string_agg(reset, '; ') from defaults where name = 'tenantry.tenant_id') \
                     as tenant_reset, \
                 ( \
                     select rolname::text from pg_roles \
                     where rolname in (current_user, session_user) and (rolsuper or rolbypassrls) \
                     limit 1 \
                 ) as strong_role, \
                 exists (select from pg_namespace where nspname = 'tenantry') as has_schema, \
                 exists ( \
                     select from pg_namespace \
                     where nspname = 'tenantry' and pg_get_userbyid(nspowner) = current_user \
                 ) as owns_schema, \
                 coalesce(( \
                     select has_schema_privilege(oid, 'USAGE') from pg_namespace \
                     where nspname = 'tenantry' \
                 ), false) as may_use_schema",
        )
        .persistent(false)
        .fetch_one(tx)
        .await?;
        Ok(Self {
            server_version_num: row.try_get("server_version_num")?,
            in_recovery: row.try_get("in_recovery")?,
            current_user: row.try_get("current_user")?,
            session_user: row.try_get("session_user")?,
            database: row.try_get("database")?,
            row_security: row.try_get("row_security")?,
            row_security_reset: row.try_get("row_security_reset")?,
            has_tenant: row.try_get("has_tenant")?,
            tenant_reset: row.try_get("tenant_reset")?,
            strong_role: row.try_get("strong_role")?,
            has_schema: row.try_get("has_schema")?,
            owns_schema: row.try_get("owns_schema")?,
            may_use_schema: row.try_get("may_use_schema")?,
        })
    }

    fn findings(&self) -> Vec<Finding> {
        let fix = |reset: &Option<String>, setting: &str| match reset {
            Some(sql) => Fix::Administrator(sql.clone()),
            None => Fix::Advice(format!(
                "leave {setting} out of the URL and of the settings of the server"
            )),
        };
        let mut findings = Vec::new();
        if self.has_tenant {
            findings.push(Finding::new(
                Severity::Error,
                "TN040",
                &self.session_user,
                "tenantry.tenant_id is set outside any unit of work, by the URL or by a default of \
                 the role or the database",
                fix(&self.tenant_reset, "tenantry.tenant_id"),
            ));
        }
        // For the owner that is right: it is told to connect as another.
        if !self.row_security && !self.owns_schema {
            findings.push(Finding::new(
                Severity::Error,
                "TN041",
                &self.session_user,
                "row_security is off for this connection",
                fix(&self.row_security_reset, "row_security"),
            ));
        }
        findings
    }

    fn too_strong(&self, operation: &'static str) -> Error {
        let role = self.strong_role.as_deref().unwrap_or(&self.current_user);
        Error::new(ErrorKind::UnsafeRole, operation).with_detail(format!(
            "role {role} is a superuser or bypasses row-level security (fix: connect as \
             tenantry_app, or the app role that the bootstrap was given; where there has been no \
             bootstrap, run that first)"
        ))
    }

    fn unknown_role(&self, operation: &'static str, role: Role) -> Error {
        Error::new(ErrorKind::UnsafeRole, operation).with_detail(format!(
            "role {} is none of the roles of this database (fix: connect as the {} role that the \
             bootstrap was given)",
            self.current_user,
            role.purpose()
        ))
    }
}

async fn catalog_findings(
    tx: &mut PgConnection,
    role: Role,
    home: &str,
    session: &Session,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut users = vec![session.current_user.clone()];
    if session.session_user != session.current_user {
        // RESET ROLE would bring it back.
        users.push(session.session_user.clone());
    }
    type Found = (String, String, String, String, String, String);
    let rows: Vec<Found> = sqlx::query_as(
        "select code, severity, object, problem, fix, fix_by \
         from unnest($1::text[]) who, tenantry.audit(quote_ident(who)::regrole, $2, $3)",
    )
    .bind(users)
    .bind(role.purpose())
    .bind(home)
    .persistent(false)
    .fetch_all(tx)
    .await?;
    let finding = |(code, severity, object, problem, fix, fix_by): Found| {
        let severity = match severity.as_str() {
            "warning" => Severity::Warning,
            _ => Severity::Error,
        };
        let fix = match fix_by.as_str() {
            "owner" => Fix::Owner(fix),
            "administrator" => Fix::Administrator(fix),
            _ => Fix::Advice(fix),
        };
        Finding::new(severity, code, object, problem, fix)
    };
    Ok(rows.into_iter().map(finding).collect())
}

fn hidden_pooler(address: String) -> Finding {
    Finding::new(
        Severity::Error,
        "TN042",
        address,
        "a pooler in transaction mode is in between, and the settings do not tell of it: statements \
         that are prepared for one connection would mix up with those of another",
        Fix::Advice("say with_pooler(Pooler::TransactionMode)".to_owned()),
    )
}

fn older_schema(operation: &'static str, version: Option<i32>) -> Error {
    let found = match version {
        Some(version) => format!("has version {version}, and {SCHEMA_VERSION} is needed"),
        None => "is missing".to_owned(),
    };
    Error::new(ErrorKind::SchemaMismatch, operation).with_detail(format!(
        "the schema tenantry {found}: run the bootstrap as administrator"
    ))
}
