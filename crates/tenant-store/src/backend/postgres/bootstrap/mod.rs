//! The roles, the schema `tenantry` and its functions, put into a database by its administrator.

mod scram;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection as _, PgConnection};
use tenantry_core::{Error, ErrorKind, Result, Secret};

use super::connect::connect;
use super::error::driver_error;
use super::settings::PostgresSettings;

/// What `tenantry.schema_version()` returns after the bootstrap of this version of Tenantry.
pub(super) const SCHEMA_VERSION: i32 = 3;

/// The oldest server that is supported, as `server_version_num`.
pub(super) const MINIMUM_SERVER_VERSION: i32 = 140_000;

const OPERATION: &str = "bootstrap";

/// Held while the schema is written; any number will do that nobody else uses.
const LOCK: i64 = 0x7465_6e61_6e74_7279;

/// Roles belong to the whole server, and no lock spans its databases: who loses the race for a
/// role tries again.
const ATTEMPTS: u32 = 50;

/// Prepares a PostgreSQL database for services: three roles, the schema `tenantry`, its functions.
///
/// | role | default name | is for |
/// |---|---|---|
/// | owner | `tenantry_owner` | migrations; owns the tables |
/// | app | `tenantry_app` | the services; sees one tenant at a time |
/// | platform | `tenantry_platform` | work across tenants |
///
/// None of them is a superuser, and none bypasses row-level security. A role that is there already
/// is used as it is, or refused if it is too strong; it is never weakened. Running it again
/// changes nothing, running it with a newer version of Tenantry upgrades the functions, and several
/// may run at once.
///
/// The administrator is a superuser, or the owner of the database with `CREATEROLE`, as a managed
/// cloud gives it. All happens in one transaction, so it may go through a pooler, and a failure
/// leaves nothing half done.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use tenantry_core::Secret;
/// use tenantry_store::postgres::Bootstrap;
///
/// # async fn example(admin_url: &str, owner: Arc<Secret>, app: Arc<Secret>) -> tenantry_store::Result<()> {
/// let report = Bootstrap::new(admin_url)
///     .with_owner_role("billing_owner", Some(owner))
///     .with_app_role("billing_app", Some(app))
///     .with_platform_role("billing_platform", None)
///     .run()
///     .await?;
/// assert_eq!(report.schema_version, 3);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens until `run`"]
pub struct Bootstrap {
    admin_url: String,
    owner: RoleOptions,
    app: RoleOptions,
    platform: RoleOptions,
}

#[derive(Debug)]
struct RoleOptions {
    name: String,
    password: Option<Arc<Secret>>,
}

/// What [`Bootstrap::run`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootstrapReport {
    /// The roles that were not there before.
    pub created_roles: Vec<String>,
    /// The version of the schema `tenantry` before; `None` if there was none.
    pub previous_schema_version: Option<i32>,
    /// The version of the schema `tenantry` now.
    pub schema_version: i32,
}

/// Prepares a database with the default names of the roles, and without passwords.
///
/// # Errors
///
/// As [`Bootstrap::run`].
pub async fn bootstrap(admin_url: &str) -> Result<BootstrapReport> {
    Bootstrap::new(admin_url).run().await
}

impl Bootstrap {
    /// Returns a bootstrap of the database under `admin_url`.
    pub fn new(admin_url: impl Into<String>) -> Self {
        let role = |name: &str| RoleOptions {
            name: name.to_owned(),
            password: None,
        };
        Self {
            admin_url: admin_url.into(),
            owner: role("tenantry_owner"),
            app: role("tenantry_app"),
            platform: role("tenantry_platform"),
        }
    }

    /// Sets the name of the role that runs migrations, and its password.
    ///
    /// Without a password the role keeps the one it has; a new role has none, and cannot log in by
    /// password. The password does not leave this process: the server is sent the SCRAM-SHA-256
    /// verifier, so it does not appear in a statement log either. It must be printable ASCII.
    pub fn with_owner_role(
        mut self,
        name: impl Into<String>,
        password: Option<Arc<Secret>>,
    ) -> Self {
        self.owner = RoleOptions {
            name: name.into(),
            password,
        };
        self
    }

    /// Sets the name of the role of the services, and its password, as
    /// [`with_owner_role`](Self::with_owner_role) does.
    pub fn with_app_role(mut self, name: impl Into<String>, password: Option<Arc<Secret>>) -> Self {
        self.app = RoleOptions {
            name: name.into(),
            password,
        };
        self
    }

    /// Sets the name of the role for work across tenants, and its password, as
    /// [`with_owner_role`](Self::with_owner_role) does.
    pub fn with_platform_role(
        mut self,
        name: impl Into<String>,
        password: Option<Arc<Secret>>,
    ) -> Self {
        self.platform = RoleOptions {
            name: name.into(),
            password,
        };
        self
    }

