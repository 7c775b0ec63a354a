use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tenantry_core::{
    Error, ErrorKind, Result, Secret, SecretReference, SecretSource, SecretWatch, SharedClock,
    SystemClock,
};

/// How to reach PostgreSQL, and how to use it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_store::PostgresSettings;
///
/// let settings = PostgresSettings::new("postgres://tenantry_app@localhost/billing")
///     .with_max_connections(20)
///     .with_acquire_timeout(Duration::from_secs(2));
/// # drop(settings);
/// ```
#[derive(Clone)]
pub struct PostgresSettings {
    url: String,
    role: Option<String>,
    password: Password,
    pub(super) max_connections: u32,
    pub(super) acquire_timeout: Duration,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) silence: Option<Duration>,
    pub(super) pooler: Pooler,
    pub(super) boot_audit: BootAudit,
    pub(super) schema: String,
    pub(super) clock: SharedClock,
    pub(super) cursor_key: Vec<u8>,
    #[cfg(feature = "guard")]
    pub(super) trusted_functions: Vec<String>,
}

#[derive(Clone)]
enum Password {
    /// If there is one.
    OfUrl,
    Fixed(Arc<Secret>),
    From(Arc<dyn SecretSource>, SecretReference),
}

/// What stands between the service and the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooler {
    /// Nothing, or a pooler in session mode.
    #[default]
    None,
    /// A pooler in transaction mode, such as PgBouncer: a connection may meet another server
    /// process in each transaction, so no statement is kept prepared.
    TransactionMode,
}

impl Pooler {
    pub(super) const fn keeps_sessions(self) -> bool {
        matches!(self, Self::None)
    }
}

/// What a store does at connect about tables within its reach that the wall does not hold.
///
/// A role that gets round the wall, and a connection that names a tenant by itself, are refused in
/// either case. Warnings of the audit are logged in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BootAudit {
    /// Refuses to connect, and tells all findings.
    #[default]
    Refuse,
    /// Logs each finding as a warning of the target `tenantry::store`, and goes on: for a database
    /// with known faults that are being mended. Until they are, wall one stands alone there.
    Warn,
}

