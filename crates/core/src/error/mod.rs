//! The error that every crate of Tenantry answers.
//!
//! One type with one set of kinds, so that a service matches on one enum whatever store failed, and
//! `?` leads from any of them to any other.

mod subject;

use std::borrow::{Borrow, Cow};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Shorthand for a result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms a caller can act on.
///
/// The kind decides; messages are for people and may change in any release.
///
/// # Examples
///
/// ```
/// use tenantry_core::{Error, ErrorKind};
///
/// /// The HTTP status of an answer.
/// fn status(error: &Error) -> u16 {
///     match error.kind() {
///         ErrorKind::NotFound => 404,
///         ErrorKind::Conflict | ErrorKind::AlreadyExists => 409,
///         ErrorKind::InvalidInput | ErrorKind::InvalidValue | ErrorKind::InvalidCursor => 400,
///         kind if kind.is_retryable() => 503,
///         _ => 500,
///     }
/// }
///
/// let stale = Error::new(ErrorKind::Conflict, "update").with_subject("invoices 17");
/// assert_eq!(status(&stale), 409);
/// assert_eq!(ErrorKind::Conflict.as_str(), "conflict");       // for logs and metrics
/// ```
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
    /// The SQL guard does not run this statement: the error names the construct and what to write
    /// instead.
    RefusedStatement,
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
    /// The reference names a vault that this process was not set up for.
    UnknownVault,
    /// The secret is there, and an operator has switched it off.
    SecretDisabled,
    /// The secret is past its expiry date.
    SecretExpired,
    /// The secret becomes valid later.
    SecretNotYetValid,
    /// The secret was deleted, and can still be recovered.
    SecretDeleted,
    /// Retention, a lock or a legal hold keeps the blob as it is until its time.
    Retained,
    /// The service took a blob with a lock, and does not show the lock: nothing keeps the blob.
    RetentionNotEnforced,
    /// The blob rests in the archive tier, and has to be brought back before it can be read.
    Rehydrating,
    /// The key that a blob is encrypted with is gone, switched off, or not given to this process.
    KeyUnavailable,
    /// The server takes no more calls for a while.
    Throttled,
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
                | Self::Throttled
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
            Self::RefusedStatement => "refused_statement",
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
            Self::UnknownVault => "unknown_vault",
            Self::SecretDisabled => "secret_disabled",
            Self::SecretExpired => "secret_expired",
            Self::SecretNotYetValid => "secret_not_yet_valid",
            Self::SecretDeleted => "secret_deleted",
            Self::Retained => "retained",
            Self::RetentionNotEnforced => "retention_not_enforced",
            Self::Rehydrating => "rehydrating",
            Self::KeyUnavailable => "key_unavailable",
            Self::Throttled => "throttled",
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

/// What an operation failed with.
///
/// [`kind`](Self::kind) is what to branch on. The message names the operation and the key, what is
/// wrong and what to do; it never holds a stored value, a secret, or the text that was refused,
/// which may be a secret pasted into the wrong place. The cause is in
/// [`source`](StdError::source) and is not repeated in the message.
///
/// # Examples
///
/// ```
/// use tenantry_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "resolve secret")
///     .with_subject("kv://billing/db-password")
///     .with_detail("create it, or correct the reference");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(
///     error.to_string(),
///     "resolve secret kv://billing/db-password: not found: create it, or correct the reference"
/// );
/// ```
pub struct Error {
    // Boxed: results travel through every call, errors do not.
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    subject: Cow<'static, str>,
    detail: Cow<'static, str>,
    constraint: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind`, met while doing `operation`.
    ///
    /// `operation` is a verb with its object, such as `"parse tenant id"`.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                operation,
                subject: Cow::Borrowed(""),
                detail: Cow::Borrowed(""),
                constraint: None,
                retry_after: None,
                source: None,
            }),
        }
    }

    /// Tells an error again, as what `operation` met: with its kind, subject, detail, constraint and
    /// wait, and with the error itself as the cause.
    ///
    /// Several who wait for one thing are told of its failure so: an error is not cloned, for its
    /// causes cannot be.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::error::Error as _;
    /// use std::sync::Arc;
    ///
    /// use tenantry_core::{Error, ErrorKind};
    ///
    /// let load = Arc::new(Error::new(ErrorKind::Unavailable, "load").with_subject("invoices 7"));
    /// for reader in ["read", "list"] {
    ///     let told = Error::retold(reader, Arc::clone(&load));
    ///     assert_eq!(told.to_string(), format!("{reader} invoices 7: unavailable"));
    ///     assert_eq!(told.source().map(ToString::to_string), Some(load.to_string()));
    /// }
    /// ```
    #[must_use]
    pub fn retold<E>(operation: &'static str, error: E) -> Self
    where
        E: Borrow<Self> + Into<Box<dyn StdError + Send + Sync>>,
    {
        let Inner {
            kind,
            subject,
            detail,
            constraint,
            retry_after,
            ..
        } = &*error.borrow().inner;
        let inner = Inner {
            kind: *kind,
            operation,
            subject: subject.clone(),
            detail: detail.clone(),
            constraint: constraint.clone(),
            retry_after: *retry_after,
            source: None,
        };
        let told = Self {
            inner: Box::new(inner),
        };
        told.with_source(error)
    }

    /// Names what the operation was about: a table with a key, a
    /// [`SecretReference`](crate::SecretReference).
    ///
    /// The text must not hold a stored value or a secret. Keys are the callers' text: control
    /// characters are escaped, and what is longer than 200 characters ends in an ellipsis.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<Cow<'static, str>>) -> Self {
        self.inner.subject = subject::one_line(subject.into());
        self
    }

