//! RabbitMQ servers: found or started, stopped and paused.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use url::Url;

use crate::certificates::{AUTHORITY, CERTIFICATE, KEY, over_tls};
use crate::daemon::{Daemon, Program};
use crate::ports::Port;
use crate::postgres::blocking;
use crate::programs::folder_with;
use crate::served::Served;
use crate::{Error, Result, ServerCertificate, Settings, StopMode, Way, ports};

const INSTALL: &str = "no RabbitMQ found: install it (Debian: `apt-get install rabbitmq-server`), or set \
     TENANTRY_TEST_RABBITMQ_URL to the URL of a server where tests may make exchanges and queues";

const INVALID: &str =
    "TENANTRY_TEST_RABBITMQ_URL is no URL of a server: write amqp://user:password@host:port";

const SCHEMES: &[&str] = &["amqp"];

/// A node of its own, with an own list of the nodes of the machine, and without what the machine has set
/// up for its service. As under systemd, or a shell would stand before the server and take its signals.
const START: &str = r#"cd "$FOLDER" && { [ -e .erlang.cookie ] || { printf %s "$COOKIE" >.erlang.cookie && chmod 400 .erlang.cookie; }; } && if [ ! -e companion ]; then { epmd -port "$EPMD" -address 127.0.0.1 >/dev/null 2>&1 & echo $! >companion; }; fi; export HOME="$FOLDER" ERL_EPMD_PORT="$EPMD" ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME="tests$EPMD@localhost" RABBITMQ_DIST_PORT="$DIST" RABBITMQ_CONF_ENV_FILE="$FOLDER/none" RABBITMQ_CONFIG_FILE="$FOLDER/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$FOLDER/none.config" RABBITMQ_ENABLED_PLUGINS_FILE="$FOLDER/plugins" RABBITMQ_FEATURE_FLAGS_FILE="$FOLDER/flags" RABBITMQ_GENERATED_CONFIG_DIR="$FOLDER/generated" RABBITMQ_MNESIA_BASE="$FOLDER/data" RABBITMQ_LOG_BASE="$FOLDER" RABBITMQ_PID_FILE="$FOLDER/own-pid" RUNNING_UNDER_SYSTEMD=true; { "$BIN/rabbitmq-server" >>rabbitmq.log 2>&1 & echo $! >pid; }"#;

/// Two threads that sleep while there is nothing to do, and a loopback.
const ERLANG: &str =
    "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}";

/// How a RabbitMQ is set up.
#[derive(Debug, Clone, Default)]
pub struct RabbitMqOptions {
    settings: String,
    certificate: Option<ServerCertificate>,
}

impl RabbitMqOptions {
    /// Sets a value of `rabbitmq.conf`, such as `vm_memory_high_watermark.absolute` to `50MB`.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.settings, "{name} = {value}");
        self
    }

    /// Opens a second port, that of [`RabbitMqServer::tls_url`], and shows a certificate there.
    #[must_use]
    pub fn with_tls(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = Some(certificate);
        self
    }
}

/// A RabbitMQ for tests.
///
/// One that was started here is a node of its own: it listens on the loopback alone, asks for user
/// and password, has no plugin, and dies with this process. It takes some five seconds to come up.
///
/// # Examples
///
/// ```no_run
/// use tenantry_testkit::{RabbitMqServer, StopMode};
///
/// # async fn example() -> tenantry_testkit::Result<()> {
/// let server = RabbitMqServer::start().await?;
/// server.stop(StopMode::Immediate).await?;    // as if the machine had failed
/// server.restart().await?;                    // on the same port, with its queues
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RabbitMqServer {
    served: Served,
    tls_port: Option<u16>,
}