    /// Does it, in one transaction.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidSettings`]: a name or a password that PostgreSQL cannot take, two
    ///   roles of one name, or a database that was bootstrapped under other names.
    /// - [`ErrorKind::UnsafeRole`]: a role that is there already is a superuser, bypasses
    ///   row-level security, creates roles, or is a member of another of the three.
    /// - [`ErrorKind::PermissionDenied`]: the administrator may not do one of the steps.
    /// - [`ErrorKind::SchemaMismatch`]: a newer version of Tenantry has been here.
    /// - [`ErrorKind::Unsupported`]: the server is older than PostgreSQL 14.
    /// - [`ErrorKind::ReadOnly`]: the server is a replica.
    /// - the kinds of a connection that fails.
    pub async fn run(&self) -> Result<BootstrapReport> {
        self.check_names()?;
        let wanted = json!({
            "owner": self.owner.wanted()?,
            "app": self.app.wanted()?,
            "platform": self.platform.wanted()?,
        });
        let mut connection = connect(OPERATION, &PostgresSettings::new(&self.admin_url)).await?;
        check_server(&mut connection).await?;

        let mut attempt = 1;
        loop {
            match self.attempt(&mut connection, &wanted.to_string()).await {
                Ok(report) => {
                    // All is stored; how the server takes the farewell matters to nobody.
                    let _ = connection.close().await;
                    return Ok(report);
                }
                Err(Failure::Driver(error)) if attempt < ATTEMPTS && lost_a_race(&error) => {
                    let jitter = u64::from(rand::random::<u8>());
                    tokio::time::sleep(Duration::from_millis(5 + jitter / 4)).await;
                    attempt += 1;
                }
                Err(Failure::Driver(error)) => return Err(database_error(OPERATION, error)),
                Err(Failure::Newer(version)) => {
                    return Err(newer_schema(OPERATION, version));
                }
            }
        }
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        wanted: &str,
    ) -> Result<BootstrapReport, Failure> {
        // Dropped on an early return, the transaction rolls back.
        let mut tx = connection.begin().await?;
        sqlx::query(
            "select pg_advisory_xact_lock($1), set_config('tenantry.bootstrap', $2, true), \
             set_config('search_path', 'pg_catalog, pg_temp', true), \
             set_config('client_min_messages', 'warning', true)",
        )
        .bind(LOCK)
        .bind(wanted)
        .persistent(false)
        .execute(&mut *tx)
        .await?;

        let names = [&self.owner.name, &self.app.name, &self.platform.name];
        let existing: Vec<String> =
            sqlx::query_scalar("select rolname::text from pg_roles where rolname::text = any ($1)")
                .bind(names.map(Clone::clone).as_slice())
                .persistent(false)
                .fetch_all(&mut *tx)
                .await?;
        sqlx::raw_sql(include_str!("../sql/roles.sql"))
            .execute(&mut *tx)
            .await?;

        sqlx::query("select set_config('role', $1, true)")
            .bind(&self.owner.name)
            .persistent(false)
            .execute(&mut *tx)
            .await?;
        let previous_schema_version = schema_version(&mut tx).await?;
        if let Some(version) = previous_schema_version.filter(|version| *version > SCHEMA_VERSION) {
            return Err(Failure::Newer(version));
        }
        for sql in [
            include_str!("../sql/schema.sql"),
            include_str!("../sql/functions.sql"),
            include_str!("../sql/audit.sql"),
        ] {
            sqlx::raw_sql(sql).execute(&mut *tx).await?;
        }
        sqlx::raw_sql("reset role").execute(&mut *tx).await?;
        sqlx::raw_sql(include_str!("../sql/grants.sql"))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;

        let created = |name: &&String| !existing.contains(name);
        Ok(BootstrapReport {
            created_roles: names.into_iter().filter(created).cloned().collect(),
            previous_schema_version,
            schema_version: SCHEMA_VERSION,
        })
    }

    fn check_names(&self) -> Result<()> {
        let names = [&self.owner.name, &self.app.name, &self.platform.name];
        for name in names {
            let problem = if name.is_empty() {
                "is empty"
            } else if name.len() > 63 {
                "is longer than the 63 bytes that PostgreSQL keeps of a name"
            } else if name.contains('\0') {
                "holds a NUL"
            } else if name.starts_with("pg_") || matches!(&**name, "public" | "none") {
                "is reserved by PostgreSQL"
            } else {
                continue;
            };
            return Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
                .with_detail(format!("the role name {name:?} {problem}")));
        }
        if names[0] == names[1] || names[1] == names[2] || names[0] == names[2] {
            return Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
                .with_detail("owner, app and platform must be three different roles"));
        }
        Ok(())
    }
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold the administrator's password.
        f.debug_struct("Bootstrap")
            .field("owner", &self.owner.name)
            .field("app", &self.app.name)
            .field("platform", &self.platform.name)
            .finish_non_exhaustive()
    }
}

