//! The error of the tenant store: a struct with a kind.

mod subject;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

pub use tenantry_core::ErrorKind;

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an operation of the tenant store failed with.
///
/// [`kind`](Self::kind) is what to branch on. The message names the operation and the key, and
/// never holds a stored value or a secret; the cause, where there is one, is in
/// [`source`](StdError::source) and is not repeated in the message.
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
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind`, met while doing `operation`.
    ///
    /// `operation` is a verb with its object, such as `"update invoices"`.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                operation,
                subject: Cow::Borrowed(""),
                detail: Cow::Borrowed(""),
                constraint: None,
                source: None,
            }),
        }
    }

    /// Names what the operation was about: a table, or a table with a key.
    ///
    /// Keys are the callers' text: control characters are escaped, and what is longer than 200
    /// characters ends in an ellipsis.
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

    /// Returns the table, or the table with the key, that the operation was about; may be empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.inner.subject
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
    /// use tenantry_store::{Error, ErrorKind};
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
}

/// What `tenantry-core` refuses, such as a malformed tenant identifier, under the same kind.
impl From<tenantry_core::Error> for Error {
    fn from(error: tenantry_core::Error) -> Self {
        Self::new(error.kind(), error.operation())
            .with_subject(error.subject().to_owned())
            .with_source(error)
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
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("operation", &self.inner.operation)
            .field("subject", &self.inner.subject)
            .field("detail", &self.inner.detail)
            .field("constraint", &self.inner.constraint)
            .field("source", &self.inner.source)
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
