//! Redis servers: found or started, stopped, paused, and followed by replicas.

mod programs;
mod protocol;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use url::Url;

use crate::certificates::{AUTHORITY, CERTIFICATE, KEY, over_tls};
use crate::container::{self, Container, Contents};
use crate::daemon::Daemon;
use crate::ports::Port;
use crate::postgres::blocking;
use crate::{Error, Result, ServerCertificate, Settings, StopMode, Way, ports};

const INSTALL: &str = "install Redis (Debian: `apt-get install redis-server`), or set \
     TENANTRY_TEST_REDIS_URL to the URL of a server that tests may write to, \
     or run Docker and build the tests with the feature `docker` of tenantry-testkit";

/// The port of a server in a container, and where its configuration lies.
const INNER_PORT: u16 = 6379;
const INNER_CONFIG: &str = "/etc/tenantry-redis.conf";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a Redis server is set up.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    settings: Vec<(String, String)>,
    certificate: Option<ServerCertificate>,
}

impl RedisOptions {
    /// Sets a directive of `redis.conf`, such as `maxmemory` to `10mb`.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Opens a second port, that of [`RedisServer::tls_url`], and shows a certificate there. Such a server is always one from programs.
    #[must_use]
    pub fn with_tls(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Returns the configuration, with lines that depend on where the server runs.
    fn config(&self, own: &str, password: &str) -> String {
        let mut text =
            format!("{own}requirepass {password}\nsave \"\"\nrepl-diskless-sync-delay 0\n");
        for (name, value) in &self.settings {
            let _ = writeln!(text, "{name} {value}");
        }
        text
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
    tls_port: Option<u16>,
    control: Control,
}

/// Who can stop the server.
enum Control {
    Nobody,
    Programs(Arc<Daemon>),
    Container(Container),
}

impl RedisServer {
    /// Returns the server that all tests of this process share, and finds it at the first call.
    ///
    /// Who shares it keeps to keys of its own.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<RedisServer> = OnceCell::const_new();
        SHARED
            .get_or_try_init(async || Self::find(&Settings::from_env()?).await)
            .await
    }

    /// Finds a server: under the URL of the settings, else in a container, else from programs.
    ///
    /// Containers need the feature `docker`, a daemon that answers and an image. Where the settings
    /// name a [`Way`], no other is tried.
    ///
    /// # Errors
    ///
    /// When there is no way to a server ([`Error::is_missing`]), or every way there is fails.
    pub async fn find(settings: &Settings) -> Result<Self> {
        let forced = settings.way();
        if matches!(forced, None | Some(Way::Url)) {
            if let Some(url) = settings.redis_url() {
                return Self::borrowed(url).await;
            }
            if forced.is_some() {
                return Err(Error::missing("TENANTRY_TEST_REDIS_URL is not set"));
            }
        }
        let options = RedisOptions::default();
        let contained = Self::in_container(settings, &options).await;
        if let Ok(Some(server)) = contained {
            return Ok(server);
        }
        // A daemon may well run and have no image; then programs serve as well, where there are any.
        if let Some(server) = Self::from_programs(settings, &options).await? {
            return Ok(server);
        }
        contained.and(Err(missing(forced)))
    }

    /// Starts a server that nobody shares, which a test may stop and break.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default()).await
    }

    /// Starts a server that nobody shares, with settings of its own: from programs, else in a
    /// container.
    ///
    /// `TENANTRY_TEST_FIND` set to `docker` or `path` is obeyed; a server under a URL belongs to
    /// somebody else, so `url` has no say here. Paths in the settings are those of this machine, which
    /// a container does not see, and it opens no port but that of the URL.
    ///
    /// # Errors
    ///
    /// When there is nothing to start a server from ([`Error::is_missing`]), or it does not come up.
    pub async fn start_with(options: RedisOptions) -> Result<Self> {
        let settings = Settings::from_env()?;
        if let Some(server) = Self::from_programs(&settings, &options).await? {
            return Ok(server);
        }
        if let Some(server) = Self::in_container(&settings, &options).await? {
            return Ok(server);
        }
        Err(missing(match options.certificate {
            Some(_) => Some(Way::Path),
            None => settings.way(),
        }))
    }