impl PostgresSettings {
    /// Takes a URL `postgres://role@host:port/database?sslmode=verify-full`.
    ///
    /// The role is the app role that `bootstrap` has made. A password in the URL is taken, but
    /// stands better in [`with_password`](Self::with_password).
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            role: None,
            password: Password::OfUrl,
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Some(Duration::from_secs(30)),
            silence: Some(Duration::from_secs(10)),
            pooler: Pooler::None,
            boot_audit: BootAudit::Refuse,
            schema: "public".to_owned(),
            clock: Arc::new(SystemClock),
            cursor_key: Vec::new(),
            #[cfg(feature = "guard")]
            trusted_functions: Vec::new(),
        }
    }

    /// Sets the role, in place of the one in the URL.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Sets the password of the role, in place of the one in the URL.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Arc<Secret>>) -> Self {
        self.password = Password::Fixed(password.into());
        self
    }

    /// Takes the password of the role from a reference, and goes on to the next one when it is
    /// rotated: nobody restarts the service, and no request fails.
    ///
    /// A store follows the secret. Once the server takes the new password, connections are opened with
    /// it, and those in use finish their work and are closed. If the server refuses a password, the
    /// vault is read again, and the connection is tried once more: with a newer one, or, while that
    /// is not set in the database yet, with the one before.
    /// For statements on a connection, the password counts at its start alone.
    ///
    /// Store the new one first and then `ALTER ROLE`: every process that runs then has one that lets
    /// in, at any moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tenantry_core::SecretSource;
    /// use tenantry_store::PostgresSettings;
    ///
    /// fn settings(secrets: Arc<dyn SecretSource>) -> tenantry_store::Result<PostgresSettings> {
    ///     Ok(PostgresSettings::new("postgres://tenantry_app@localhost/billing")
    ///         .with_password_from(secrets, "kv://billing-prod/db-password".parse()?))
    /// }
    /// ```
    #[must_use]
    pub fn with_password_from(
        mut self,
        source: Arc<dyn SecretSource>,
        reference: SecretReference,
    ) -> Self {
        self.password = Password::From(source, reference);
        self
    }

    /// Sets the largest number of connections, 10 by default, at least 1.
    #[must_use]
    pub const fn with_max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how long a call waits for a connection, 5 s by default.
    #[must_use]
    pub const fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets the longest time for a statement, 30 s by default; `None` for no limit.
    #[must_use]
    pub const fn with_statement_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Sets how long the server may owe an answer, 10 s by default; `None` to wait as long as TCP
    /// does, which can be a quarter of an hour.
    ///
    /// For a statement the time begins when its time-out is over: the server itself would have
    /// ended it. Without a time-out of statements only what the server does at once is limited, such
    /// as the begin of a unit of work. Then the connection is closed, and the call answers
    /// `Unavailable`, a commit `CommitUnknown`: a network that swallows packets, or a server that
    /// is frozen, holds nobody for longer.
    #[must_use]
    pub const fn with_silence_limit(mut self, limit: Option<Duration>) -> Self {
        self.silence = limit;
        self
    }

    /// Says what stands between the service and the server.
    #[must_use]
    pub const fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// Says what to do at connect about tables within reach that the wall does not hold; they are
    /// refused by default.
    #[must_use]
    pub const fn with_boot_audit(mut self, boot_audit: BootAudit) -> Self {
        self.boot_audit = boot_audit;
        self
    }

    /// Sets the schema of the tables, `public` by default.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Returns the schema of the tables.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Sets the clock that stamps the audit columns.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the key that seals cursors, the same for all instances of a service.
    ///
    /// Without it, a cursor shows whether it was altered by accident, and a client that knows the
    /// format can make one; it reads nothing through it but its own tenant's rows.
    #[must_use]
    pub fn with_cursor_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.cursor_key = key.into();
        self
    }

    /// Lets hand-written SQL call a function of the service's own, named `schema.name`, or one of the
    /// server's that the guard does not let pass, such as `pg_catalog.pg_advisory_xact_lock`.
    ///
    /// # Isolation
    ///
    /// The guard does not see what a function does. One that reads tables is held by row-level
    /// security alone.
    #[cfg(feature = "guard")]
    #[must_use]
    pub fn with_trusted_function(mut self, name: impl Into<String>) -> Self {
        self.trusted_functions.push(name.into());
        self
    }

    /// Returns how to connect once, with the password as it is now.
    pub(super) async fn connect_options(&self) -> Result<PgConnectOptions> {
        let options = self.options()?;
        Ok(match &self.password {
            Password::OfUrl => options,
            Password::Fixed(password) => options.password(password.expose()),
            Password::From(source, reference) => {
                options.password(source.resolve(reference).await?.expose())
            }
        })
    }

    /// Begins to follow the password, if it may change.
    pub(super) async fn watch(&self) -> Result<Option<Arc<dyn SecretWatch>>> {
        match &self.password {
            Password::From(source, reference) => source.watch(reference).await.map(Some),
            Password::OfUrl | Password::Fixed(_) => Ok(None),
        }
    }

    /// Returns how to connect, but for a password that is not in the URL.
    pub(super) fn options(&self) -> Result<PgConnectOptions> {
        if self.max_connections == 0 {
            return Err(Error::new(ErrorKind::InvalidSettings, "connect")
                .with_detail("max_connections must be at least 1"));
        }
        let unreadable = || {
            Error::new(ErrorKind::InvalidSettings, "connect")
                .with_detail("the URL cannot be parsed: write postgres://role@host:port/database")
        };
        // The parser takes the URL of any database.
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| self.url.starts_with(scheme))
        {
            return Err(unreadable());
        }
        // The driver would log a parameter that it does not know, with its value.
        if let Some(unknown) = unknown_parameter(&self.url) {
            return Err(
                Error::new(ErrorKind::InvalidSettings, "connect").with_detail(format!(
                    "the URL has a parameter {unknown} that is not known"
                )),
            );
        }
        // The text may hold a password, and the parser's message may repeat the text.
        let options = PgConnectOptions::from_str(&self.url).map_err(|_| unreadable())?;
        let options = options
            .application_name("tenantry")
            .disable_statement_logging();
        let options = match &self.role {
            Some(role) => options.username(role),
            None => options,
        };
        Ok(match self.pooler {
            Pooler::None => options,
            Pooler::TransactionMode => options.statement_cache_capacity(0),
        })
    }
}

/// The parameters that the driver reads from a URL.
const KNOWN_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Returns the name of a parameter that the driver does not read; shown only if it looks like one.
fn unknown_parameter(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .find(|key| {
            let is_known = KNOWN_PARAMETERS.contains(key);
            let is_option = ["options[", "options%5B", "options%5b"]
                .iter()
                .any(|option| key.starts_with(option));
            !key.is_empty() && !is_known && !is_option
        })
        .map(|key| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            if key.len() <= 32 && key.bytes().all(is_name) {
                key.to_owned()
            } else {
                "(not shown)".to_owned()
            }
        })
}

impl From<&str> for PostgresSettings {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for PostgresSettings {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl From<&Self> for PostgresSettings {
    fn from(settings: &Self) -> Self {
        settings.clone()
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("url", &"[redacted]")
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("silence", &self.silence)
            .field("pooler", &self.pooler)
            .field("boot_audit", &self.boot_audit)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
