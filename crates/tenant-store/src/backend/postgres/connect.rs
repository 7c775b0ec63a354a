use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tenantry_core::{Error, ErrorKind, Result};

use super::error::driver_error;
use super::settings::PostgresSettings;

/// How long a look at the whole catalog may take.
pub(super) const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// Opens a single connection, outside any pool: a pool would hide a refused connection behind a
/// time-out.
pub(super) async fn connect(
    operation: &'static str,
    settings: &PostgresSettings,
) -> Result<PgConnection> {
    connect_with(
        operation,
        &settings.connect_options().await?,
        settings.acquire_timeout,
    )
    .await
}

pub(super) async fn connect_with(
    operation: &'static str,
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<PgConnection> {
    let connection = async {
        let connected = options.connect().await;
        connected.map_err(|cause| driver_error(operation, cause).with_subject(address(options)))
    };
    answered(operation, options, limit, connection).await
}

/// Waits no longer than `limit` for what a server is asked.
pub(super) async fn answered<T>(
    operation: &'static str,
    options: &PgConnectOptions,
    limit: Duration,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, operation)
                .with_subject(address(options))
                .with_detail(format!("no answer within {limit:?}")))
        })
}

/// Refuses a pooler in transaction mode that the settings do not tell of: every connection names
/// its statements alike, and behind one server process the statement of one would answer another.
pub(super) async fn refuse_hidden_pooler(
    first: &mut PgConnection,
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<()> {
    if is_pooled("connect", first, options, limit).await? {
        return Err(Error::new(ErrorKind::InvalidSettings, "connect")
            .with_subject(address(options))
            .with_detail(
                "a pooler in transaction mode is in between: say so by \
                 with_pooler(Pooler::TransactionMode), or statements would mix up",
            ));
    }
    Ok(())
}

/// Returns whether a pooler in transaction mode is in between.
///
/// Two direct connections are two processes of the server. Two that a pooler takes for one show
/// the same process sooner or later, most often at once, as both are idle but for the question.
pub(super) async fn is_pooled(
    operation: &'static str,
    first: &mut PgConnection,
    options: &PgConnectOptions,
    limit: Duration,
) -> Result<bool> {
    // A server without room for a second connection has nothing to tell.
    let Ok(mut second) = connect_with(operation, options, limit).await else {
        return Ok(false);
    };
    let is_shared = answered(operation, options, limit, async {
        let mut known = None;
        let mut is_shared = false;
        for _ in 0..3 {
            let one = process(operation, first).await?;
            let other = process(operation, &mut second).await?;
            is_shared |= one == other || known.is_some_and(|known| known != one);
            known = Some(one);
        }
        Ok(is_shared)
    })
    .await?;
    let _ = second.close().await;
    Ok(is_shared)
}

async fn process(operation: &'static str, connection: &mut PgConnection) -> Result<i32> {
    sqlx::query_scalar("select pg_catalog.pg_backend_pid()")
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|cause| driver_error(operation, cause))
}

/// Names where the connection was to lead; the URL as a whole may hold a password.
pub(super) fn address(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |socket| socket.display().to_string(),
    );
    let database = options
        .get_database()
        .unwrap_or_else(|| options.get_username());
    format!("{host}:{}/{database}", options.get_port())
}
