//! The check at connect: is this a role that the wall holds, and does the wall stand?

use std::fmt::Write as _;

use sqlx::{Connection as _, PgConnection, Row as _};
use tenantry_core::{Error, ErrorKind, Result};

use super::bootstrap::{
    MINIMUM_SERVER_VERSION, SCHEMA_VERSION, database_error, newer_schema, schema_version,
    unsupported_server,
};
use super::connect::connect;
use super::settings::PostgresSettings;

const OPERATION: &str = "check database";

/// So many problems are told in one error.
const SHOWN: usize = 20;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Checks a database as a service does when it connects, over a single connection.
///
/// For a deployment that wants to know before the first request, and for CI after the migrations.
/// Everything is read in one transaction and without named statements, so a pooler in transaction
/// mode may stand in between. `select * from tenantry.audit('tenantry_app')` shows the same in SQL.
///
/// # Errors
///
/// The first of these that applies, with all problems in its text, each with the statement that
/// mends it:
///
/// - [`ErrorKind::Unsupported`]: the server is older than PostgreSQL 14.
/// - [`ErrorKind::UnsafeRole`]: the role could get round the wall, or is not the one expected.
/// - [`ErrorKind::SchemaMismatch`]: the schema `tenantry` is missing, older or newer.
/// - [`ErrorKind::InvalidSettings`]: a tenant is set outside any transaction, or row-level security
///   is switched off, by a default of role, database or connection.
/// - [`ErrorKind::UnprotectedTable`]: a table within reach is neither protected nor shared.
/// - the kinds of a connection that fails.
pub async fn verify(
    settings: impl Into<PostgresSettings> + Send,
    role: Role,
) -> Result<ServerFacts> {
    let mut connection = connect(OPERATION, &settings.into()).await?;
    let outcome = check(&mut connection, role).await;
    // What was found out stays so, however the server takes the farewell.
    let _ = connection.close().await;
    outcome
}

/// Does what [`verify`] does, on a connection of the caller's, outside any transaction.
///
/// # Errors
///
/// As [`verify`].
pub(super) async fn check(connection: &mut PgConnection, role: Role) -> Result<ServerFacts> {
    // Names are resolved, and policies printed, without the schemas of anybody else.
    let mut tx = connection
        .begin_with("BEGIN READ ONLY; SET LOCAL search_path TO pg_catalog")
        .await
        .map_err(|error| database_error(OPERATION, error))?;
    let outcome = check_in_tx(&mut tx, role).await;
    // Nothing was written; an error of the rollback would only hide what was found.
    let _ = tx.rollback().await;
    outcome
}

async fn check_in_tx(tx: &mut PgConnection, role: Role) -> Result<ServerFacts> {
    let session = Session::read(tx)
        .await
        .map_err(|error| database_error(OPERATION, error))?;
    if session.server_version_num < MINIMUM_SERVER_VERSION {
        return Err(unsupported_server(OPERATION, session.server_version_num));
    }
    let mut problems = session.problems();
    if problems
        .iter()
        .any(|problem| problem.kind == ErrorKind::UnsafeRole)
    {
        return Err(refuse(&problems));
    }

    let version = match session.has_schema {
        false => None,
        true if !session.may_use_schema => {
            problems.push(Problem::new(
                ErrorKind::UnsafeRole,
                format!(
                    "role {} is none of the roles of this database",
                    session.current_user
                ),
                format!(
                    "connect as the {} role that the bootstrap was given",
                    role.purpose()
                ),
            ));
            return Err(refuse(&problems));
        }
        true => schema_version(tx)
            .await
            .map_err(|error| database_error(OPERATION, error))?,
    };
    let version = match version {
        Some(version) if version == SCHEMA_VERSION => version,
        Some(version) if version > SCHEMA_VERSION => return Err(newer_schema(OPERATION, version)),
        older => return Err(older_schema(older)),
    };

    problems.extend(
        audit(tx, role, &session)
            .await
            .map_err(|error| database_error(OPERATION, error))?,
    );
    if !problems.is_empty() {
        return Err(refuse(&problems));
    }
    Ok(ServerFacts {
        server_version_num: session.server_version_num,
        in_recovery: session.in_recovery,
        schema_version: version,
        user: session.current_user,
        database: session.database,
    })
}

/// What can be asked before the schema `tenantry` is known to be there.
struct Session {
    server_version_num: i32,
    in_recovery: bool,
    current_user: String,
    session_user: String,
    database: String,
    row_security: bool,
    has_tenant: bool,
    strong_role: Option<String>,
    has_schema: bool,
    owns_schema: bool,
    may_use_schema: bool,
}

