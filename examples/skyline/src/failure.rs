//! What a service answers where it cannot do what it was asked.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tenantry::{Error, ErrorKind};

use crate::problem::{self, PROBLEM};

/// An error of a store, as an answer.
#[derive(Debug)]
pub(crate) struct Failure(Error);

pub(crate) type Answer<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// Returns the status for an error; what belongs to another tenant is not found, as what nobody has.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict | ErrorKind::AlreadyExists => StatusCode::CONFLICT,
        ErrorKind::InvalidInput | ErrorKind::InvalidCursor => StatusCode::BAD_REQUEST,
        // All of it is stored, or nothing: who asks has to look before it is tried again.
        ErrorKind::CommitUnknown => StatusCode::GATEWAY_TIMEOUT,
        _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = status_of(&self.0);
        if status.is_server_error() {
            tracing::error!(error = ?self.0, "a request was not served");
        }
        // The kind alone: the rest is for the log.
        let kind = self.0.kind();
        (status, [(PROBLEM, problem::of(kind))], kind.as_str()).into_response()
    }
}
