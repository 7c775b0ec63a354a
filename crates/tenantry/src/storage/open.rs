//! Opening what the settings name, and nothing that the service has no store for.

use std::sync::Arc;

use tenantry_core::{SecretSource, Service};
use tenantry_store::{Error, ErrorKind, PlatformStore, Result, TenantStore};

use super::{Inner, Storage};
use crate::settings::{Database, DatabaseKind, Settings, without_feature};

impl Storage {
    /// Opens what the settings name.
    ///
    /// The database has to be there, and so has a vault that a password comes from. Redis, a broker and an
    /// account of blobs are reached when they are used first: a service starts without them, and
    /// [`health`](Self::health) tells of it. Of a section in which the service has no store, nothing is
    /// opened.
    ///
    /// # Errors
    ///
    /// As `TenantStore::postgres` and `TenantStore::sqlite`; the kinds of a vault that does not give a
    /// password; `InvalidSettings` for what can never work.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what was open is closed.
    pub async fn open(settings: &Settings) -> Result<Self> {
        let passwords = Passwords::of(settings).await?;
        let store = tenant_store(&settings.database, &passwords).await?;
        let platform = match &settings.platform {
            Some(database) => Some(platform_store(database, &passwords).await?),
            None => None,
        };
        let inner = Inner {
            service: settings.service,
            system: settings.database.system(),
            platform,
            #[cfg(feature = "cache")]
            caches: super::caches::open(settings, &passwords)?,
            #[cfg(feature = "blob")]
            blobs: super::blobs::open(settings, &passwords).await?,
            #[cfg(feature = "outbox")]
            messages: super::messages::open(settings, &passwords)?,
            #[cfg(feature = "secrets")]
            secrets: passwords.secrets,
            is_closed: false.into(),
        };
        Ok(Self {
            store,
            inner: Arc::new(inner),
        })
    }

    /// Opens what the storage map gives to a service, and nothing else of the settings: the same as the key
    /// `service` of a file, or [`Settings::with_service`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and `InvalidSettings` if the settings are of another service.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(feature = "sqlite", feature = "blob-fs"))]
    /// # mod example {
    /// use tenantry::core::{Service, Store};
    /// use tenantry::{ErrorKind, Settings, Storage};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let settings = Settings::embedded(folder.path())?;
    /// let storage = Storage::for_service(&settings, Service::Notification).await?;
    /// storage.blobs(Store::NotificationAttachments)?;
    ///
    /// let foreign = storage.blobs(Store::ReportArtifacts).unwrap_err();
    /// assert_eq!(foreign.kind(), ErrorKind::PermissionDenied);
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(all(feature = "sqlite", feature = "blob-fs"))]
    /// # example::main().unwrap();
    /// ```
    pub async fn for_service(settings: &Settings, service: Service) -> Result<Self> {
        match settings.service {
            Some(other) if other != service => Err(Error::new(ErrorKind::InvalidSettings, "open")
                .with_subject("service")
                .with_detail(format!(
                    "the settings are of the service {other}, and this one is {service}"
                ))),
            _ => Self::open(&settings.clone().with_service(service)).await,
        }
    }
}

/// Where the passwords of settings come from.
#[derive(Debug)]
pub(super) struct Passwords {
    #[cfg(feature = "secrets")]
    secrets: Option<tenantry_secrets::Secrets>,
}

impl Passwords {
    #[cfg(feature = "secrets")]
    pub(super) async fn of(settings: &Settings) -> Result<Self> {
        let secrets = super::secrets::open(settings).await?;
        Ok(Self { secrets })
    }

    #[cfg(not(feature = "secrets"))]
    pub(super) async fn of(_settings: &Settings) -> Result<Self> {
        Ok(Self {})
    }

    /// Returns what has none.
    pub(super) const fn none() -> Self {
        Self {
            #[cfg(feature = "secrets")]
            secrets: None,
        }
    }

    #[cfg(feature = "secrets")]
    pub(super) const fn secrets(&self) -> Option<&tenantry_secrets::Secrets> {
        self.secrets.as_ref()
    }

    #[allow(
        dead_code,
        reason = "SQLite and what is in the process have no password"
    )]
    pub(super) fn source(&self) -> Result<Arc<dyn SecretSource>> {
        #[cfg(feature = "secrets")]
        if let Some(secrets) = &self.secrets {
            return Ok(Arc::new(secrets.clone()));
        }
        Err(without_feature("", "secrets"))
    }

    /// Returns the settings of a database, which follow its password.
    pub(super) fn given_to(&self, database: &Database) -> Result<DatabaseKind> {
        Ok(match (&database.kind, &database.password) {
            #[cfg(feature = "postgres")]
            (DatabaseKind::Postgres(settings), Some(password)) => DatabaseKind::Postgres(
                settings
                    .clone()
                    .with_password_from(self.source()?, password.clone()),
            ),
            (kind, _) => kind.clone(),
        })
    }
}

async fn tenant_store(database: &Database, passwords: &Passwords) -> Result<TenantStore> {
    match passwords.given_to(database)? {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres(settings) => TenantStore::postgres(settings).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite(settings) => TenantStore::sqlite(settings).await,
    }
}

async fn platform_store(database: &Database, passwords: &Passwords) -> Result<PlatformStore> {
    match passwords.given_to(database)? {
        #[cfg(feature = "postgres")]
        DatabaseKind::Postgres(settings) => PlatformStore::postgres(settings).await,
        #[cfg(feature = "sqlite")]
        DatabaseKind::Sqlite(settings) => PlatformStore::sqlite(settings).await,
    }
}
