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
        Ok(Err(cause)) => Err(driver_error(operation, cause).with_subject(address(options))),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, operation)
            .with_subject(address(options))
            .with_detail(format!("no answer within {limit:?}"))),
    }
}

/// Names where the connection was to lead; the URL as a whole may hold a password.
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
