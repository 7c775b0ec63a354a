//! What a service opens: from one file and the environment, or made in code.

#[cfg(feature = "blob")]
#[cfg_attr(
    not(feature = "settings-file"),
    allow(dead_code, reason = "a file alone names all of it")
)]
pub(crate) mod blobs;
#[cfg(feature = "outbox")]
#[cfg_attr(
    not(feature = "settings-file"),
    allow(dead_code, reason = "a file alone names all of it")
)]
pub(crate) mod broker;
#[cfg(feature = "cache")]
#[cfg_attr(
    not(feature = "settings-file"),
    allow(dead_code, reason = "a file alone names all of it")
)]
pub(crate) mod cache;
mod database;
#[cfg(feature = "settings-file")]
#[cfg_attr(
    not(all(feature = "postgres", feature = "blob-azure", feature = "secrets")),
    allow(dead_code, reason = "each section asks for other kinds of values")
)]
mod file;
#[cfg(feature = "settings-file")]
mod read;
#[cfg(feature = "settings-file")]
#[cfg_attr(
    not(all(feature = "blob-fs", feature = "blob-azure")),
    allow(dead_code, reason = "each section leads to other places")
)]
mod url;
#[cfg(feature = "secrets")]
#[cfg_attr(
    not(feature = "settings-file"),
    allow(dead_code, reason = "a file alone names all of it")
)]
pub(crate) mod vaults;

#[cfg(any(feature = "cache", feature = "blob", feature = "outbox"))]
use std::sync::Arc;

#[cfg(feature = "secrets")]
use tenantry_core::SecretReference;
use tenantry_core::Service;
use tenantry_store::{Error, ErrorKind, Result};

#[cfg(feature = "blob")]
use self::blobs::Blobs;
#[cfg(feature = "outbox")]
use self::broker::Broker;
#[cfg(feature = "cache")]
use self::cache::CacheSettings;
#[cfg(feature = "sqlite")]
pub(crate) use self::database::embedded_database;
pub(crate) use self::database::{Database, DatabaseKind};
#[cfg(feature = "secrets")]
use self::vaults::Vaults;

/// What errors of settings call what was done.
pub(crate) const READ: &str = "read settings";

/// What [`Storage::open`](crate::Storage::open) opens: a URL or the settings of a backend for each store.
///
/// A service has a database in any case, and of the rest what it says. A file has it all in one place:
///
/// ```toml
/// service = "reporting"                       # opens what the storage map gives it, and no more
///
/// [database]
/// url = "postgres://reporting_app@db.internal/reporting"
/// password = "kv://reporting-prod/db-password"
///
/// [blobs]
/// url = "https://reporting.blob.core.windows.net"
/// layout = "container-per-tenant"
/// name = "artifacts"
/// credential = "managed-identity"
///
/// [broker]
/// url = "tls://nats.internal:4222"
/// stream = "EVENTS"
/// source = "/services/reporting"
/// user = "reporting"
/// password = "kv://reporting-prod/nats-password"
///
/// [[vaults]]
/// url = "https://reporting-prod.vault.azure.net"
/// credential = "managed-identity"
/// ```
///
/// The page on [opening everything](https://github.com/tenantry/tenantry/blob/main/docs/storage.md) has all
/// keys. What no file can say is made in code and put beside it, by the methods `with_…`.
///
/// # Examples
///
/// ```
/// use tenantry::Settings;
///
/// let settings = Settings::from_url("sqlite:/var/lib/billing/tenants.db")?;
/// # drop(settings);
/// assert!(Settings::from_url("mysql://localhost").is_err());
/// # Ok::<(), tenantry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) service: Option<Service>,
    pub(crate) database: Database,
    pub(crate) platform: Option<Database>,
    #[cfg(feature = "cache")]
    pub(crate) cache: CacheSettings,
    #[cfg(feature = "blob")]
    pub(crate) blobs: Option<Blobs>,
    #[cfg(feature = "outbox")]
    pub(crate) broker: Option<Broker>,
    /// The most bytes of a payload of the outbox.
    #[cfg(feature = "outbox")]
    pub(crate) outbox_bytes: Option<usize>,
    #[cfg(feature = "secrets")]
    pub(crate) vaults: Vaults,
}

impl Settings {
    pub(crate) fn of_database(database: Database) -> Self {
        Self {
            service: None,
            database,
            platform: None,
            #[cfg(feature = "cache")]
            cache: CacheSettings::default(),
            #[cfg(feature = "blob")]
            blobs: None,
            #[cfg(feature = "outbox")]
            broker: None,
            #[cfg(feature = "outbox")]
            outbox_bytes: None,
            #[cfg(feature = "secrets")]
            vaults: Vaults::default(),
        }
    }

    /// Chooses the database by a URL: `postgres://role@host/database`, `sqlite:///absolute/path`,
    /// `sqlite:relative/path` or `sqlite::memory:`.
    ///
    /// The path of SQLite is taken as it stands, without parameters and escapes. All other
    /// settings are the defaults; for others, make the backend's settings and turn them into these.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for another scheme, `Unsupported` if the feature of the backend is off.
    pub fn from_url(url: &str) -> Result<Self> {
        Database::from_url(url).map(Self::of_database)
    }

