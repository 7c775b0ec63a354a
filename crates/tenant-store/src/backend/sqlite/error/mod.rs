//! The one place where errors of the driver turn into ours.

use std::fmt;

use tenantry_core::{Error, ErrorKind};

use crate::backend::Statement;

/// Turns an error outside any statement of a repository into ours.
pub(crate) fn driver_error(operation: &'static str, error: &sqlx::Error) -> Error {
    finish(Error::new(kind_of(error), operation), error)
}

/// Turns the error of a statement into ours, with its table and key.
pub(super) fn statement_error(statement: &Statement<'_>, error: &sqlx::Error) -> Error {
    finish(statement.error(kind_of(error)), error)
}

/// The primary result codes (<https://www.sqlite.org/rescode.html>); extended ones keep them in
/// their lowest byte.
pub(crate) fn kind_of(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(database) => {
            let Some(code) = database.code().and_then(|code| code.parse::<i32>().ok()) else {
                return ErrorKind::Unexpected;
            };
            kind_of_code(code, database.message())
        }
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
            ErrorKind::Unavailable
        }
        sqlx::Error::Configuration(_) => ErrorKind::InvalidSettings,
        sqlx::Error::PoolTimedOut => ErrorKind::PoolExhausted,
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            ErrorKind::InvalidValue
        }
        _ => ErrorKind::Unexpected,
    }
}

fn kind_of_code(code: i32, message: &str) -> ErrorKind {
    const PRIMARY_KEY: i32 = 1555;
    const UNIQUE: i32 = 2067;
    const ROW_ID: i32 = 2579;
    const DATA_TYPE: i32 = 3091;
    match code {
        PRIMARY_KEY | UNIQUE | ROW_ID => return ErrorKind::AlreadyExists,
        DATA_TYPE => return ErrorKind::InvalidValue,
        _ => {}
    }
    match code & 0xff {
        1 if message.contains("no such table") => ErrorKind::UnknownTable,
        1 if message.contains("no such column") || message.contains("has no column") => {
            ErrorKind::SchemaMismatch
        }
        1 if message.contains("integer overflow") => ErrorKind::InvalidValue,
        1 if message.contains("syntax error") => ErrorKind::InvalidInput,
        3 | 23 => ErrorKind::PermissionDenied,
        5 | 6 => ErrorKind::Locked,
        8 => ErrorKind::ReadOnly,
        9 => ErrorKind::StatementTimeout,
        10 | 14 => ErrorKind::Unavailable,
        11 | 26 => ErrorKind::Corrupt,
        13 => ErrorKind::StorageFull,
        17 => ErrorKind::SchemaMismatch,
        18 | 20 | 25 => ErrorKind::InvalidValue,
        19 => ErrorKind::ConstraintViolated,
        _ => ErrorKind::Unexpected,
    }
}

fn finish(error: Error, cause: &sqlx::Error) -> Error {
    let advice = match error.kind() {
        _ if matches!(cause, sqlx::Error::PoolClosed) => "the store was closed: open it anew",
        ErrorKind::InvalidInput => {
            "the statement is none of SQLite's: its words are the source of this error"
        }
        ErrorKind::UnknownTable => "run the migrations",
        ErrorKind::SchemaMismatch => {
            "the table differs from the struct: run the migrations of this release"
        }
        ErrorKind::AlreadyExists => "the tenant has a row with this key",
        ErrorKind::ConstraintViolated => {
            "a foreign key, check or not-null constraint refuses the row"
        }
        ErrorKind::Locked => {
            "another process holds the lock of the file: try again, or allow a longer busy time-out"
        }
        ErrorKind::ReadOnly => {
            "the file is read-only, or the unit of work is: write in a unit of work that writes, \
             and let the process write to the file and its folder"
        }
        ErrorKind::StatementTimeout => {
            "the statement ran longer than its time-out allows: make it touch fewer rows, or allow \
             it more time"
        }
        ErrorKind::StorageFull => "the disk is full, and nothing was stored: make room",
        ErrorKind::Corrupt => "the file is damaged, or no SQLite database: restore a backup",
        ErrorKind::InvalidValue => {
            "a value is of another type than its column takes, or out of its range"
        }
        ErrorKind::Unavailable => {
            "the file cannot be opened or read: see that its folder is there and the process may \
             write to it"
        }
        _ => "",
    };
    let error = if advice.is_empty() {
        error
    } else {
        error.with_detail(advice)
    };
    match cause {
        // The text is that of a trigger (SQLITE_CONSTRAINT_TRIGGER), and may quote what it was given.
        sqlx::Error::Database(database) if database.code().as_deref() == Some("1811") => error
            .with_source(SqliteCause(
                "a trigger refused it (result code 1811)".to_owned(),
            )),
        // A function may quote the value that it could not take.
        sqlx::Error::Database(database)
            if database.code().as_deref() == Some("1") && !names_alone(database.message()) =>
        {
            error.with_source(SqliteCause(
                "a function refused a value, or the statement is wrong (result code 1)".to_owned(),
            ))
        }
        // SQLite itself names tables, columns and constraints, and quotes no value.
        sqlx::Error::Database(database) => {
            let error = match (
                constraint(database.message()),
                key_columns(database.message()),
            ) {
                (Some(name), _) => error
                    .with_detail(format!("constraint {name}: {advice}"))
                    .with_constraint(name),
                (None, Some(columns)) => error.with_detail(format!("{columns}: {advice}")),
                (None, None) => error,
            };
            error.with_source(SqliteCause(format!(
                "{} (result code {})",
                database.message(),
                database.code().unwrap_or_default()
            )))
        }
        cause => error.with_source(SqliteCause(cause.to_string())),
    }
}

