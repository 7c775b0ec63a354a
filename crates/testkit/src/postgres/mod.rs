//! PostgreSQL servers: found or started, stopped and restarted.

pub(crate) mod admin;
mod database;
mod programs;
mod roles;
mod scram;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use url::Url;

pub use database::{Login, TestDatabase};
pub use roles::Roles;

use crate::container::{self, Container, Contents};
use crate::{Error, Result, Settings, Way};
use programs::Programs;

const INSTALL: &str = "install PostgreSQL's server programs (Debian: `apt-get install postgresql`), \
     or set TENANTRY_TEST_POSTGRES_URL to the URL of a superuser, \
     or run Docker and build the tests with the feature `docker` of tenantry-testkit";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PostgreSQL server for tests, with a superuser's access to it.
///
/// A server that was started here listens on the loopback alone, asks every role for its password
/// (SCRAM), and dies with this process.
pub struct PostgresServer {
    admin_url: Url,
    control: Control,
}

/// Who can stop the server.
enum Control {
    Nobody,
    Programs(Arc<Programs>),
    Container(Container),
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopMode {
    /// Open transactions are rolled back, clients are told, and the data is written out.
    Fast,
    /// As if the machine had failed: nobody is told, and the next start recovers from the log.
    Immediate,
}

/// How a private server is set up.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    durable: bool,
    settings: Vec<(String, String)>,
}

impl ServerOptions {
    /// Flushes to disk as a production server does; off by default, for a test's data is worth
    /// nothing and its time is. Benchmarks want it on.
    #[must_use]
    pub const fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Sets a parameter of `postgresql.conf`.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Returns all parameters, those of the caller last.
    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![
            ("max_connections".to_owned(), "200".to_owned()),
            // To drop a database is to wait for whoever is just logging in: for a minute, if that is a
            // client that a test has left behind in the middle of it.
            ("authentication_timeout".to_owned(), "10s".to_owned()),
        ];
        if !self.durable {
            // `synchronous_commit` stays on: it changes what a commit means, not only what it costs.
            for name in ["fsync", "full_page_writes"] {
                parameters.push((name.to_owned(), "off".to_owned()));
            }
        }
        parameters.extend(self.settings.iter().cloned());
        parameters
    }
}

