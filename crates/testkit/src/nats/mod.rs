//! NATS servers with JetStream: found or started, stopped and paused.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::certificates::{AUTHORITY, CERTIFICATE, KEY};
use crate::daemon::{Daemon, Program};
use crate::postgres::blocking;
use crate::programs::folder_with;
use crate::served::Served;
use crate::{Error, Result, ServerCertificate, Settings, StopMode, Way, ports};

const INSTALL: &str = "no NATS server found: install it (Debian: `apt-get install nats-server`), or set \
     TENANTRY_TEST_NATS_URL to the URL of a server with JetStream where tests may make streams";

const INVALID: &str =
    "TENANTRY_TEST_NATS_URL is no URL of a server: write nats://user:password@host:port";

const SCHEMES: &[&str] = &["nats"];

const START: &str =
    r#"cd "$FOLDER" && { "$BIN/nats-server" -c nats.conf >>nats.log 2>&1 & echo $! >pid; }"#;

/// How a NATS server is set up.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    settings: String,
    users: String,
    certificate: Option<ServerCertificate>,
}

impl NatsOptions {
    /// Sets a value of the configuration, such as `max_payload` to `1024`.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.settings, "{name}: {value}");
        self
    }

    /// Lets another user log in, whose permissions are as the configuration writes them, such as
    /// `{ publish: { deny: ["events.>"] } }`.
    #[must_use]
    pub fn with_user(mut self, user: &str, password: &str, permissions: &str) -> Self {
        let _ = writeln!(
            self.users,
            "    {{ user: {user}, password: \"{password}\", permissions: {permissions} }}"
        );
        self
    }

    /// Shows a certificate: the URL begins with `tls://`, and who speaks no TLS is refused.
    #[must_use]
    pub fn with_tls(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Returns the scheme of the URL.
    const fn scheme(&self) -> &'static str {
        match self.certificate {
            Some(_) => "tls",
            None => "nats",
        }
    }
}

/// A NATS server with JetStream for tests.
///
/// One that was started here listens on the loopback alone, asks for user and password, stores its
/// streams in its folder, and dies with this process.
///
/// # Examples
///
/// ```no_run
/// use tenantry_testkit::{NatsServer, StopMode};
///
/// # async fn example() -> tenantry_testkit::Result<()> {
/// let server = NatsServer::start().await?;
/// server.stop(StopMode::Immediate).await?;    // as if the machine had failed
/// server.restart().await?;                    // on the same port, with its streams
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NatsServer(Served);

impl NatsServer {
    /// Returns the server that all tests of this process share, and finds it at the first call.
    ///
    /// Who shares it keeps to names of its own.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<NatsServer> = OnceCell::const_new();
        SHARED
            .get_or_try_init(async || Self::find(&Settings::from_env()?).await)
            .await
    }

    /// Finds a server: under the URL of the settings, else from programs. There is no container of it.
    ///
    /// # Errors
    ///
    /// When there is no way to a server ([`Error::is_missing`]), or the one there is fails.
    pub async fn find(settings: &Settings) -> Result<Self> {
        let forced = settings.way();
        if matches!(forced, None | Some(Way::Url)) {
            if let Some(url) = settings.nats_url() {
                let served = Served::borrowed(url, SCHEMES, INVALID, probe).await?;
                return Ok(Self(served));
            }
            if forced.is_some() {
                return Err(Error::missing("TENANTRY_TEST_NATS_URL is not set"));
            }
        }
        Self::from_programs(settings, &NatsOptions::default()).await
    }

    /// Starts a server that nobody shares, which a test may stop and break.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start() -> Result<Self> {
        Self::start_with(NatsOptions::default()).await
    }

    /// Starts a server that nobody shares, with settings of its own. It is always one from programs.
    ///
    /// # Errors
    ///
    /// When they are not installed ([`Error::is_missing`]), or it does not come up.
    pub async fn start_with(options: NatsOptions) -> Result<Self> {
        Self::from_programs(&Settings::from_env()?, &options).await
    }

    /// Returns the URL of the server, with user and password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Returns host and port, as [`DelayProxy::start`](crate::DelayProxy::start) takes them.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Returns the URL with another address in the server's place, such as that of a proxy.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn url_through(&self, address: SocketAddr) -> Result<String> {
        self.0.url_through(address)
    }

    /// Returns the URL of another user, or with another password.
    ///
    /// # Errors
    ///
    /// When a URL cannot hold them.
    pub fn url_of(&self, user: &str, password: &str) -> Result<String> {
        self.0.url_of(user, password)
    }

    /// Stops the server; returns when it has stopped. What it stored is there after a restart.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        self.0.stop(mode).await
    }

    /// Starts the server again on the same port, after killing it if it runs; returns when it answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or does not come up.
    pub async fn restart(&self) -> Result<()> {
        self.0.restart().await
    }

    /// Halts the server: its connections stay open, new ones are accepted, and nobody answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn pause(&self) -> Result<()> {
        self.0.pause().await
    }

    /// Lets a halted server go on.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn resume(&self) -> Result<()> {
        self.0.resume().await
    }

    async fn from_programs(settings: &Settings, options: &NatsOptions) -> Result<Self> {
        let further = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
        let folder = folder_with(&["nats-server"], settings.search_path(), further)
            .ok_or_else(|| Error::missing(INSTALL))?;
        let mut attempts = 3;
        loop {
            // Another process may take the port between the look and the start.
            let (port, password) = (ports::free()?, uuid::Uuid::new_v4().simple().to_string());
            let config = config(options, port.number(), &password);
            let scheme = options.scheme();
            let url = format!("{scheme}://tests:{password}@127.0.0.1:{port}");
            let variables = vec![("BIN", folder.clone().into())];
            let program = Program::of_server(START, vec![port], variables, "nats.log");
            let prefix = settings.prefix().to_owned();
            let certificate = options.certificate.clone();
            let daemon = blocking(move || {
                Daemon::start(program, prefix, |folder| {
                    let store = format!("jetstream {{ store_dir: \"{}\" }}\n", folder.display());
                    let mut files = vec![("nats.conf", config + &store)];
                    files.extend(certificate.iter().flat_map(ServerCertificate::files));
                    files
                })
            })
            .await?;
            attempts -= 1;
            match Served::started(&url, daemon, probe).await {
                Ok(served) => return Ok(Self(served)),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

fn config(options: &NatsOptions, port: u16, password: &str) -> String {
    // They lie in the folder that it is started in.
    let tls = match &options.certificate {
        Some(certificate) => format!(
            "tls {{ cert_file: \"{CERTIFICATE}\", key_file: \"{KEY}\", ca_file: \"{AUTHORITY}\", verify: {} }}\n",
            certificate.asks_clients()
        ),
        None => String::new(),
    };
    format!(
        "listen: \"127.0.0.1:{port}\"\nserver_name: tests{port}\n{tls}{}\
         authorization {{\n  users: [\n    {{ user: tests, password: \"{password}\" }}\n{}  ]\n}}\n",
        options.settings, options.users
    )
}

/// It speaks first, before any TLS.
fn probe(address: String) -> BoxFuture<'static, std::io::Result<bool>> {
    async move {
        let mut line = String::new();
        let stream = TcpStream::connect(address).await?;
        BufReader::new(stream).read_line(&mut line).await?;
        Ok(line.starts_with("INFO ") && line.contains("\"jetstream\":true"))
    }
    .boxed()
}