/// Says whether a message of the result code 1 is one of those about a statement or the schema, which
/// quote no value (`src/resolve.c`, `src/build.c`, `src/parse.y`).
fn names_alone(message: &str) -> bool {
    const BEGINNINGS: [&str; 20] = [
        "1st ORDER BY",
        "ambiguous column name",
        "cannot ",
        "circular reference",
        "foreign key mismatch",
        "incomplete input",
        "index ",
        "integer overflow",
        "misuse of ",
        "near \"",
        "no such ",
        "no tables specified",
        "row value misused",
        "sub-select returns",
        "table ",
        "there is already",
        "too many ",
        "unknown ",
        "view ",
        "wrong number of arguments",
    ];
    BEGINNINGS
        .iter()
        .any(|beginning| message.starts_with(beginning))
        || message.contains(" values for ")
}

/// Returns the name of a constraint that SQLite tells.
///
/// Of a check without a name it tells the expression, which passes for a name where it is a mere
/// column; of a unique key its columns, and of a foreign key nothing (`src/insert.c`,
/// `src/build.c`).
fn constraint(message: &str) -> Option<String> {
    if let Some(index) = message.strip_prefix("UNIQUE constraint failed: index '") {
        return index.strip_suffix('\'').map(|name| name.replace("''", "'"));
    }
    let check = message.strip_prefix("CHECK constraint failed: ")?;
    let is_name = check.chars().all(|one| one.is_alphanumeric() || one == '_');
    is_name.then(|| check.to_owned())
}

/// Returns the columns of a unique key that SQLite tells, without the tenant.
fn key_columns(message: &str) -> Option<String> {
    let columns = message.strip_prefix("UNIQUE constraint failed: ")?;
    let columns: Vec<_> = columns
        .split(", ")
        .filter(|column| !column.ends_with(".tenant_id"))
        .collect();
    (!columns.is_empty()).then(|| columns.join(", "))
}

/// Turns the error of a migration into ours: whoever writes the SQL reads what SQLite says of it.
pub(super) fn migration_error(operation: &'static str, error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(database) if database.code().as_deref() == Some("1") => {
            Error::new(ErrorKind::InvalidInput, operation).with_detail(format!(
                "{}: correct the migration, of which nothing was run",
                database.message()
            ))
        }
        error => driver_error(operation, error),
    }
}

/// What SQLite said, as text: the driver's types are no part of our interface.
#[derive(Debug)]
struct SqliteCause(String);

impl fmt::Display for SqliteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SqliteCause {}

#[cfg(test)]
mod tests {
    use super::{constraint, key_columns};

    #[test]
    fn only_names_are_taken_for_names() {
        for (message, name) in [
            (
                "CHECK constraint failed: not_negative",
                Some("not_negative"),
            ),
            ("CHECK constraint failed: cents >= 0", None),
            ("UNIQUE constraint failed: index 'one''s'", Some("one's")),
            (
                "UNIQUE constraint failed: customers.tenant_id, customers.name",
                None,
            ),
            ("FOREIGN KEY constraint failed", None),
            ("NOT NULL constraint failed: customers.name", None),
        ] {
            assert_eq!(constraint(message).as_deref(), name, "{message}");
        }
    }

    #[test]
    fn columns_of_a_unique_key_are_told_without_the_tenant() {
        let message = "UNIQUE constraint failed: tickets.tenant_id, tickets.kind, tickets.number";
        assert_eq!(
            key_columns(message).as_deref(),
            Some("tickets.kind, tickets.number")
        );
        assert_eq!(
            key_columns("NOT NULL constraint failed: tickets.kind"),
            None
        );
    }
}
