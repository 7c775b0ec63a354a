//! The one place where errors of the driver and the server turn into ours.

use std::borrow::Cow;
use std::fmt;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;
use tenantry_core::{Error, ErrorKind};

use crate::backend::Statement;

/// Turns an error outside any statement of a repository into ours.
pub(crate) fn driver_error(operation: &'static str, error: sqlx::Error) -> Error {
    finish(Error::new(kind_of(&error), operation), error)
}

/// Turns the error of a statement into ours, with its table and key.
pub(super) fn statement_error(statement: &Statement<'_>, error: sqlx::Error) -> Error {
    finish(statement.error(kind_of(&error)), error)
}

/// Turns the error of a commit into ours: without an answer, the outcome is unknown.
pub(super) fn commit_error(error: sqlx::Error) -> Error {
    let answered = error.as_database_error().is_some() && !is_connection_loss(&error);
    if answered {
        return driver_error("commit", error);
    }
    finish(
        Error::new(ErrorKind::CommitUnknown, "commit").with_detail(
            "the answer was lost: all changes are stored, or none is; read before you try again",
        ),
        error,
    )
}

/// Turns what a statement failed with after its caller was gone into the error of the next call.
pub(super) fn late_error(operation: &'static str, error: sqlx::Error) -> Error {
    if is_connection_loss(&error) {
        return driver_error(operation, error);
    }
    let aborted = Error::new(ErrorKind::WorkAborted, operation).with_detail(
        "a call whose future was dropped has failed since, and ended this unit of work: run it again",
    );
    finish(aborted, error)
}

/// Returns whether the server is inside a transaction that has failed.
pub(super) fn is_failed_transaction(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some("25P02"))
}

/// Returns whether the connection is gone, and not only the statement.
pub(super) fn is_connection_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // Class 08, and the shutdowns of class 57
        // (https://www.postgresql.org/docs/current/errcodes-appendix.html).
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            code.starts_with("08")
                || matches!(&*code, "57P01" | "57P02" | "57P03" | "57P04" | "57P05")
                // The server ends a session that was idle in its transaction for too long, or
                // whose transaction was open for too long.
                || matches!(&*code, "25P03" | "25P04")
        }),
        _ => false,
    }
}

/// Returns whether the server has no connection to spare.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some("53300"))
}

/// Returns whether the server has no connection to spare for a login that it would take: it has asked
/// for the password, and counts the connections of the role and of the database only after that.
pub(super) fn is_full_after_login(error: &sqlx::Error) -> bool {
    let details = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    // The routine is the same in every language.
    let routine = details.and_then(PgDatabaseError::routine);
    is_full(error)
        && matches!(
            routine,
            Some("InitializeSessionUserId" | "CheckMyDatabase" | "InitPostgres")
        )
}

/// Returns whether a prepared statement is older than a migration that changed a column's type, or
/// is gone from the connection.
pub(super) fn is_stale_plan(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return false;
    };
    error
        .try_downcast_ref::<PgDatabaseError>()
        // Other refusals share the state; the routine is the same in every language.
        .is_some_and(|error| {
            error.code() == "0A000" && error.routine() == Some("RevalidateCachedQuery")
                || error.code() == "26000"
        })
}

/// Returns whether a pooler has refused the login, which PgBouncer tells by the state of a violated
/// protocol.
fn is_refused_by_a_pooler(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("08P01")
            && error.message().contains("authentication failed")
    })
}

pub(crate) fn kind_of(error: &sqlx::Error) -> ErrorKind {
    if is_refused_by_a_pooler(error) {
        return ErrorKind::AuthenticationFailed;
    }
    if is_connection_loss(error) {
        return ErrorKind::Unavailable;
    }
    if is_stale_plan(error) {
        // The migration is a concurrent transaction; with a new plan the same work succeeds.
        return ErrorKind::SerializationFailure;
    }
    match error {
        sqlx::Error::Database(database) => kind_of_state(&**database),
        sqlx::Error::Tls(_) => ErrorKind::TlsFailed,
        sqlx::Error::Configuration(_) => ErrorKind::InvalidSettings,
        sqlx::Error::PoolTimedOut => ErrorKind::PoolExhausted,
        sqlx::Error::PoolClosed => ErrorKind::Unavailable,
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            ErrorKind::InvalidValue
        }
        _ => ErrorKind::Unexpected,
    }
}