impl Session {
    async fn read(tx: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "select \
                 current_setting('server_version_num')::int4 as server_version_num, \
                 pg_is_in_recovery() as in_recovery, \
                 current_user::text as current_user, \
                 session_user::text as session_user, \
                 current_database()::text as database, \
                 current_setting('row_security')::bool as row_security, \
                 coalesce(current_setting('tenantry.tenant_id', true), '') <> '' as has_tenant, \
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
            has_tenant: row.try_get("has_tenant")?,
            strong_role: row.try_get("strong_role")?,
            has_schema: row.try_get("has_schema")?,
            owns_schema: row.try_get("owns_schema")?,
            may_use_schema: row.try_get("may_use_schema")?,
        })
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(role) = &self.strong_role {
            problems.push(Problem::new(
                ErrorKind::UnsafeRole,
                format!("role {role} is a superuser or bypasses row-level security"),
                "connect as tenantry_app, or the app role that the bootstrap was given; where there \
                 has been no bootstrap, run that first"
                    .to_owned(),
            ));
        }
        if self.has_tenant {
            problems.push(Problem::new(
                ErrorKind::InvalidSettings,
                "tenantry.tenant_id is set outside any unit of work, by the URL or by a default of \
                 the role or the database"
                    .to_owned(),
                format!("alter role {:?} reset \"tenantry.tenant_id\"", self.session_user),
            ));
        }
        // For the owner that is right: the audit tells it to connect as another.
        if !self.row_security && !self.owns_schema {
            problems.push(Problem::new(
                ErrorKind::InvalidSettings,
                "row_security is off for this connection".to_owned(),
                format!("alter role {:?} reset row_security", self.session_user),
            ));
        }
        problems
    }
}

async fn audit(
    tx: &mut PgConnection,
    role: Role,
    session: &Session,
) -> Result<Vec<Problem>, sqlx::Error> {
    let mut users = vec![session.current_user.clone()];
    if session.session_user != session.current_user {
        // RESET ROLE would bring it back.
        users.push(session.session_user.clone());
    }
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "select distinct code, object, problem, fix \
         from unnest($1::text[]) who, tenantry.audit(quote_ident(who)::regrole, $2) \
         order by code, object, problem",
    )
    .bind(users)
    .bind(role.purpose())
    .persistent(false)
    .fetch_all(tx)
    .await?;
    let problem = |(code, object, problem, fix): (String, String, String, String)| {
        let kind = if code.starts_with("TN03") {
            ErrorKind::UnsafeRole
        } else {
            ErrorKind::UnprotectedTable
        };
        Problem::new(kind, format!("{code} {object}: {problem}"), fix)
    };
    Ok(rows.into_iter().map(problem).collect())
}

#[derive(Debug)]
struct Problem {
    kind: ErrorKind,
    text: String,
    fix: String,
}

impl Problem {
    const fn new(kind: ErrorKind, text: String, fix: String) -> Self {
        Self { kind, text, fix }
    }
}

/// Puts all problems into one error, whose kind is that of the gravest.
fn refuse(problems: &[Problem]) -> Error {
    let gravity = [
        ErrorKind::UnsafeRole,
        ErrorKind::InvalidSettings,
        ErrorKind::UnprotectedTable,
    ];
    let kind = gravity
        .into_iter()
        .find(|kind| problems.iter().any(|problem| problem.kind == *kind))
        .unwrap_or(ErrorKind::Unexpected);
    let mut detail = String::new();
    for (number, problem) in problems.iter().take(SHOWN).enumerate() {
        let separator = if number == 0 { "" } else { "; " };
        // Writing to a String does not fail.
        let _ = write!(detail, "{separator}{} (fix: {})", problem.text, problem.fix);
    }
    if let Some(more) = problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = write!(detail, "; and {more} more");
    }
    Error::new(kind, OPERATION).with_detail(detail)
}

fn older_schema(version: Option<i32>) -> Error {
    let found = match version {
        Some(version) => format!("has version {version}, and {SCHEMA_VERSION} is needed"),
        None => "is missing".to_owned(),
    };
    Error::new(ErrorKind::SchemaMismatch, OPERATION).with_detail(format!(
        "the schema tenantry {found}: run the bootstrap as administrator"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_problem_gives_the_kind_and_the_list_is_bounded() {
        let table = |number| {
            let fix = format!("select tenantry.protect('t{number}')");
            Problem::new(
                ErrorKind::UnprotectedTable,
                format!("t{number}: row-level security is off"),
                fix,
            )
        };
        let mut problems: Vec<_> = (0..30).map(table).collect();
        assert_eq!(refuse(&problems).kind(), ErrorKind::UnprotectedTable);
        problems.push(Problem::new(
            ErrorKind::UnsafeRole,
            String::new(),
            String::new(),
        ));
        let error = refuse(&problems);
        assert_eq!(error.kind(), ErrorKind::UnsafeRole);
        let text = error.to_string();
        assert!(
            text.contains("t19: row-level security is off (fix: select tenantry.protect('t19'))")
        );
        assert!(
            text.ends_with("; and 11 more") && !text.contains("t20"),
            "{text}"
        );
    }
}
