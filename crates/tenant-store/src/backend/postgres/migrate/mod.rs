//! Migrations on PostgreSQL: run by the owner role, who is under the wall as well.

use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection as _, PgConnection};
use tenantry_core::{Error, ErrorKind, Result};

use super::bootstrap::database_error;
use super::connect::connect;
use super::settings::PostgresSettings;
use crate::migrations::Migrations;

const OPERATION: &str = "migrate";

/// Runs the migrations that this database has not seen yet, as the owner role; returns their
/// numbers.
///
/// `owner` is a URL or settings of that role. It must lead to the server itself, not to a pooler: a lock of the session lets one process
/// migrate at a time, and the others wait. Each migration stands or falls as a whole.
///
/// A table becomes safe by `select tenantry.protect('invoices')` in the migration that creates it.
///
/// # Errors
///
/// - [`ErrorKind::SchemaMismatch`]: a migration was changed after it had been run, or the database
///   has run one that is not among these.
/// - [`ErrorKind::UnprotectedTable`]: `tenantry.protect` refused a table; the text names the reason
///   and the statement that mends it.
/// - [`ErrorKind::PermissionDenied`]: a statement needs the rows of a protected table, which the
///   owner does not see, or a right that the owner does not have.
///   Also when the bootstrap has not been run.
/// - [`ErrorKind::InvalidSettings`]: two migrations have one number, or the role is not the owner
///   role.
/// - [`ErrorKind::InvalidInput`]: a migration is no SQL, or names what is not there; the text is
///   the server's.
/// - [`ErrorKind::ConstraintViolated`]: a migration raised an exception of its own, whose text is
///   shown, or stored rows do not meet a new constraint.
/// - the kinds of a connection or a statement that fails.
pub async fn migrate(
    owner: impl Into<PostgresSettings> + Send,
    migrations: &Migrations,
) -> Result<Vec<i64>> {
    let mut connection = connect(OPERATION, &owner.into()).await?;
    // Before anything is created: what another role creates, the owner could not touch again.
    if let Err(refused) = check_owner(&mut connection).await {
        let _ = connection.close().await;
        return Err(refused);
    }
    // The bootstrap made this the default of the role; a role of another making gets it here. A
    // statement that the wall would leave without rows becomes an error instead.
    let outcome = match sqlx::raw_sql("set row_security = off")
        .execute(&mut connection)
        .await
    {
        Ok(_) => migrations.run(&mut connection, statement_error).await,
        Err(error) => Err(statement_error(error)),
    };
    // This also gives back the lock of a migration that failed.
    let _ = connection.close().await;
    outcome
}

/// Returns the numbers of the migrations that this database has not seen yet, and runs none.
///
/// `owner` is a URL or settings of the owner role: no other may read what was run.
///
/// # Errors
///
/// Those of [`migrate`] that are found before anything is run.
///
/// # Cancel safety
///
/// Dropped, it closes its connection; it changes nothing.
pub async fn pending_migrations(
    owner: impl Into<PostgresSettings> + Send,
    migrations: &Migrations,
) -> Result<Vec<i64>> {
    let mut connection = connect(OPERATION, &owner.into()).await?;
    let outcome = async {
        check_owner(&mut connection).await?;
        let has_history =
            sqlx::query_scalar("select pg_catalog.to_regclass('_sqlx_migrations') is not null")
                .persistent(false)
                .fetch_one(&mut connection)
                .await
                .map_err(|error| database_error(OPERATION, error))?;
        migrations
            .pending(&mut connection, has_history, statement_error)
            .await
    }
    .await;
    // What was found out stays so, however the server takes the farewell.
    let _ = connection.close().await;
    outcome
}

async fn check_owner(connection: &mut PgConnection) -> Result<()> {
    let (user, owner, history): (String, Option<String>, Option<String>) = sqlx::query_as(
        "select current_user::text, \
             (select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'tenantry'), \
             (select pg_get_userbyid(relowner)::text from pg_class \
              where oid = to_regclass('_sqlx_migrations'))",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
    .map_err(|error| database_error(OPERATION, error))?;
    let Some(owner) = owner else {
        return Err(
            Error::new(ErrorKind::SchemaMismatch, OPERATION).with_detail(
                "the schema tenantry is missing: run the bootstrap first, as administrator",
            ),
        );
    };
    if user != owner {
        return Err(
            Error::new(ErrorKind::InvalidSettings, OPERATION).with_detail(format!(
                "connected as {user}, and migrations run as the owner role: connect as {owner}"
            )),
        );
    }
    match history {
        Some(other) if other != owner => Err(Error::new(ErrorKind::PermissionDenied, OPERATION)
            .with_detail(format!(
                "the table _sqlx_migrations belongs to {other}: alter table _sqlx_migrations owner \
                 to {owner}, as {other} or as administrator"
            ))),
        _ => Ok(()),
    }
}

fn statement_error(error: sqlx::Error) -> Error {
    let refused = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    // The routine is the same in every language of the server's messages.
    let advice = match refused.map(|refused| (refused.code(), refused.routine())) {
        Some(("42501", Some("check_enable_rls"))) => {
            "the owner does not see the rows of protected tables: to change rows, put `select \
             tenantry.as_platform();` before the statement and `select tenantry.as_owner();` after \
             it; to add a foreign key, lift FORCE from both tables and protect them again after it; \
             to create a function in SQL, put `set local row_security = on;` before it"
        }
        Some(("42501", _)) => {
            "the role may not do this: migrations run as the owner role, and after `select \
             tenantry.as_platform();` end with `select tenantry.as_owner();`"
        }
        // Whoever writes the migrations reads what they raise.
        Some((code, _)) if code.starts_with("P0") => "the migration itself raised this",
        // A syntax error, or a name or a type that is not there.
        Some((code, _)) if code.starts_with("42") || code.starts_with("3F") => {
            "correct the migration, of which nothing was run"
        }
        _ => return database_error(OPERATION, error),
    };
    let message = refused
        .map(|refused| refused.message().to_owned())
        .unwrap_or_default();
    let kind = match refused.map(PgDatabaseError::code) {
        Some("42501") => ErrorKind::PermissionDenied,
        Some(code) if code.starts_with("P0") => ErrorKind::ConstraintViolated,
        _ => ErrorKind::InvalidInput,
    };
    Error::new(kind, OPERATION).with_detail(format!("{message}: {advice}"))
}