    /// Says what is wrong and what to do about it.
    ///
    /// The text must not hold a stored value or a secret.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.inner.detail = detail.into();
        self
    }

    /// Names the constraint that refused the row.
    #[must_use]
    pub fn with_constraint(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.inner.constraint = Some(name.into());
        self
    }

    /// Says how long the server wants to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.inner.retry_after = Some(wait);
        self
    }

    /// Keeps the cause, for [`source`](StdError::source).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Returns what went wrong, to branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns whether the same call, or the same unit of work from its start, can succeed when
    /// it is tried again unchanged.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.inner.kind.is_retryable()
    }

    /// Returns the operation that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.inner.operation
    }

    /// Returns what the operation was about; may be empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.inner.subject
    }

    /// Returns what is wrong and what to do about it; may be empty.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.inner.detail
    }

    /// Returns how long the server wants to be left alone, where it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// Returns the name of the constraint behind `AlreadyExists` or `ConstraintViolated`, where
    /// the database tells it.
    ///
    /// PostgreSQL names unique keys, checks and foreign keys, also those that it named itself.
    /// SQLite names checks that were given a name and unique indexes over expressions, and for any
    /// other constraint the answer is `None`.
    ///
    /// # Isolation
    ///
    /// The name is the schema's: it is the same for every tenant.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::{Error, ErrorKind};
    ///
    /// let taken = Error::new(ErrorKind::AlreadyExists, "insert").with_constraint("one_number");
    /// let answer = match taken.constraint() {
    ///     Some("one_number") => "the number is taken",
    ///     _ => "there is such an invoice",
    /// };
    /// assert_eq!(answer, "the number is taken");
    /// ```
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.inner.constraint.as_deref()
    }

    /// Returns the refusal of an argument: `operation` and what is expected in its place.
    pub(crate) fn refused(operation: &'static str, expected: &'static str) -> Self {
        Self::new(ErrorKind::InvalidInput, operation).with_detail(expected)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            operation,
            subject,
            detail,
            ..
        } = &*self.inner;
        f.write_str(operation)?;
        if !subject.is_empty() {
            write!(f, " {subject}")?;
        }
        write!(f, ": {}", kind.as_str().replace('_', " "))?;
        if !detail.is_empty() {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            operation,
            subject,
            detail,
            constraint,
            retry_after,
            source,
        } = &*self.inner;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("operation", operation)
            .field("subject", subject)
            .field("detail", detail)
            .field("constraint", constraint)
            .field("retry_after", retry_after)
            .field("source", source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_is_in_the_source_and_not_in_the_message() {
        let error = Error::new(ErrorKind::Unavailable, "resolve secret")
            .with_source(std::io::Error::other("connection reset"));
        assert_eq!(error.to_string(), "resolve secret: unavailable");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("connection reset")
        );
        assert!(error.is_retryable());
    }

    #[test]
    fn what_is_told_again_lacks_nothing() {
        let error = Error::new(ErrorKind::AlreadyExists, "insert")
            .with_subject("invoices 7")
            .with_detail("the number is taken")
            .with_constraint("one_number")
            .with_retry_after(Duration::from_secs(3));
        let text = error.to_string();
        let told = Error::retold("load", error);
        assert_eq!(told.kind(), ErrorKind::AlreadyExists);
        assert_eq!(told.operation(), "load");
        assert_eq!(told.subject(), "invoices 7");
        assert_eq!(told.detail(), "the number is taken");
        assert_eq!(told.constraint(), Some("one_number"));
        assert_eq!(told.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(told.source().map(ToString::to_string), Some(text));
    }

    #[test]
    fn error_crosses_threads() {
        fn assert_send_sync<T: Send + Sync + 'static>() {}
        assert_send_sync::<Error>();
    }
}