impl RoleOptions {
    /// Returns the role as `roles.sql` reads it.
    fn wanted(&self) -> Result<serde_json::Value> {
        let verifier = match &self.password {
            None => None,
            Some(password) => Some(scram::verifier(password.expose()).ok_or_else(|| {
                Error::new(ErrorKind::InvalidSettings, OPERATION).with_detail(format!(
                    "the password of role {} must be printable ASCII, and not empty",
                    self.name
                ))
            })?),
        };
        Ok(json!({ "name": self.name, "verifier": verifier }))
    }
}

enum Failure {
    Driver(sqlx::Error),
    Newer(i32),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

/// Returns the version of the schema `tenantry`, or `None` if it has no version.
pub(super) async fn schema_version(
    connection: &mut PgConnection,
) -> Result<Option<i32>, sqlx::Error> {
    let known: bool = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_proc p \
         join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
         where n.nspname = 'tenantry' and p.proname = 'schema_version')",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    if !known {
        return Ok(None);
    }
    sqlx::query_scalar("select tenantry.schema_version()")
        .persistent(false)
        .fetch_one(connection)
        .await
        .map(Some)
}

/// The database was bootstrapped by a newer version of Tenantry.
pub(super) fn newer_schema(operation: &'static str, version: i32) -> Error {
    Error::new(ErrorKind::SchemaMismatch, operation).with_detail(format!(
        "the schema tenantry has version {version}, this program knows version {SCHEMA_VERSION}: \
         build it with a newer Tenantry"
    ))
}

/// Turns an error into ours, and what `tenantry`'s own functions refused into its kind.
///
/// Their messages name tables, columns and roles, and never a stored value.
pub(super) fn database_error(operation: &'static str, error: sqlx::Error) -> Error {
    let Some(refused) = refusal(&error) else {
        let error = driver_error(operation, error);
        return match error.kind() {
            ErrorKind::PermissionDenied if operation == OPERATION => error.with_detail(
                "the administrator must be a superuser, or own the database and have CREATEROLE",
            ),
            _ => error,
        };
    };
    let kind = match refused.code() {
        "TN001" => ErrorKind::SchemaMismatch,
        "TN020" => ErrorKind::UnsafeRole,
        "TN021" => ErrorKind::InvalidSettings,
        "TN022" => ErrorKind::PermissionDenied,
        _ => ErrorKind::UnprotectedTable,
    };
    let (code, message) = (refused.code(), refused.message());
    Error::new(kind, operation).with_detail(match refused.hint() {
        Some(hint) => format!("{code} {message} (fix: {hint})"),
        None => format!("{code} {message}"),
    })
}

fn refusal(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    let error = error
        .as_database_error()?
        .try_downcast_ref::<PgDatabaseError>()?;
    error.code().starts_with("TN").then_some(error)
}

async fn check_server(connection: &mut PgConnection) -> Result<()> {
    let (version, replica): (i32, bool) = sqlx::query_as(
        "select current_setting('server_version_num')::int4, pg_catalog.pg_is_in_recovery()",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
    .map_err(|error| driver_error(OPERATION, error))?;
    if version < MINIMUM_SERVER_VERSION {
        return Err(unsupported_server(OPERATION, version));
    }
    if replica {
        return Err(Error::new(ErrorKind::ReadOnly, OPERATION)
            .with_detail("this server is a replica: bootstrap its primary"));
    }
    Ok(())
}

/// The server is too old.
pub(super) fn unsupported_server(operation: &'static str, version: i32) -> Error {
    Error::new(ErrorKind::Unsupported, operation).with_detail(format!(
        "the server is PostgreSQL {}, and {} is the oldest that is supported",
        version / 10_000,
        MINIMUM_SERVER_VERSION / 10_000
    ))
}

/// Returns whether another bootstrap on this server, perhaps in another database, was faster.
fn lost_a_race(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    matches!(
        code.as_deref(),
        // unique_violation, duplicate_object, "tuple concurrently updated" (an internal error with
        // no code of its own), deadlock_detected, serialization_failure
        Some("23505" | "42710" | "XX000" | "40P01" | "40001")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sql_tells_the_version_that_the_library_expects() {
        let functions = include_str!("../sql/functions.sql");
        let version = functions
            .split_once("tenantry.schema_version() returns integer")
            .unwrap()
            .1;
        assert!(
            version
                .split(';')
                .next()
                .unwrap()
                .ends_with(&format!("return {SCHEMA_VERSION}"))
        );
    }

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        for (owner, fragment) in [
            ("", "is empty"),
            ("pg_owner", "reserved"),
            ("public", "reserved"),
            ("a\0b", "NUL"),
            (&*"o".repeat(64), "63 bytes"),
            ("tenantry_app", "three different"),
        ] {
            let error = Bootstrap::new("")
                .with_owner_role(owner, None)
                .check_names()
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSettings);
            assert!(error.to_string().contains(fragment), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let bootstrap = Bootstrap::new("postgres://admin:hunter2@localhost/db")
            .with_app_role("app", Some(Secret::new("hunter2".to_owned()).into()));
        assert!(!format!("{bootstrap:?}").contains("hunter2"));
    }
}
