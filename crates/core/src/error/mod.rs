//! The error model that every crate of Tenantry shares.
//!
//! Each crate has one `Error` with `kind()`, `is_retryable()` and `source()`.
//! The kinds stand here, so that a service matches on one enum whatever store failed.

use std::fmt;

/// What went wrong, in terms a caller can act on.
///
/// The kind decides; messages are for people and may change in any release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing of this tenant is stored under the key.
    /// What belongs to another tenant answers the same.
    NotFound,
    /// The row is there with another version than the caller read, or is soft-deleted.
    Conflict,
    /// The identifier, or another unique key of this tenant, is taken.
    AlreadyExists,
    /// A foreign key, check or not-null constraint refused the row.
    ConstraintViolated,
    /// A value cannot be stored or read: a NUL in a text, a number out of range, JSON of another shape.
    InvalidValue,
    /// The request itself is wrong: a limit of zero, an empty identifier, a malformed setting.
    InvalidInput,
    /// The cursor was altered, or belongs to another tenant, filter or sort.
    InvalidCursor,
    /// The table is not in the database, or this role may not see it.
    UnknownTable,
    /// The table is there, but the wall of row-level security is missing or incomplete.
    UnprotectedTable,
    /// The database role could walk around row-level security.
    UnsafeRole,
    /// The schema is older or newer than the code expects.
    SchemaMismatch,
    /// The settings contradict each other or name something that is not there.
    InvalidSettings,
    /// The transaction could not be serialised with a concurrent one; running it again can succeed.
    SerializationFailure,
    /// The transaction was chosen to break a deadlock; running it again can succeed.
    Deadlock,
    /// Another process holds the lock of the file, or a row lock was not granted in time.
    Locked,
    /// No connection of the pool became free in time.
    PoolExhausted,
    /// The statement ran longer than allowed.
    StatementTimeout,
    /// The server cannot be reached, or the connection broke.
    Unavailable,
    /// The server refused the credentials.
    AuthenticationFailed,
    /// The encrypted connection could not be made.
    TlsFailed,
    /// The server, the transaction or the file takes no writes.
    ReadOnly,
    /// The disk or the quota is full.
    StorageFull,
    /// The stored bytes are damaged.
    Corrupt,
    /// The answer to a commit was lost: the changes are either all stored or none is.
    CommitUnknown,
    /// An earlier failure or a dropped future ended this unit of work; only a rollback is left.
    WorkAborted,
    /// A secret, a scope or an operation is not given to this caller.
    PermissionDenied,
    /// This backend cannot do what was asked.
    Unsupported,
    /// Anything else: a defect in Tenantry or an answer that no rule expects.
    Unexpected,
}

impl ErrorKind {
    /// Returns whether the same call, or the same unit of work from its start, can succeed
    /// when it is tried again unchanged.
    ///
    /// [`ErrorKind::CommitUnknown`] is not: the first try may have been stored.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::SerializationFailure
                | Self::Deadlock
                | Self::Locked
                | Self::PoolExhausted
                | Self::StatementTimeout
                | Self::Unavailable
        )
    }

    /// Returns the stable name in `snake_case`, as it stands in logs, spans and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::AlreadyExists => "already_exists",
            Self::ConstraintViolated => "constraint_violated",
            Self::InvalidValue => "invalid_value",
            Self::InvalidInput => "invalid_input",
            Self::InvalidCursor => "invalid_cursor",
            Self::UnknownTable => "unknown_table",
            Self::UnprotectedTable => "unprotected_table",
            Self::UnsafeRole => "unsafe_role",
            Self::SchemaMismatch => "schema_mismatch",
            Self::InvalidSettings => "invalid_settings",
            Self::SerializationFailure => "serialization_failure",
            Self::Deadlock => "deadlock",
            Self::Locked => "locked",
            Self::PoolExhausted => "pool_exhausted",
            Self::StatementTimeout => "statement_timeout",
            Self::Unavailable => "unavailable",
            Self::AuthenticationFailed => "authentication_failed",
            Self::TlsFailed => "tls_failed",
            Self::ReadOnly => "read_only",
            Self::StorageFull => "storage_full",
            Self::Corrupt => "corrupt",
            Self::CommitUnknown => "commit_unknown",
            Self::WorkAborted => "work_aborted",
            Self::PermissionDenied => "permission_denied",
            Self::Unsupported => "unsupported",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