impl PostgresServer {
    /// Returns the server that all tests of this process share, and finds it at the first call.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();
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
            if let Some(url) = settings.url() {
                return Self::borrowed(url).await;
            }
            if forced.is_some() {
                return Err(Error::missing("TENANTRY_TEST_POSTGRES_URL is not set"));
            }
        }
        let options = ServerOptions::default();
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
        Self::start_with(&ServerOptions::default()).await
    }

    /// Starts a server that nobody shares, with settings of its own: from programs, else in a
    /// container.
    ///
    /// `TENANTRY_TEST_FIND` set to `docker` or `path` is obeyed; a server under a URL belongs to
    /// somebody else, so `url` has no say here.
    ///
    /// # Errors
    ///
    /// When there is nothing to start a server from ([`Error::is_missing`]), or it does not come up.
    pub async fn start_with(options: &ServerOptions) -> Result<Self> {
        let settings = Settings::from_env()?;
        if let Some(server) = Self::from_programs(&settings, options).await? {
            return Ok(server);
        }
        if let Some(server) = Self::in_container(&settings, options).await? {
            return Ok(server);
        }
        Err(missing(settings.way()))
    }

    /// Returns the URL of a superuser, on the database `postgres` unless the environment says
    /// otherwise.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        self.admin_url.as_str()
    }

    /// Returns the URL of the superuser on a database of this server.
    #[must_use]
    pub fn admin_url_for(&self, database: &str) -> String {
        let mut url = self.admin_url.clone();
        url.set_path(database);
        url.into()
    }

    /// Returns host and port, as [`DelayProxy::start`](crate::DelayProxy::start) takes them.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// Returns the URL of a role on a database of this server.
    #[must_use]
    pub fn url_for(&self, database: &str, user: &str, password: &str) -> String {
        url_for(&self.admin_url, database, user, password).into()
    }

    /// Runs SQL as the superuser; several statements, separated by semicolons, are one transaction.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses a statement.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        admin::execute(self.admin_url(), sql).await
    }

    /// Terminates the connection which the server process `pid` serves, as an operator would.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub async fn kill_backend(&self, pid: i32) -> Result<()> {
        let sql = format!("SELECT 1 / pg_terminate_backend({pid})::int");
        self.execute(&sql)
            .await
            .map_err(|error| Error::because(format!("no backend {pid} to terminate"), error))
    }

    /// Stops the server; returns when it has stopped.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or does not stop.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        match &self.control {
            Control::Nobody => Err(Error::new("a server under a URL is not ours to stop")),
            Control::Programs(programs) => {
                let programs = Arc::clone(programs);
                blocking(move || programs.stop(mode)).await
            }
            Control::Container(container) => container.stop(mode).await,
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
            Control::Nobody => {
                return Err(Error::new("a server under a URL is not ours to restart"));
            }
            Control::Programs(programs) => {
                let programs = Arc::clone(programs);
                blocking(move || programs.restart()).await?;
            }
            Control::Container(container) => container.restart().await?,
        }
        admin::until_ready(self.admin_url(), PATIENCE).await
    }

    pub(crate) fn host(&self) -> &str {
        self.admin_url.host_str().unwrap_or("localhost")
    }

    pub(crate) fn port(&self) -> u16 {
        self.admin_url.port().unwrap_or(5432)
    }

    pub(crate) const fn parsed_admin_url(&self) -> &Url {
        &self.admin_url
    }

    async fn borrowed(url: &str) -> Result<Self> {
        let invalid = "TENANTRY_TEST_POSTGRES_URL is no URL of a server on a host";
        let admin_url = Url::parse(url).map_err(|error| Error::because(invalid, error))?;
        if admin_url.host().is_none() || !admin_url.scheme().starts_with("postgres") {
            return Err(Error::new(invalid));
        }
        admin::until_ready(admin_url.as_str(), Duration::from_secs(10)).await?;
        Ok(Self {
            admin_url,
            control: Control::Nobody,
        })
    }

    async fn in_container(settings: &Settings, options: &ServerOptions) -> Result<Option<Self>> {
        if !matches!(settings.way(), None | Some(Way::Docker)) {
            return Ok(None);
        }
        let password = password();
        let mut command = vec!["postgres".to_owned()];
        for (name, value) in options.parameters() {
            command.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let contents = Contents {
            image: settings.image().to_owned(),
            port: 5432,
            command,
            variables: vec![("POSTGRES_PASSWORD", scram::verifier(&password))],
            files: Vec::new(),
        };
        let Some(container) = Container::start(settings, contents).await? else {
            return Ok(None);
        };
        let admin_url = admin_url(container.host(), container.port(), &password)?;
        admin::until_ready(admin_url.as_str(), PATIENCE).await?;
        Ok(Some(Self {
            admin_url,
            control: Control::Container(container),
        }))
    }

    async fn from_programs(settings: &Settings, options: &ServerOptions) -> Result<Option<Self>> {
        if !matches!(settings.way(), None | Some(Way::Path | Way::Url)) {
            return Ok(None);
        }
        let Some(folder) = programs::find(settings) else {
            return Ok(None);
        };
        let (options, password) = (options.clone(), password());
        let verifier = scram::verifier(&password);
        let prefix = settings.prefix().to_owned();
        let started =
            blocking(move || Programs::start(&folder, prefix, &options, &verifier)).await?;
        let admin_url = admin_url("127.0.0.1", started.port(), &password)?;
        admin::until_ready(admin_url.as_str(), PATIENCE).await?;
        Ok(Some(Self {
            admin_url,
            control: Control::Programs(Arc::new(started)),
        }))
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match &self.control {
            Control::Nobody => Way::Url,
            Control::Programs(_) => Way::Path,
            Control::Container(_) => Way::Docker,
        };
        f.debug_struct("PostgresServer")
            .field("address", &self.address())
            .field("way", &way)
            .finish_non_exhaustive()
    }
}

fn missing(forced: Option<Way>) -> Error {
    match forced {
        None | Some(Way::Url) => Error::missing(format!("no PostgreSQL server found: {INSTALL}")),
        Some(Way::Docker) => Error::missing(container::MISSING),
        Some(Way::Path) => Error::missing(
            "no PostgreSQL server programs (initdb, pg_ctl, postgres) on the PATH or under \
             /usr/lib/postgresql (Debian: `apt-get install postgresql`)",
        ),
    }
}

fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn admin_url(host: &str, port: u16, password: &str) -> Result<Url> {
    Url::parse(&format!(
        "postgres://postgres:{password}@{host}:{port}/postgres"
    ))
    .map_err(|error| Error::because("cannot write the URL of a server", error))
}

/// Returns the URL with another database, user and password, and the same parameters.
fn url_for(url: &Url, database: &str, user: &str, password: &str) -> Url {
    let mut url = url.clone();
    // Both fail only on a URL without a host, and there is none such here.
    let _ = url.set_username(user);
    let _ = url.set_password(Some(password));
    url.set_path(database);
    url
}

/// Runs something that blocks without stalling the test's runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::because("the work on a server was cut short", error))?
}