    /// Starts a server that follows another, and returns once it has all that is stored there.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start_replica(&self) -> Result<Self> {
        let replica = match &self.control {
            // Its own loopback is not that of this machine.
            Control::Container(container) => {
                format!("{} {INNER_PORT}", container.inner_address().await?)
            }
            Control::Nobody | Control::Programs(_) => format!("{} {}", self.host(), self.port()),
        };
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
                return Err(replica
                    .with_log(Error::new("a replica does not come up"))
                    .await);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the URL of the server, with its password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns the URL over TLS, `rediss://`, with its password; none without [`with_tls`](RedisOptions::with_tls).
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        over_tls(self.url.clone(), "rediss", self.tls_port)
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
        let login = protocol::Login::of(&self.url);
        protocol::ask(&self.address(), &login, command).await
    }

    /// Stops the server; returns when it has stopped. What it held is lost.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        match &self.control {
            Control::Nobody => Err(not_ours()),
            Control::Programs(programs) => {
                let programs = Arc::clone(programs);
                blocking(move || programs.stop(mode)).await
            }
            Control::Container(container) => {
                // Halted, it would take no signal; where it runs, there is nothing to resume.
                let _ = container.resume().await;
                container.stop(mode).await
            }
        }
    }

    /// Starts the server again on the same port, after stopping it if it runs; returns when it
    /// answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or does not come up.
    pub async fn restart(&self) -> Result<()> {
        match &self.control {
            Control::Nobody => return Err(not_ours()),
            Control::Programs(programs) => {
                let programs = Arc::clone(programs);
                blocking(move || programs.restart()).await?;
            }
            Control::Container(container) => {
                let _ = container.resume().await;
                container.restart().await?;
            }
        }
        self.until_ready().await
    }

    /// Halts the server: its connections stay open, and nobody answers on them.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn pause(&self) -> Result<()> {
        match &self.control {
            Control::Nobody => Err(not_ours()),
            Control::Programs(programs) => {
                let programs = Arc::clone(programs);
                blocking(move || programs.pause()).await
            }
            Control::Container(container) => container.pause().await,
        }
    }

    /// Lets a halted server go on.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn resume(&self) -> Result<()> {
        match &self.control {
            Control::Nobody => Err(not_ours()),
            Control::Programs(programs) => {
                let programs = Arc::clone(programs);
                blocking(move || programs.resume()).await
            }
            Control::Container(container) => container.resume().await,
        }
    }

    async fn borrowed(url: &str) -> Result<Self> {
        let invalid =
            "TENANTRY_TEST_REDIS_URL is no URL of a server: write redis://:password@host:port";
        let url = Url::parse(url).map_err(|error| Error::because(invalid, error))?;
        if url.scheme() != "redis" || url.host().is_none() {
            return Err(Error::new(invalid));
        }
        let server = Self {
            url,
            tls_port: None,
            control: Control::Nobody,
        };
        server.until_ready().await?;
        Ok(server)
    }

    async fn in_container(settings: &Settings, options: &RedisOptions) -> Result<Option<Self>> {
        let is_asked_for = matches!(settings.way(), None | Some(Way::Docker));
        if !is_asked_for || options.certificate.is_some() {
            return Ok(None);
        }
        let password = password();
        let config = options.config(&format!("bind 0.0.0.0\nport {INNER_PORT}\n"), &password);
        let contents = Contents {
            image: settings.redis_image().to_owned(),
            port: INNER_PORT,
            command: vec!["redis-server".to_owned(), INNER_CONFIG.to_owned()],
            variables: Vec::new(),
            files: vec![(INNER_CONFIG.to_owned(), config.into_bytes())],
        };
        let Some(container) = Container::start(settings, contents).await? else {
            return Ok(None);
        };
        let server = Self {
            url: url_of(container.host(), container.port(), &password)?,
            tls_port: None,
            control: Control::Container(container),
        };
        match server.until_ready().await {
            Ok(()) => Ok(Some(server)),
            Err(error) => Err(server.with_log(error).await),
        }
    }

    async fn from_programs(settings: &Settings, options: &RedisOptions) -> Result<Option<Self>> {
        let is_asked_for = matches!(settings.way(), None | Some(Way::Path | Way::Url));
        // With a certificate there is no other way.
        if !is_asked_for && options.certificate.is_none() {
            return Ok(None);
        }
        let Some(folder) = programs::find(settings) else {
            return Ok(None);
        };
        let mut attempts = 3;
        loop {
            // Another process may take the port between the look and the start.
            let (port, password) = (ports::free()?, password());
            let mut own = format!(
                "bind 127.0.0.1\nport {port}\ndaemonize yes\npidfile pid\nlogfile redis.log\n"
            );
            let mut files = Vec::new();
            let mut ports = Vec::new();
            if let Some(certificate) = &options.certificate {
                let port = ports::free()?;
                // They lie in the folder that it is started in.
                let _ = writeln!(
                    own,
                    "tls-port {port}\ntls-cert-file {CERTIFICATE}\ntls-key-file {KEY}\n\
                     tls-ca-cert-file {AUTHORITY}\ntls-auth-clients {}",
                    match certificate.asks_clients() {
                        true => "yes",
                        false => "no",
                    }
                );
                files.extend(certificate.files());
                ports.push(port);
            }
            files.push(("redis.conf", options.config(&own, &password)));
            let tls_port = ports.first().map(Port::number);
            let url = url_of("127.0.0.1", port.number(), &password)?;
            ports.push(port);
            let (folder, prefix) = (folder.clone(), settings.prefix().to_owned());
            let started = blocking(move || programs::start(&folder, prefix, ports, files)).await?;
            let server = Self {
                url,
                tls_port,
                control: Control::Programs(Arc::new(started)),
            };
            let Err(error) = server.until_ready().await else {
                return Ok(Some(server));
            };
            attempts -= 1;
            if attempts == 0 {
                return Err(server.with_log(error).await);
            }
        }
    }

    async fn until_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let Err(error) = self.execute(&["ping"]).await else {
                return Ok(());
            };
            let has_ended = match &self.control {
                Control::Container(container) => !container.is_running().await,
                Control::Nobody | Control::Programs(_) => false,
            };
            if has_ended || started.elapsed() > PATIENCE {
                return Err(Error::because("a Redis server does not answer", error));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn with_log(&self, error: Error) -> Error {
        let log = match &self.control {
            Control::Nobody => String::new(),
            Control::Programs(programs) => programs.log(),
            Control::Container(container) => container.log().await,
        };
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
        let way = match &self.control {
            Control::Nobody => Way::Url,
            Control::Programs(_) => Way::Path,
            Control::Container(_) => Way::Docker,
        };
        f.debug_struct("RedisServer")
            .field("address", &self.address())
            .field("way", &way)
            .finish_non_exhaustive()
    }
}

fn missing(forced: Option<Way>) -> Error {
    match forced {
        None | Some(Way::Url) => Error::missing(format!("no Redis server found: {INSTALL}")),
        Some(Way::Docker) => Error::missing(container::MISSING),
        Some(Way::Path) => Error::missing(
            "no program `redis-server` on the PATH, in /usr/sbin or in /usr/local/sbin (Debian: \
             `apt-get install redis-server`)",
        ),
    }
}

fn not_ours() -> Error {
    Error::new("a server under a URL is not ours to stop")
}

fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn url_of(host: &str, port: u16, password: &str) -> Result<Url> {
    Url::parse(&format!("redis://:{password}@{host}:{port}"))
        .map_err(|error| Error::because("cannot write the URL of a server", error))
}
