//! Redis servers, started, stopped and followed.

use std::time::Duration;

use tenantry_testkit::{RedisOptions, RedisServer, Result, Settings, StopMode, Way};

#[tokio::test]
async fn a_server_answers_who_knows_its_password_alone() -> Result<()> {
    let server = RedisServer::start().await?;
    server.execute(&["set", "key", "value"]).await?;
    assert_eq!(server.ask(&["get", "key"]).await?, "value");
    assert_eq!(server.ask(&["get", "none"]).await?, "");
    assert_eq!(server.ask(&["incr", "count"]).await?, "1");
    let error = server.execute(&["incr", "key"]).await.unwrap_err();
    assert!(error.to_string().contains("not an integer"), "{error}");
    let other = RedisServer::start().await?;
    assert_ne!(server.address(), other.address());
    assert_eq!(other.ask(&["get", "key"]).await?, "");
    assert!(!format!("{server:?}").contains(password(&server)));
    Ok(())
}

#[tokio::test]
async fn a_server_is_stopped_and_started_again_on_its_port() -> Result<()> {
    let server = RedisServer::start().await?;
    for mode in [StopMode::Fast, StopMode::Immediate] {
        server.execute(&["set", "key", "value"]).await?;
        server.stop(mode).await?;
        server.execute(&["ping"]).await.unwrap_err();
        server.restart().await?;
        assert_eq!(server.ask(&["get", "key"]).await?, "", "it is empty");
    }
    server.restart().await?;
    server.execute(&["ping"]).await
}

#[tokio::test]
async fn a_halted_server_answers_once_it_goes_on() -> Result<()> {
    let server = RedisServer::start().await?;
    server.pause().await?;
    let ping = server.execute(&["ping"]);
    tokio::pin!(ping);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut ping).await;
    early.unwrap_err();
    server.resume().await?;
    ping.await?;
    server.pause().await?;
    server.stop(StopMode::Fast).await
}

#[tokio::test]
async fn a_replica_has_what_was_written_and_takes_over() -> Result<()> {
    let primary = RedisServer::start().await?;
    primary.execute(&["set", "key", "value"]).await?;
    let replica = primary.start_replica().await?;
    assert_eq!(replica.ask(&["get", "key"]).await?, "value");
    let error = replica.execute(&["set", "key", "x"]).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    primary.stop(StopMode::Immediate).await?;
    replica.execute(&["replicaof", "no", "one"]).await?;
    replica.execute(&["set", "key", "x"]).await
}

#[tokio::test]
async fn url_serves_what_runs_already_and_leaves_it_running() -> Result<()> {
    let running = RedisServer::start().await?;
    running.execute(&["set", "key", "value"]).await?;
    let settings = Settings::from_env()?
        .with_way(Way::Url)
        .with_redis_url(running.url());
    let borrowed = RedisServer::find(&settings).await?;
    assert_eq!(borrowed.ask(&["get", "key"]).await?, "value");
    borrowed.stop(StopMode::Fast).await.unwrap_err();
    borrowed.restart().await.unwrap_err();
    borrowed.pause().await.unwrap_err();
    drop(borrowed);
    running.execute(&["ping"]).await
}

#[tokio::test]
async fn path_serves_the_program_of_this_machine() -> Result<()> {
    let settings = Settings::from_env()?
        .with_way(Way::Path)
        .with_redis_url("redis://nobody.invalid");
    let server = RedisServer::find(&settings).await?;
    assert!(format!("{server:?}").contains("Path"));
    server.execute(&["ping"]).await
}

/// Named apart, so that a run on a machine without Docker can leave it out.
#[cfg(feature = "docker")]
#[tokio::test]
async fn docker_serves_a_container() -> Result<()> {
    let settings = Settings::from_env()?.with_way(Way::Docker);
    let server = RedisServer::find(&settings).await?;
    assert!(format!("{server:?}").contains("Docker"));
    server.execute(&["ping"]).await
}

#[tokio::test]
async fn an_image_that_nobody_has_is_an_error_and_no_other_way_is_tried() -> Result<()> {
    let settings = Settings::from_env()?
        .with_way(Way::Docker)
        .with_redis_image("localhost:1/nobody/redis:0");
    let error = RedisServer::find(&settings).await.unwrap_err();
    assert!(
        error.is_missing() || error.to_string().contains("localhost:1/nobody/redis:0"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_url_of_something_else_is_an_error() -> Result<()> {
    for url in ["junk", "redis:///local", "https://localhost/"] {
        let settings = Settings::from_env()?.with_redis_url(url).with_way(Way::Url);
        RedisServer::find(&settings).await.unwrap_err();
    }
    Ok(())
}

#[tokio::test]
async fn settings_are_the_servers_own() -> Result<()> {
    let options = RedisOptions::default()
        .with_setting("maxmemory", "10mb")
        .with_setting("maxmemory-policy", "allkeys-lru");
    let server = RedisServer::start_with(options).await?;
    let told = server.ask(&["info", "memory"]).await?;
    assert!(told.contains("maxmemory_policy:allkeys-lru"), "{told}");
    let wrong = RedisOptions::default().with_setting("maxmemory-policy", "nonsense");
    let error = RedisServer::start_with(wrong).await.unwrap_err();
    let told = error.to_string();
    // By the program itself, or in the log of the container.
    assert!(
        told.contains("failed") || told.contains("CONFIG FILE ERROR"),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn it_dies_with_its_value() -> Result<()> {
    let server = RedisServer::start().await?;
    let address = server.address();
    drop(server);
    tokio::net::TcpStream::connect(&address).await.unwrap_err();
    Ok(())
}

fn password(server: &RedisServer) -> &str {
    let parts: Vec<_> = server.url().split([':', '@']).collect();
    parts[2]
}

/// What the tests ask lies where the services write: in the database of the URL.
#[tokio::test]
async fn a_url_with_a_database_is_asked_there() -> Result<()> {
    let running = RedisServer::start().await?;
    let url = format!("{}/1", running.url().trim_end_matches('/'));
    let settings = Settings::from_env()?.with_way(Way::Url).with_redis_url(url);
    let borrowed = RedisServer::find(&settings).await?;
    borrowed.execute(&["set", "key", "value"]).await?;
    assert_eq!(
        running.ask(&["get", "key"]).await?,
        "",
        "it is in database 0"
    );
    Ok(())
}

#[tokio::test]
async fn a_url_with_a_user_and_an_escaped_password_is_taken() -> Result<()> {
    let running = RedisServer::start().await?;
    let user = [
        "acl", "setuser", "tests", "on", ">p%ss", "~*", "&*", "+@all",
    ];
    running.execute(&user).await?;
    let url = format!("redis://tests:p%25ss@{}", running.address());
    let settings = Settings::from_env()?.with_way(Way::Url).with_redis_url(url);
    RedisServer::find(&settings).await?.execute(&["ping"]).await
}