    /// Returns the settings of everything inside one folder, with nothing installed, which
    /// [`Storage::embedded`](crate::Storage::embedded) opens; makes the folder if it is not there.
    ///
    /// The database is `tenants.db` there, an SQLite file, for tenants and across them. With their features
    /// there are a cache in the process, blobs in `blobs`, a broker in the process, and the vault `local` in
    /// `vault.age`, whose key lies beside it: for a developer's machine, and for a product that runs on one.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the folder cannot be made.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry::core::Service;
    /// use tenantry::{Settings, Storage};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let settings = Settings::embedded(folder.path())?.with_service(Service::Reporting);
    /// let storage = Storage::open(&settings).await?;
    /// # storage.close().await;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn embedded(folder: impl AsRef<std::path::Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let database = Self::from(embedded_database(folder)?);
        let settings = database.clone().with_platform(database);
        #[cfg(feature = "cache")]
        let settings = Self {
            cache: CacheSettings::in_memory(),
            ..settings
        };
        #[cfg(feature = "blob-fs")]
        let settings = Self {
            blobs: Some(Blobs::Folder(folder.join("blobs"))),
            ..settings
        };
        #[cfg(feature = "outbox")]
        let settings = Self {
            broker: Some(Broker::Memory),
            ..settings
        };
        #[cfg(feature = "file-vault")]
        let settings = Self {
            vaults: Vaults::local(folder),
            ..settings
        };
        Ok(settings)
    }

    /// Says which service it is: it opens what the storage map gives to it, and asking for another's store is
    /// an error.
    #[must_use]
    pub const fn with_service(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Adds the database role for work across tenants: of outbox workers, of replays of a cache, of sweepers.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry::{Settings, SqliteSettings};
    ///
    /// let database = SqliteSettings::file("/var/lib/billing/tenants.db");
    /// let settings = Settings::from(database.clone()).with_platform(database);
    /// # drop(settings);
    /// ```
    #[must_use]
    pub fn with_platform(mut self, database: impl Into<Self>) -> Self {
        self.platform = Some(database.into().database);
        self
    }

    /// Sets the cache, in place of what a file says.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn with_cache(mut self, cache: tenantry_cache::Cache) -> Self {
        self.cache.made = Some(cache);
        self
    }

    /// Sets where rate limits are counted, in place of what a file says: a
    /// [`LeasedLimits`](tenantry_cache::LeasedLimits), for one.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn with_rate_limits(mut self, limits: Arc<dyn tenantry_cache::RateLimits>) -> Self {
        self.cache.limits = Some(limits);
        self
    }

    /// Sets where sessions are kept, in place of what a file says.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn with_session_store(mut self, sessions: Arc<dyn tenantry_cache::SessionStore>) -> Self {
        self.cache.sessions = Some(sessions);
        self
    }

    /// Sets the server for cache, rate limits and sessions, in place of what a file says.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn with_redis(mut self, redis: tenantry_cache::RedisSettings) -> Self {
        self.cache.place = Some(cache::CachePlace::Redis {
            settings: Box::new(redis),
            password: None,
        });
        self
    }

    /// Sets where blobs are kept, in place of what a file says: an `EncryptedBlobs` before another, for one.
    #[cfg(feature = "blob")]
    #[must_use]
    pub fn with_blobs(mut self, backend: Arc<dyn tenantry_blob::BlobBackend>) -> Self {
        self.blobs = Some(Blobs::Made(backend));
        self
    }

    /// Sets the broker, in place of what a file says.
    #[cfg(feature = "outbox")]
    #[must_use]
    pub fn with_broker(mut self, publisher: Arc<dyn tenantry_outbox::Publisher>) -> Self {
        self.broker = Some(Broker::Made(publisher));
        self
    }

    /// Sets where references lead, in place of the vaults of a file: passwords of the other settings are
    /// taken from there and followed.
    #[cfg(feature = "secrets")]
    #[must_use]
    pub fn with_secrets(mut self, secrets: tenantry_secrets::Secrets) -> Self {
        self.vaults.made = Some(secrets);
        self
    }

    /// Returns the references that the settings themselves hold.
    #[cfg(feature = "secrets")]
    pub(crate) fn references(&self) -> Vec<&SecretReference> {
        let references = self.references_by_key().into_iter();
        references.map(|(_, reference)| reference).collect()
    }

    /// Returns the same, each with the key that it stands under.
    #[cfg(feature = "secrets")]
    pub(crate) fn references_by_key(&self) -> Vec<(&'static str, &SecretReference)> {
        let platform = self.platform.as_ref();
        #[allow(unused_mut, reason = "a database alone has no more")]
        let mut references = vec![
            ("database.password", self.database.password.as_ref()),
            (
                "platform.password",
                platform.and_then(|it| it.password.as_ref()),
            ),
        ];
        #[cfg(feature = "redis")]
        references.push(("cache.password", self.cache.password()));
        #[cfg(feature = "blob-azure")]
        references.push(("blobs.key", self.blobs.as_ref().and_then(Blobs::key)));
        #[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
        references.push((
            "broker.password",
            self.broker.as_ref().and_then(Broker::password),
        ));
        let references = references.into_iter();
        references
            .filter_map(|(key, reference)| Some((key, reference?)))
            .collect()
    }
}

#[cfg(feature = "postgres")]
impl From<tenantry_store::PostgresSettings> for Settings {
    fn from(settings: tenantry_store::PostgresSettings) -> Self {
        Self::of_database(DatabaseKind::Postgres(settings).into())
    }
}

#[cfg(feature = "sqlite")]
impl From<tenantry_store::SqliteSettings> for Settings {
    fn from(settings: tenantry_store::SqliteSettings) -> Self {
        Self::of_database(DatabaseKind::Sqlite(settings).into())
    }
}

/// Says which feature has what the settings ask for.
#[allow(dead_code, reason = "with all features on, nothing is missing")]
pub(crate) fn without_feature(subject: &str, feature: &str) -> Error {
    let error = Error::new(ErrorKind::Unsupported, READ).with_detail(format!(
        "add the feature `{feature}` to the dependency on tenantry"
    ));
    match subject {
        "" => error,
        subject => error.with_subject(subject.to_owned()),
    }
}

#[cfg(all(test, feature = "settings-file"))]
mod tests;