impl RabbitMqServer {
    /// Returns the server that all tests of this process share, and finds it at the first call.
    ///
    /// Who shares it keeps to names of its own.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<RabbitMqServer> = OnceCell::const_new();
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
            if let Some(url) = settings.rabbitmq_url() {
                let served = Served::borrowed(url, SCHEMES, INVALID, probe).await?;
                return Ok(Self {
                    served,
                    tls_port: None,
                });
            }
            if forced.is_some() {
                return Err(Error::missing("TENANTRY_TEST_RABBITMQ_URL is not set"));
            }
        }
        Self::from_programs(settings, &RabbitMqOptions::default()).await
    }

    /// Starts a server that nobody shares, which a test may stop and break.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start() -> Result<Self> {
        Self::start_with(RabbitMqOptions::default()).await
    }

    /// Starts a server that nobody shares, with settings of its own. It is always one from programs.
    ///
    /// # Errors
    ///
    /// When they are not installed ([`Error::is_missing`]), or it does not come up.
    pub async fn start_with(options: RabbitMqOptions) -> Result<Self> {
        Self::from_programs(&Settings::from_env()?, &options).await
    }

    /// Returns the URL of the server, with user and password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.served.url()
    }

    /// Returns the URL over TLS, `amqps://`, with user and password; none without
    /// [`with_tls`](RabbitMqOptions::with_tls).
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        over_tls(Url::parse(self.url()).ok()?, "amqps", self.tls_port)
    }

    /// Returns host and port, as [`DelayProxy::start`](crate::DelayProxy::start) takes them.
    #[must_use]
    pub fn address(&self) -> String {
        self.served.address()
    }

    /// Returns the URL with another address in the server's place, such as that of a proxy.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn url_through(&self, address: SocketAddr) -> Result<String> {
        self.served.url_through(address)
    }

    /// Returns the URL of another user, or with another password.
    ///
    /// # Errors
    ///
    /// When a URL cannot hold them.
    pub fn url_of(&self, user: &str, password: &str) -> Result<String> {
        self.served.url_of(user, password)
    }

    /// Stops the server; returns when it has stopped. What it stored is there after a restart.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        self.served.stop(mode).await
    }

    /// Starts the server again on the same port, after killing it if it runs; returns when it answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or does not come up.
    pub async fn restart(&self) -> Result<()> {
        self.served.restart().await
    }

    /// Halts the server: its connections stay open, new ones are accepted, and nobody answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn pause(&self) -> Result<()> {
        self.served.pause().await
    }

    /// Lets a halted server go on.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn resume(&self) -> Result<()> {
        self.served.resume().await
    }

    async fn from_programs(settings: &Settings, options: &RabbitMqOptions) -> Result<Self> {
        // The program on the PATH asks for a user of its own; what it calls does not.
        let further = ["/usr/lib/rabbitmq/bin", "/usr/local/lib/rabbitmq/bin"].map(PathBuf::from);
        let names = ["rabbitmq-server", "rabbitmq-env"];
        let folder = folder_with(&names, settings.search_path(), further)
            .ok_or_else(|| Error::missing(INSTALL))?;
        let mut attempts = 3;
        loop {
            // Another process may take a port between the look and the start.
            let (port, dist, epmd) = (ports::free()?, ports::free()?, ports::free()?);
            let further = match options.certificate {
                Some(_) => Some(ports::free()?),
                None => None,
            };
            let tls_port = further.as_ref().map(Port::number);
            let password = uuid::Uuid::new_v4().simple().to_string();
            let config = format!(
                "listeners.tcp.default = 127.0.0.1:{port}\ndefault_user = tests\n\
                 default_pass = {password}\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n{}",
                options.settings
            );
            let cookie = uuid::Uuid::new_v4().simple().to_string();
            let variables = vec![
                ("BIN", folder.clone().into()),
                ("COOKIE", cookie.into()),
                ("DIST", dist.to_string().into()),
                ("EPMD", epmd.to_string().into()),
                ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG.into()),
            ];
            let url = format!("amqp://tests:{password}@127.0.0.1:{port}");
            let ports = [port, dist, epmd].into_iter().chain(further).collect();
            let program = Program::of_server(START, ports, variables, "rabbitmq.log");
            let prefix = settings.prefix().to_owned();
            let certificate = options.certificate.clone();
            let asks_clients = certificate
                .as_ref()
                .is_some_and(ServerCertificate::asks_clients);
            let daemon = blocking(move || {
                Daemon::start(program, prefix, |folder| {
                    let tls = tls_port.map(|port| tls_config(folder, port, asks_clients));
                    let config = config + tls.as_deref().unwrap_or_default();
                    let mut files = vec![("rabbitmq.conf", config), ("plugins", "[].".to_owned())];
                    files.extend(certificate.iter().flat_map(ServerCertificate::files));
                    files
                })
            })
            .await?;
            attempts -= 1;
            match Served::started(&url, daemon, probe).await {
                Ok(served) => return Ok(Self { served, tls_port }),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

fn tls_config(folder: &Path, port: u16, asks_clients: bool) -> String {
    let verify = match asks_clients {
        true => "verify_peer",
        false => "verify_none",
    };
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\nssl_options.cacertfile = {}\nssl_options.verify = {verify}\n\
         ssl_options.fail_if_no_peer_cert = {asks_clients}\n",
        file(CERTIFICATE),
        file(KEY),
        file(AUTHORITY),
    )
}

/// It answers to the name of the protocol with the first method.
fn probe(address: String) -> BoxFuture<'static, std::io::Result<bool>> {
    async move {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        Ok(stream.read_u8().await? == 1)
    }
    .boxed()
}