fn kind_of_state(error: &dyn DatabaseError) -> ErrorKind {
    let Some(code) = error.code() else {
        return ErrorKind::Unexpected;
    };
    match &*code {
        "23505" => ErrorKind::AlreadyExists,
        "40001" => ErrorKind::SerializationFailure,
        "40P01" => ErrorKind::Deadlock,
        "55P03" => ErrorKind::Locked,
        "57014" => ErrorKind::StatementTimeout,
        "25006" => ErrorKind::ReadOnly,
        "25P02" => ErrorKind::WorkAborted,
        "28000" | "28P01" => ErrorKind::AuthenticationFailed,
        "3D000" => ErrorKind::InvalidSettings,
        "42P01" | "3F000" => ErrorKind::UnknownTable,
        "42601" => ErrorKind::InvalidInput,
        "42703" | "42804" | "42883" | "42P10" => ErrorKind::SchemaMismatch,
        "42501" => ErrorKind::PermissionDenied,
        "53100" => ErrorKind::StorageFull,
        "0A000" => ErrorKind::Unsupported,
        // Raised by a trigger or a function of the service's own.
        code if code.starts_with("P0") => ErrorKind::ConstraintViolated,
        // A limit of the program, such as the size of an index entry.
        code if code.starts_with("54") => ErrorKind::InvalidValue,
        code if code.starts_with("22") => ErrorKind::InvalidValue,
        code if code.starts_with("23") => ErrorKind::ConstraintViolated,
        code if code.starts_with("53") || code.starts_with("58") => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    }
}

/// Adds what is safe to tell: names of constraints and columns, and the server's own words where
/// they quote no value.
fn finish(error: Error, cause: sqlx::Error) -> Error {
    let error = match advice(error.kind()) {
        Some(advice) => error.with_detail(advice),
        None => error,
    };
    match cause {
        sqlx::Error::Database(database) => {
            let server = ServerError::new(&*database);
            let error = match (error.kind(), &server.constraint) {
                (ErrorKind::AlreadyExists | ErrorKind::ConstraintViolated, Some(constraint)) => {
                    error.with_constraint(constraint.clone())
                }
                _ => error,
            };
            match server.advice(error.kind()) {
                Some(advice) => error.with_detail(advice).with_source(server),
                None => error.with_source(server),
            }
        }
        // Its text may repeat the URL, and with it a password.
        sqlx::Error::Configuration(_) => error,
        sqlx::Error::PoolClosed => error.with_detail("the store was closed: open it anew"),
        sqlx::Error::Io(cause) => error.with_source(cause),
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => error,
        cause => error.with_source(DriverError(cause.to_string())),
    }
}

/// What the server said, without the values that it may have quoted.
#[derive(Debug)]
struct ServerError {
    state: String,
    message: Option<String>,
    constraint: Option<String>,
    column: Option<String>,
}

impl ServerError {
    fn new(error: &dyn DatabaseError) -> Self {
        let state = error.code().map_or_else(String::new, Cow::into_owned);
        let details = error.try_downcast_ref::<PgDatabaseError>();
        if details.is_some_and(is_raised) {
            return Self {
                state,
                message: None,
                constraint: None,
                column: None,
            };
        }
        // Class 22 quotes the input that it could not take; so does an error of syntax in a value,
        // such as a tsquery, which has no place in the statement.
        let has_place = details.is_some_and(|details| details.position().is_some());
        let quotes_values = state.starts_with("22") || state == "42601" && !has_place;
        Self {
            state,
            message: (!quotes_values).then(|| error.message().to_owned()),
            constraint: error.constraint().map(str::to_owned),
            column: details.and_then(PgDatabaseError::column).map(str::to_owned),
        }
    }

