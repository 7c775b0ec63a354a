//! A server is found, shared, stopped and restarted; a database comes and goes with its value.

use sqlx::{Connection, PgConnection};
use tenantry_testkit::{PostgresServer, Result, StopMode, TestDatabase};

#[tokio::test]
async fn a_database_goes_with_its_value() -> Result<()> {
    let server = PostgresServer::shared().await?;
    let database = TestDatabase::create(server).await?;
    let url = database.admin_url().to_owned();
    database.execute("CREATE TABLE orders (id bigint)").await?;
    // Somebody is still connected.
    let _connection = PgConnection::connect(&url).await.unwrap();
    drop(database);
    let error = PgConnection::connect(&url).await.unwrap_err();
    let code = error
        .as_database_error()
        .and_then(|error| error.code().map(|c| c.into_owned()));
    assert_eq!(
        code.as_deref(),
        Some("3D000"),
        "invalid_catalog_name, not {error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_stopped_server_comes_back_on_its_port() -> Result<()> {
    let server = PostgresServer::start().await?;
    server.execute("CREATE TABLE kept (id bigint)").await?;
    for mode in [StopMode::Fast, StopMode::Immediate] {
        server.stop(mode).await?;
        assert!(server.execute("SELECT 1").await.is_err());
        server.restart().await?;
        server.execute("SELECT * FROM kept").await?;
    }
    server.restart().await?;
    server.execute("SELECT * FROM kept").await
}
