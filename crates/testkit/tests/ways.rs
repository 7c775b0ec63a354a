//! Each way to a server, and how a server ends with whoever started it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tenantry_testkit::{PostgresServer, Settings, StopMode, TestDatabase, Way};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::test]
async fn path_serves_programs_of_this_machine() -> Result {
    serves(&Settings::from_env()?.with_way(Way::Path)).await
}

#[tokio::test]
async fn url_serves_what_runs_already_and_leaves_it_running() -> Result {
    let running = PostgresServer::start().await?;
    let settings = Settings::from_env()?
        .with_way(Way::Url)
        .with_url(running.admin_url());
    serves(&settings).await?;
    let borrowed = PostgresServer::find(&settings).await?;
    borrowed.stop(StopMode::Fast).await.unwrap_err();
    borrowed.restart().await.unwrap_err();
    drop(borrowed);
    running.execute("SELECT 1").await?;
    Ok(())
}

/// Named apart, so that a run on a machine without Docker can leave it out.
#[cfg(feature = "docker")]
#[tokio::test]
async fn docker_serves_a_container() -> Result {
    serves(&Settings::from_env()?.with_way(Way::Docker)).await
}

#[tokio::test]
async fn a_url_of_something_else_is_an_error() -> Result {
    for url in ["junk", "postgres:///local", "https://localhost/"] {
        let settings = Settings::from_env()?.with_url(url).with_way(Way::Url);
        PostgresServer::find(&settings).await.unwrap_err();
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_is_gone() -> Result {
    let server = PostgresServer::start().await?;
    let remains = Remains::of(server.admin_url()).await?;
    drop(server);
    assert!(!remains.listens());
    assert!(!remains.has_folder());
    Ok(())
}

#[tokio::test]
async fn a_server_dies_with_a_killed_process() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_holds_a_server",
            "--ignored",
            "--nocapture",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let url = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .find_map(|line| {
            line.unwrap()
                .split_once("postgres://")
                .map(|(_, rest)| rest.to_owned())
        })
        .map(|rest| format!("postgres://{rest}"))
        .unwrap();
    let remains = Remains::of(&url).await.unwrap();
    assert!(remains.listens());
    // SIGKILL: the child gets to run nothing more.
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while remains.listens() || remains.has_folder() {
        assert!(
            Instant::now() < deadline,
            "30 seconds after its process, {remains:?} is there"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "the child of a_server_dies_with_a_killed_process"]
async fn child_holds_a_server() -> Result {
    let server = PostgresServer::start().await?;
    println!("{}", server.admin_url());
    // Until the parent kills this process, or is gone itself.
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

async fn serves(settings: &Settings) -> Result {
    let server = PostgresServer::find(settings).await?;
    let database = TestDatabase::create(&server).await?;
    database
        .execute("CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders VALUES (1)")
        .await?;
    let copy = TestDatabase::from_template(&server, &database).await?;
    let login = copy.create_login("reader").await?;
    copy.execute(&format!("GRANT SELECT ON orders TO {}", login.user()))
        .await?;

    let mut reader = PgConnection::connect(login.url()).await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&mut reader)
        .await?;
    assert_eq!(count, 1);
    let rights: (bool, bool) =
        sqlx::query_as("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut reader)
            .await?;
    assert_eq!(rights, (false, false));

    let wrong = PgConnection::connect(&copy.url(login.user(), "wrong")).await;
    let wrong = wrong.err().ok_or("a wrong password was accepted")?;
    let code = wrong
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(
        code.as_deref(),
        Some("28P01"),
        "invalid_password, not {wrong}"
    );

    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut reader)
        .await?;
    server.kill_backend(pid).await?;
    assert!(sqlx::query("SELECT 1").execute(&mut reader).await.is_err());
    assert!(server.kill_backend(-1).await.is_err());
    Ok(())
}

/// What a server that is gone must not leave behind.
#[derive(Debug)]
struct Remains {
    address: SocketAddr,
    folder: String,
}

impl Remains {
    async fn of(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        let folder: String = sqlx::query_scalar("SHOW data_directory")
            .fetch_one(&mut connection)
            .await?;
        let url = url::Url::parse(url)?;
        let address = url.socket_addrs(|| None)?[0];
        Ok(Self { address, folder })
    }

    fn listens(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }

    fn has_folder(&self) -> bool {
        Path::new(&self.folder).exists()
    }
}