    fn advice(&self, kind: ErrorKind) -> Option<Cow<'static, str>> {
        match kind {
            ErrorKind::AlreadyExists | ErrorKind::ConstraintViolated => self.constraint_advice(),
            ErrorKind::InvalidSettings if self.state == "3D000" => {
                Some("there is no such database: correct the URL, or create it".into())
            }
            ErrorKind::Unavailable if self.state.starts_with("53") => Some(
                "the server has no room for more connections or memory: lower max_connections of \
                 its clients, or give it more"
                    .into(),
            ),
            kind => advice(kind).map(Cow::Borrowed),
        }
    }

    fn constraint_advice(&self) -> Option<Cow<'static, str>> {
        let constraint = self.constraint.as_deref();
        Some(match (&*self.state, constraint, &self.column) {
            ("23505", Some(constraint), _) => {
                format!("constraint {constraint}: the tenant has a row with this key").into()
            }
            // The same text for a row that nobody has and for one of another tenant.
            ("23503", Some(constraint), _) => format!(
                "constraint {constraint}: the row that is referred to is not there, or others \
                 still refer to this one"
            )
            .into(),
            ("23502", _, Some(column)) => format!("column {column} must have a value").into(),
            (_, Some(constraint), _) => format!("constraint {constraint} refuses the row").into(),
            _ => return None,
        })
    }
}

/// Returns whether a function or a trigger raised the error: then all of its text is that
/// function's own, under whatever state, and may quote what it was given.
fn is_raised(error: &PgDatabaseError) -> bool {
    // The files of the languages that come with the server.
    let by_language = error.file().is_some_and(|file| {
        let languages = ["pl_exec.", "plpy_", "plperl", "pltcl"];
        languages.iter().any(|language| file.starts_with(language))
    });
    by_language || error.code().starts_with("P0")
}

/// Returns what to do, where the kind alone tells.
const fn advice(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Unavailable => {
            "the connection to the server broke or was refused: see that the server runs and can \
             be reached, and try again"
        }
        ErrorKind::AuthenticationFailed => {
            "correct the role or its password in the settings, and pg_hba.conf on the server"
        }
        ErrorKind::TlsFailed => {
            "sslmode in the URL and the server must agree: set up TLS on the server, build with \
             the feature postgres-tls, and see that the certificate is trusted"
        }
        ErrorKind::SerializationFailure | ErrorKind::Deadlock => {
            "a concurrent transaction was in the way: run the unit of work again from its start, \
             as TenantScope::run does"
        }
        ErrorKind::Locked => "another transaction holds the row: try again",
        ErrorKind::PermissionDenied => {
            "row-level security or a missing grant refused it; migrations grant rights by \
             tenantry.protect"
        }
        ErrorKind::InvalidInput => {
            "the statement is none of PostgreSQL's: the server's words are the source of this error"
        }
        ErrorKind::UnknownTable => "run the migrations, as the owner role",
        ErrorKind::SchemaMismatch => {
            "the table differs from the struct: run the migrations of this release"
        }
        ErrorKind::ReadOnly => {
            "the server is a replica, or the unit of work is read-only: write through the primary, \
             in a unit of work that writes"
        }
        ErrorKind::StatementTimeout => {
            "the statement ran longer than statement_timeout allows, or waited so long for a lock: \
             try again, make it touch fewer rows, or allow it more time"
        }
        ErrorKind::StorageFull => "the disk of the server is full: make room",
        ErrorKind::InvalidValue => "a value is out of the range or the form that its column takes",
        _ => return None,
    })
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{message} (SQLSTATE {})", self.state),
            None => write!(f, "SQLSTATE {}", self.state),
        }
    }
}

impl std::error::Error for ServerError {}

/// What the driver said, as text: its types are no part of our interface.
#[derive(Debug)]
struct DriverError(String);

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DriverError {}
