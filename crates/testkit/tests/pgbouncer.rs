//! A pooler in front of a server.

use sqlx::{Connection, PgConnection};
use tenantry_testkit::{PgBouncer, PgBouncerOptions, PostgresServer, Result, TestDatabase};

#[tokio::test]
async fn clients_share_the_connections_of_the_pool() -> Result<()> {
    let server = PostgresServer::shared().await?;
    let database = TestDatabase::create(server).await?;
    let login = database.create_login("service").await?;
    let options = PgBouncerOptions::default()
        .with_login(&login)
        .with_pool_size(1);
    let bouncer = PgBouncer::start(server, options).await?;
    let url = bouncer.url(login.url())?;

    let mut backends = Vec::new();
    for _ in 0..3 {
        let mut client = PgConnection::connect(&url).await.unwrap();
        // Unnamed statements: the server behind may be another at each transaction.
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .persistent(false)
            .fetch_one(&mut client)
            .await
            .unwrap();
        backends.push((client, backend));
    }
    assert!(
        backends
            .iter()
            .all(|(_, backend)| *backend == backends[0].1)
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_does_not_pass() -> Result<()> {
    let server = PostgresServer::shared().await?;
    let database = TestDatabase::create(server).await?;
    let login = database.create_login("service").await?;
    let options = PgBouncerOptions::default().with_login(&login);
    let bouncer = PgBouncer::start(server, options).await?;
    let url = bouncer.url(&database.url(login.user(), "wrong"))?;
    PgConnection::connect(&url).await.unwrap_err();
    Ok(())
}
