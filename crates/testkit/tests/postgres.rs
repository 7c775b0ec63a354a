//! A server is found, shared, stopped and restarted; a database comes and goes with its value.

use sqlx::{Connection, PgConnection};
use tenantry_testkit::{DelayProxy, PostgresServer, ProxyOptions, Result, StopMode, TestDatabase};

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

#[tokio::test]
async fn a_commit_is_lost_before_the_server_or_after_it() -> Result<()> {
    let server = PostgresServer::shared().await?;
    let database = TestDatabase::create(server).await?;
    database.execute("CREATE TABLE orders (id bigint)").await?;
    let proxy = DelayProxy::start(&server.address(), ProxyOptions::default()).await?;
    let url = proxy.url(database.admin_url())?;

    for after in [false, true] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let mut tx = connection.begin().await.unwrap();
        sqlx::query("INSERT INTO orders VALUES (1)")
            .execute(&mut *tx)
            .await
            .unwrap();
        if after {
            proxy.cut_after("COMMIT");
        } else {
            proxy.cut_before("COMMIT");
        }
        tx.commit().await.unwrap_err();
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let before = proxy.round_trips();
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .persistent(false)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(
        stored, 1,
        "the commit that was cut after the server is stored, the other is not"
    );
    assert!(proxy.round_trips() > before);
    Ok(())
}
