//! SQL as the superuser, each time over a connection of its own.
//!
//! Every test has its own runtime, and a connection does not survive the one it was made in.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::{Error, Result};

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Runs one statement, or several as one transaction.
pub(super) async fn execute(url: &str, sql: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    run(&mut connection, sql).await?;
    close(connection).await;
    Ok(())
}

/// Copies a database; nobody may be connected to the template.
pub(super) async fn create_database(url: &str, name: &str, template: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| Error::because("the server does not tell its version", error))?;
    // In a folder in memory, copying files takes half the time of writing them through the log:
    // 12 ms in place of 25. Before version 15 there is no choice.
    let strategy = if version >= 150_000 {
        "STRATEGY FILE_COPY"
    } else {
        ""
    };
    let sql = format!("CREATE DATABASE {name} TEMPLATE {template} {strategy}");
    run(&mut connection, &sql).await?;
    close(connection).await;
    Ok(())
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .map_err(|error| Error::because(format!("the server refused `{sql}`"), error))?;
    Ok(())
}

async fn close(connection: PgConnection) {
    // The answer has arrived; how the farewell is received matters to nobody.
    let _ = connection.close().await;
}

/// Waits until the server answers a query.
///
/// A real connection is the only sign that holds for every image and every kind of start.
pub(crate) async fn until_ready(url: &str, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let error = match execute(url, "SELECT 1").await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(Error::because("the server does not answer", error));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    match timeout(ATTEMPT, PgConnection::connect(url)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Error::because("cannot connect to PostgreSQL", error)),
        Err(elapsed) => Err(Error::because("cannot connect to PostgreSQL", elapsed)),
    }
}
