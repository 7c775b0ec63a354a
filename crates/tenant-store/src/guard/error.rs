use tenantry_core::{Error, ErrorKind, Result};

use super::executor::{Carried, OPERATION};

/// Turns an error of sqlx into one of the store, with its kind: to branch on, to try again, or to
/// leave a function that answers [`Result`].
///
/// What the guard refused comes out as it went in. No row where one was to be is `NotFound`. The
/// texts of the database that quote values are left out, as they are everywhere in the store.
///
/// # Examples
///
/// ```
/// use tenantry_store::ErrorKind;
/// use tenantry_store::guard::store_error;
///
/// let error = store_error(sqlx::Error::RowNotFound);
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// ```
#[must_use]
pub fn store_error(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::RowNotFound => Error::new(ErrorKind::NotFound, OPERATION),
        sqlx::Error::Database(database) => match database.try_downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(database) => of_driver(sqlx::Error::Database(database)),
        },
        sqlx::Error::ColumnDecode { index, source } => {
            Error::new(ErrorKind::InvalidValue, OPERATION)
                .with_subject(format!("column {index}"))
                .with_detail(decoding(&*source))
        }
        error => of_driver(error),
    }
}

/// Says why a column could not be read, where that quotes no value.
fn decoding(source: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let text = source.to_string();
    if source.is::<sqlx::error::UnexpectedNullError>() {
        return "it is NULL: read it into an Option".to_owned();
    }
    match text.starts_with("mismatched types") {
        true => text,
        false => "its value does not fit the type that it is read into".to_owned(),
    }
}

/// The advice where a repository's would speak of a struct.
fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::SchemaMismatch => Some(
            "the statement names a column, a function or a type that the schema does not have: the \
             database's words are the source of this error",
        ),
        ErrorKind::Unexpected => Some("the database's words are the source of this error"),
        ErrorKind::ReadOnly => Some(
            "a scope and the platform read: begin a unit of work to write or to lock; or the server is \
             a replica",
        ),
        _ => None,
    }
}

/// As [`store_error`], on a result.
///
/// # Examples
///
/// ```no_run
/// # #[cfg(feature = "sqlite")]
/// # async fn count(work: &tenantry_store::UnitOfWork) -> tenantry_store::Result<i64> {
/// use tenantry_store::guard::OrStoreError as _;
///
/// sqlx::query_scalar("select count(*) from invoices where status = $1")
///     .bind("open")
///     .fetch_one(work.sqlx_sqlite()?)
///     .await
///     .or_store_error()
/// # }
/// ```
pub trait OrStoreError<T> {
    /// Turns the error of sqlx into one of the store.
    ///
    /// # Errors
    ///
    /// As [`store_error`].
    fn or_store_error(self) -> Result<T>;
}

impl<T> OrStoreError<T> for Result<T, sqlx::Error> {
    fn or_store_error(self) -> Result<T> {
        self.map_err(store_error)
    }
}

/// Returns the kind of what [`store_error`] would make of an error.
pub(crate) fn kind_of(error: &sqlx::Error) -> ErrorKind {
    if let Some(carried) = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<Carried>())
    {
        return carried.0.kind();
    }
    #[cfg(feature = "sqlite")]
    if is_of_sqlite(error) {
        return crate::backend::sqlite::kind_of(error);
    }
    #[cfg(feature = "postgres")]
    return crate::backend::postgres::kind_of(error);
    #[cfg(not(feature = "postgres"))]
    ErrorKind::Unexpected
}

#[cfg_attr(
    not(feature = "postgres"),
    allow(
        clippy::needless_pass_by_value,
        reason = "PostgreSQL's keeps its source"
    )
)]
fn of_driver(error: sqlx::Error) -> Error {
    let error = told_by_driver(error);
    match advice(error.kind()) {
        Some(advice) => error.with_detail(advice),
        None => error,
    }
}

#[cfg_attr(
    not(feature = "postgres"),
    allow(
        clippy::needless_pass_by_value,
        reason = "PostgreSQL's keeps its source"
    )
)]
fn told_by_driver(error: sqlx::Error) -> Error {
    #[cfg(feature = "sqlite")]
    if is_of_sqlite(&error) {
        return crate::backend::sqlite::driver_error(OPERATION, &error);
    }
    #[cfg(feature = "postgres")]
    return crate::backend::postgres::driver_error(OPERATION, error);
    #[cfg(not(feature = "postgres"))]
    Error::new(kind_of(&error), OPERATION)
}

/// What does not come from a server is told alike by both drivers.
#[cfg(feature = "sqlite")]
fn is_of_sqlite(error: &sqlx::Error) -> bool {
    cfg!(not(feature = "postgres"))
        || error.as_database_error().is_some_and(|error| {
            error
                .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                .is_some()
        })
}
