//! Which database is meant, and how it is connected to.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::PlatformStore;
use tenantry_store::postgres::{BootAudit, Pooler, PostgresSettings};

use crate::environment::Environment;

/// Where the database is.
#[derive(Debug, Args)]
pub(crate) struct Database {
    /// `postgres://role@host:port/database` or `sqlite:path`
    #[arg(long)]
    url: Option<String>,
    /// The schema of the services' tables, without it `public`; PostgreSQL only
    #[arg(long)]
    schema: Option<String>,
    /// What stands between the services and the server, if they are told of it
    #[arg(long, value_enum)]
    pooler: Option<Mode>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// A pooler in transaction mode, such as PgBouncer
    Transaction,
}

/// What an URL leads to.
pub(crate) enum Place {
    Server(Box<PostgresSettings>),
    /// The path of a file.
    File(String),
}

/// How long a look at a database may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// One statement of it.
    pub(crate) statement: Duration,
}

impl Limits {
    /// Lays them over the settings of a service.
    ///
    /// Walls with faults do not stop who looks: `tenantry audit` and `tenantry doctor` tell of them.
    pub(crate) fn over(self, settings: PostgresSettings) -> PostgresSettings {
        settings
            .with_statement_timeout(Some(self.statement))
            .with_boot_audit(BootAudit::Warn)
            .with_max_connections(2)
    }
}

impl Database {
    /// Returns whether an option says where the database is.
    pub(crate) const fn is_said(&self) -> bool {
        self.url.is_some()
    }

    /// Connects as the role for work across tenants, to look at what is there.
    ///
    /// # Errors
    ///
    /// Those of [`place`](Self::place) and of `PlatformStore`.
    pub(crate) async fn look(
        &self,
        operation: &'static str,
        limits: Limits,
    ) -> Result<PlatformStore> {
        match self.place(operation)? {
            Place::Server(settings) => PlatformStore::postgres(limits.over(*settings)).await,
            Place::File(path) => on_sqlite(operation, &path, Some(limits)).await,
        }
    }

    /// Refuses to be told of beside a file of settings, which says where the database is.
    ///
    /// # Errors
    ///
    /// `InvalidSettings`.
    pub(crate) fn check_unsaid(&self, operation: &'static str) -> Result<()> {
        match self.url.is_some() || self.schema.is_some() || self.pooler.is_some() {
            true => Err(Error::new(ErrorKind::InvalidSettings, operation).with_detail(
                "say where the database is once: --settings, or --url with --schema and --pooler",
            )),
            false => Ok(()),
        }
    }

    /// Returns the schema of the services' tables.
    pub(crate) fn schema(&self) -> &str {
        self.schema.as_deref().unwrap_or("public")
    }

    /// Finds out where the database is, by the options or the environment.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if there is no URL, or none that is known.
    pub(crate) fn place(&self, operation: &'static str) -> Result<Place> {
        let invalid =
            |detail| Error::new(ErrorKind::InvalidSettings, operation).with_detail(detail);
        let environment = Environment::from_env()?;
        let Some(url) = self.url.clone().or(environment.url) else {
            return Err(invalid(
                "say where the database is: --url or TENANTRY_DATABASE_URL",
            ));
        };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Place::File(path.to_owned()));
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(invalid("the URL must begin with postgres:// or sqlite:"));
        }
        let mut settings = PostgresSettings::new(url).with_schema(self.schema());
        if let Some(password) = environment.password {
            settings = settings.with_password(password);
        }
        if let Some(Mode::Transaction) = self.pooler {
            settings = settings.with_pooler(Pooler::TransactionMode);
        }
        Ok(Place::Server(Box::new(settings)))
    }

    /// Connects as the role for work across tenants.
    ///
    /// # Errors
    ///
    /// Those of [`place`](Self::place) and of `PlatformStore`.
    pub(crate) async fn platform(&self, operation: &'static str) -> Result<PlatformStore> {
        match self.place(operation)? {
            Place::Server(settings) => {
                PlatformStore::postgres(settings.with_max_connections(2)).await
            }
            Place::File(path) => on_sqlite(operation, &path, None).await,
        }
    }
}

#[cfg(feature = "sqlite")]
async fn on_sqlite(
    operation: &'static str,
    path: &str,
    limits: Option<Limits>,
) -> Result<PlatformStore> {
    if !std::path::Path::new(path).is_file() {
        // It would be made, and be empty.
        return Err(Error::new(ErrorKind::NotFound, operation)
            .with_subject(path.to_owned())
            .with_detail("there is no such file"));
    }
    let settings = tenantry_store::SqliteSettings::file(path);
    let settings = match limits {
        Some(limits) => settings.with_statement_timeout(Some(limits.statement)),
        None => settings,
    };
    PlatformStore::sqlite(settings).await
}

#[cfg(not(feature = "sqlite"))]
#[allow(clippy::unused_async, reason = "with the feature it waits")]
async fn on_sqlite(
    operation: &'static str,
    _path: &str,
    _limits: Option<Limits>,
) -> Result<PlatformStore> {
    Err(without_sqlite(operation))
}

#[cfg(not(feature = "sqlite"))]
pub(crate) fn without_sqlite(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_detail("this command was built without the feature `sqlite`")
}
