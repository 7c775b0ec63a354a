//! Redis servers: started, stopped, paused, and followed by replicas.

mod protocol;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use url::Url;

use crate::keeper::{Keeper, Plan};
use crate::postgres::blocking;
use crate::programs::{User, folder_with};
use crate::{Error, Result, Settings, StopMode, Way, ports};

const START: &str = r#"cd "$FOLDER" && "$BIN/redis-server" redis.conf"#;
/// Waits for the end of a server, of all its threads. Some first processes let the dead of others
/// wait for a while.
macro_rules! gone {
    () => {
        r#"while kill -0 "$PID" 2>/dev/null && { [ "$(ls "/proc/$PID/task" 2>/dev/null | wc -l)" != 1 ] || ! grep -q '^State:[[:space:]]*Z' "/proc/$PID/status" 2>/dev/null; }; do sleep 0.01; done; rm -f "$FOLDER/pid""#
    };
}
const GONE: &str = gone!();
/// Ends a server that may have been stopped before.
const END: &str = concat!(
    r#"PID=$(cat "$FOLDER/pid") && kill -KILL "$PID" && { "#,
    gone!(),
    "; }"
);
const INSTALL: &str = "install Redis (Debian: `apt-get install redis-server`), or set \
     TENANTRY_TEST_REDIS_URL to the URL of a server that tests may write to";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a Redis server is set up.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    settings: Vec<(String, String)>,
}

impl RedisOptions {
    /// Sets a directive of `redis.conf`, such as `maxmemory` to `10mb`.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A Redis server for tests, which stores nothing on a disk.
///
/// One that was started here listens on the loopback alone, asks for a password, and dies with
/// this process.
///
/// # Examples
///
/// ```no_run
/// use tenantry_testkit::{RedisServer, StopMode};
///
/// # async fn example() -> tenantry_testkit::Result<()> {
/// let server = RedisServer::start().await?;
/// server.execute(&["set", "greeting", "hello"]).await?;
/// server.stop(StopMode::Immediate).await?;    // as if the machine had failed
/// server.restart().await?;                    // on the same port, and empty
/// # Ok(())
/// # }
/// ```
pub struct RedisServer {
    url: Url,
    /// Absent where the server belongs to somebody else.
    keeper: Option<Arc<Keeper>>,
}

impl RedisServer {
    /// Returns the server that all tests of this process share, and finds it at the first call:
    /// under the URL in `TENANTRY_TEST_REDIS_URL`, else from programs.
    ///
    /// Who shares it keeps to keys of its own.
    ///
    /// # Errors
    ///
    /// When there is no way to a server ([`Error::is_missing`]), or it does not answer.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<RedisServer> = OnceCell::const_new();
        SHARED
            .get_or_try_init(async || {
                let settings = Settings::from_env()?;
                match settings.redis_url() {
                    Some(url) if settings.way() != Some(Way::Path) => Self::borrowed(url).await,
                    _ => Self::start().await,
                }
            })
            .await
    }

