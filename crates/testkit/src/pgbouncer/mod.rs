//! A pooler in transaction mode, as it stands in front of many production servers.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::keeper::{Keeper, Plan};
use crate::ports::Port;
use crate::postgres::{admin, blocking};
use crate::programs::{User, folder_with};
use crate::{Error, Login, PostgresServer, Result, Settings, ports};

const START: &str = r#"printf %s "$CONFIG" >"$FOLDER/pgbouncer.ini" && printf %s "$USERS" >"$FOLDER/users.txt" && cd "$FOLDER" && "$BIN/pgbouncer" -q -d pgbouncer.ini"#;
const KILL: &str = r#"kill -KILL "$(cat "$FOLDER/pgbouncer.pid")""#;

/// Who may pass a [`PgBouncer`], and through how many connections.
#[derive(Clone)]
pub struct PgBouncerOptions {
    pool_size: u32,
    users: Vec<(String, String)>,
}

impl PgBouncerOptions {
    /// Sets how many connections to the server each database and user have; two unless set.
    #[must_use]
    pub const fn with_pool_size(mut self, pool_size: u32) -> Self {
        self.pool_size = pool_size;
        self
    }

    /// Lets this role pass.
    #[must_use]
    pub fn with_login(self, login: &Login) -> Self {
        self.with_user(login.user(), login.password())
    }

    /// Lets a role of this name and password pass.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((user.into(), password.into()));
        self
    }
}

impl Default for PgBouncerOptions {
    fn default() -> Self {
        Self {
            pool_size: 2,
            users: Vec::new(),
        }
    }
}

impl fmt::Debug for PgBouncerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<&str> = self.users.iter().map(|(user, _)| user.as_str()).collect();
        f.debug_struct("PgBouncerOptions")
            .field("pool_size", &self.pool_size)
            .field("users", &users)
            .finish()
    }
}

/// A pooler between clients and a [`PostgresServer`]: a connection to the server is one client's
/// for a transaction, and then another's.
///
/// Every database of the server can be reached. The server's superuser may pass beside the roles
/// of the options; passwords are checked. It dies with this process, or when it is dropped.
#[derive(Debug)]
pub struct PgBouncer {
    /// Behind the keeper, which ends the program.
    _keeper: Keeper,
    port: Port,
}

impl PgBouncer {
    /// Starts the program `pgbouncer` in front of `server`.
    ///
    /// # Errors
    ///
    /// When the program is not installed ([`Error::is_missing`]), or does not come up.
    pub async fn start(server: &PostgresServer, options: PgBouncerOptions) -> Result<Self> {
        let settings = Settings::from_env()?;
        let further = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let folder =
            folder_with(&["pgbouncer"], settings.search_path(), further).ok_or_else(|| {
                Error::missing(
                    "no program `pgbouncer` on the PATH or in /usr/sbin \
                     (Debian: `apt-get install pgbouncer`)",
                )
            })?;
        let admin = server.parsed_admin_url();
        let options = options.with_user(admin.username(), admin.password().unwrap_or_default());
        let mut attempts = 3;
        loop {
            let port = ports::free()?;
            let plan = plan(
                &folder,
                settings.prefix().to_owned(),
                server,
                port.number(),
                &options,
            );
            let keeper = blocking(move || {
                let keeper = Keeper::start(&plan)?;
                keeper.run(START)?;
                Ok(keeper)
            })
            .await?;
            let url = ports::lead_through(admin.as_str(), at(port.number()))?;
            let Err(error) = admin::until_ready(&url, Duration::from_secs(10)).await else {
                return Ok(Self {
                    port,
                    _keeper: keeper,
                });
            };
            attempts -= 1;
            if attempts == 0 {
                let log = keeper.tail("pgbouncer.log");
                let message = format!("pgbouncer did not start, its log says\n{log}");
                return Err(Error::because(message, error));
            }
        }
    }

    /// Returns a URL of the server with the pooler in the server's place.
    ///
    /// # Errors
    ///
    /// When `url` is no URL with a host.
    pub fn url(&self, url: &str) -> Result<String> {
        ports::lead_through(url, at(self.port.number()))
    }

    /// Returns host and port, as [`DelayProxy::start`](crate::DelayProxy::start) takes them.
    #[must_use]
    pub fn address(&self) -> String {
        at(self.port.number()).to_string()
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn plan(
    folder: &Path,
    prefix: String,
    server: &PostgresServer,
    port: u16,
    options: &PgBouncerOptions,
) -> Plan {
    let config = format!(
        "[databases]\n\
         * = host={host} port={server_port}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = users.txt\n\
         pool_mode = transaction\n\
         default_pool_size = {pool_size}\n\
         max_client_conn = 500\n\
         ignore_startup_parameters = extra_float_digits,options,search_path\n\
         logfile = pgbouncer.log\n\
         pidfile = pgbouncer.pid\n",
        host = server.host(),
        server_port = server.port(),
        pool_size = options.pool_size,
    );
    let mut users = String::new();
    for (user, password) in &options.users {
        let [user, password] = [user, password].map(|text| text.replace('"', "\"\""));
        let _ = writeln!(users, "\"{user}\" \"{password}\"");
    }
    Plan {
        at_end: KILL,
        variables: vec![
            ("BIN", folder.into()),
            ("CONFIG", config.into()),
            ("USERS", users.into()),
        ],
        inherit: false,
        user: User::for_servers(),
        in_memory: true,
        prefix,
    }
}
