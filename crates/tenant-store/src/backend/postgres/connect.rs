use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::error::driver_error;
use super::settings::PostgresSettings;
use crate::error::{Error, ErrorKind, Result};

/// Opens a single connection, outside any pool: a pool would hide a refused connection behind a
/// time-out.
pub(super) async fn connect(
    operation: &'static str,
    settings: &PostgresSettings,
) -> Result<PgConnection> {
    connect_with(
        operation,
        &settings.connect_options()?,
        settings.acquire_timeout,
    )
    .await
}

pub(super) async fn connect_with(
    operation: &'static str,
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<PgConnection> {
    match tokio::time::timeout(limit, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(cause)) => Err(explain(operation, options, cause)),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, operation)
            .with_subject(address(options))
            .with_detail(format!("no answer within {limit:?}"))),
    }
}

/// Names where the connection was to lead, and what to look at.
fn explain(operation: &'static str, options: &PgConnectOptions, cause: sqlx::Error) -> Error {
    let advice = match &cause {
        sqlx::Error::Io(_) => "no server answers there: is it running, and reachable from here?",
        sqlx::Error::Tls(_) => {
            "no encrypted connection could be made: does the server offer TLS, and is the feature \
             `postgres-tls` on?"
        }
        sqlx::Error::Database(refused) => match refused.code().as_deref() {
            Some("28P01" | "28000") => "the server refused the role or its password",
            Some("3D000") => "the server has no such database",
            Some("53300") => "the server takes no more connections",
            _ => "",
        },
        _ => "",
    };
    let error = driver_error(operation, cause).with_subject(address(options));
    if advice.is_empty() {
        error
    } else {
        error.with_detail(advice)
    }
}

fn address(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |socket| socket.display().to_string(),
    );
    let database = options
        .get_database()
        .unwrap_or_else(|| options.get_username());
    format!("{host}:{}/{database}", options.get_port())
}