    /// Starts a server that nobody shares, which a test may stop and break.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default()).await
    }

    /// Starts a server that nobody shares, with settings of its own.
    ///
    /// # Errors
    ///
    /// When the program `redis-server` is not installed ([`Error::is_missing`]), or does not come
    /// up.
    pub async fn start_with(options: RedisOptions) -> Result<Self> {
        let settings = Settings::from_env()?;
        let further = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let folder = folder_with(&["redis-server"], settings.search_path(), further)
            .ok_or_else(|| Error::missing(format!("no Redis server found: {INSTALL}")))?;
        let mut attempts = 3;
        loop {
            let password = uuid::Uuid::new_v4().simple().to_string();
            let port = ports::free()?;
            let plan = plan(&folder, settings.prefix().to_owned());
            let config = config(port, &password, &options);
            let keeper = blocking(move || {
                let keeper = Keeper::start(&plan)?;
                std::fs::write(keeper.folder().join("redis.conf"), config).map_err(|error| {
                    Error::because("cannot write the configuration of a server", error)
                })?;
                keeper.run(START)?;
                Ok(keeper)
            })
            .await?;
            let server = Self {
                url: url_of(port, &password)?,
                keeper: Some(Arc::new(keeper)),
            };
            let Err(error) = server.until_ready().await else {
                return Ok(server);
            };
            attempts -= 1;
            if attempts == 0 {
                return Err(server.with_log(error));
            }
        }
    }

    /// Starts a server that follows another, and returns once it has all that is stored there.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start_replica(&self) -> Result<Self> {
        let replica = format!("{} {}", self.host(), self.port());
        let password = self.url.password().unwrap_or_default();
        let options = RedisOptions::default()
            .with_setting("replicaof", replica)
            .with_setting("masterauth", password);
        let replica = Self::start_with(options).await?;
        let started = Instant::now();
        loop {
            let told = replica.ask(&["info", "replication"]).await?;
            if told.contains("master_link_status:up") {
                return Ok(replica);
            }
            if started.elapsed() > PATIENCE {
                return Err(replica.with_log(Error::new("a replica does not come up")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the URL of the server, with its password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns host and port, as [`DelayProxy::start`](crate::DelayProxy::start) takes them.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// Returns the URL with another address in the server's place, such as that of a proxy.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn url_through(&self, address: std::net::SocketAddr) -> Result<String> {
        ports::lead_through(self.url(), address)
    }

    /// Runs a command, such as `["config", "set", "maxmemory", "10mb"]` or
    /// `["replicaof", "no", "one"]`.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses the command.
    pub async fn execute(&self, command: &[&str]) -> Result<()> {
        self.ask(command).await.map(drop)
    }

    /// Runs a command, and returns what it answers if that is a text or a number; else nothing.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses the command.
    pub async fn ask(&self, command: &[&str]) -> Result<String> {
        let password = self.url.password().unwrap_or_default();
        protocol::ask(&self.address(), password, command).await
    }

    /// Stops the server; returns when it has stopped. What it held is lost.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        let signal = match mode {
            StopMode::Fast => "TERM",
            StopMode::Immediate => "KILL",
        };
        // A paused one takes the signal as it goes on.
        self.run(format!(
            r#"PID=$(cat "$FOLDER/pid") && kill -{signal} "$PID" && kill -CONT "$PID" 2>/dev/null; {GONE}"#
        ))
        .await
    }

    /// Starts the server again on the same port, after stopping it if it runs; returns when it
    /// answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or does not come up.
    pub async fn restart(&self) -> Result<()> {
        self.run(format!(
            r#"if [ -e "$FOLDER/pid" ]; then PID=$(cat "$FOLDER/pid"); kill -KILL "$PID"; {GONE}; fi; {START}"#
        ))
        .await?;
        self.until_ready().await
    }

    /// Halts the server: its connections stay open, and nobody answers on them.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn pause(&self) -> Result<()> {
        self.run(r#"kill -STOP "$(cat "$FOLDER/pid")""#.to_owned())
            .await
    }

    /// Lets a halted server go on.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn resume(&self) -> Result<()> {
        self.run(r#"kill -CONT "$(cat "$FOLDER/pid")""#.to_owned())
            .await
    }

    async fn run(&self, command: String) -> Result<()> {
        let keeper = self
            .keeper
            .clone()
            .ok_or_else(|| Error::new("a server under a URL is not ours to stop"))?;
        blocking(move || keeper.run(&command)).await
    }

    async fn borrowed(url: &str) -> Result<Self> {
        let invalid =
            "TENANTRY_TEST_REDIS_URL is no URL of a server: write redis://:password@host:port";
        let url = Url::parse(url).map_err(|error| Error::because(invalid, error))?;
        if url.scheme() != "redis" || url.host().is_none() {
            return Err(Error::new(invalid));
        }
        let server = Self { url, keeper: None };
        server.until_ready().await?;
        Ok(server)
    }

    async fn until_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let Err(error) = self.execute(&["ping"]).await else {
                return Ok(());
            };
            if started.elapsed() > PATIENCE {
                return Err(Error::because("a Redis server does not answer", error));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn with_log(&self, error: Error) -> Error {
        let log = self.keeper.as_ref().map(|keeper| keeper.tail("redis.log"));
        let log = log.unwrap_or_default();
        Error::because(format!("the log of the Redis server says\n{log}"), error)
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or("localhost")
    }

    fn port(&self) -> u16 {
        self.url.port().unwrap_or(6379)
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("address", &self.address())
            .field("is_ours", &self.keeper.is_some())
            .finish_non_exhaustive()
    }
}

fn url_of(port: u16, password: &str) -> Result<Url> {
    Url::parse(&format!("redis://:{password}@127.0.0.1:{port}"))
        .map_err(|error| Error::because("cannot write the URL of a server", error))
}

fn config(port: u16, password: &str, options: &RedisOptions) -> String {
    let mut text = format!(
        "bind 127.0.0.1\n\
         port {port}\n\
         requirepass {password}\n\
         daemonize yes\n\
         pidfile pid\n\
         logfile redis.log\n\
         save \"\"\n\
         repl-diskless-sync-delay 0\n"
    );
    for (name, value) in &options.settings {
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

fn plan(folder: &Path, prefix: String) -> Plan {
    Plan {
        at_end: END,
        variables: vec![("BIN", folder.into())],
        inherit: false,
        user: User::for_servers(),
        in_memory: true,
        prefix,
    }
}
