//! What settings lead to, part by part: for whoever has to tell which of them is wrong.

#[cfg(any(feature = "blob", feature = "outbox"))]
use std::sync::Arc;

use std::time::Duration;

#[cfg(feature = "secrets")]
use tenantry_core::SecretReference;
use tenantry_core::Service;
use tenantry_store::{Error, ErrorKind, Result};

use super::open::Passwords;
use crate::settings::{Database, DatabaseKind, Settings};

/// What [`Settings`] lead to, where each part is made by itself and waits for no other.
///
/// [`Storage::open`](crate::Storage::open) opens all or nothing, as a service wants it. Here a vault that does
/// not open is told by `vaults`, and stands in the way of those parts alone whose password it has: what an
/// operator looks at, as the command `tenantry doctor` does.
///
/// # Isolation
///
/// It hands out the role for work across tenants: it is for operators, and not for what handles requests.
///
/// # Examples
///
/// ```
/// # #[cfg(all(feature = "sqlite", feature = "settings-file"))]
/// # mod example {
/// use std::time::Duration;
///
/// use tenantry::{DatabaseSettings, Parts, Settings};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # pub async fn main() -> tenantry::Result<()> {
/// let settings = Settings::from_toml("[database]\nurl = \"sqlite:/var/lib/billing/tenants.db\"")?;
/// let parts = Parts::of(&settings, Duration::from_secs(5)).await;
/// assert!(matches!(parts.database()?, DatabaseSettings::Sqlite(_)));
/// assert!(parts.platform().is_none());
/// # Ok(())
/// # }
/// # }
/// # #[cfg(all(feature = "sqlite", feature = "settings-file"))]
/// # example::main().unwrap();
/// ```
#[derive(Debug)]
pub struct Parts {
    settings: Settings,
    passwords: Passwords,
    /// Why the vaults did not open.
    failed: Option<Error>,
}

/// The settings of a database, with where its password comes from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DatabaseSettings {
    /// A server.
    #[cfg(feature = "postgres")]
    Postgres(tenantry_store::PostgresSettings),
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(tenantry_store::SqliteSettings),
}

impl Parts {
    /// Opens the vaults of the settings, and nothing else; those that take longer than the limit have not
    /// opened.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    pub async fn of(settings: &Settings, limit: Duration) -> Self {
        let opened = tokio::time::timeout(limit, Passwords::of(settings)).await;
        let (passwords, failed) = match opened {
            Ok(Ok(passwords)) => (passwords, None),
            Ok(Err(error)) => (Passwords::none(), Some(error)),
            Err(_) => {
                let error = Error::new(ErrorKind::Unavailable, "open")
                    .with_subject("vaults")
                    .with_detail(format!("no answer within {limit:?}"));
                (Passwords::none(), Some(error))
            }
        };
        Self {
            settings: settings.clone(),
            passwords,
            failed,
        }
    }

    /// Returns which service the settings are of, if they say it.
    #[must_use]
    pub const fn service(&self) -> Option<Service> {
        self.settings.service
    }

    /// Returns how to reach the database of the tenants.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if its password is in a vault that did not open.
    pub fn database(&self) -> Result<DatabaseSettings> {
        self.given_to(&self.settings.database, "database.password")
    }

    /// Returns how to reach it by the role for work across tenants, `None` where the settings name none.
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database).
    #[must_use]
    pub fn platform(&self) -> Option<Result<DatabaseSettings>> {
        let database = self.settings.platform.as_ref()?;
        Some(self.given_to(database, "platform.password"))
    }

    /// Returns where secrets come from, `None` where the settings name no vault and hold no reference.
    ///
    /// # Errors
    ///
    /// Why a vault did not open.
    #[cfg(feature = "secrets")]
    pub fn vaults(&self) -> Result<Option<&tenantry_secrets::Secrets>, &Error> {
        match &self.failed {
            Some(error) => Err(error),
            None => Ok(self.passwords.secrets()),
        }
    }

    /// Returns the references that the settings hold, each with the key that it stands under, such as
    /// `database.password`.
    #[cfg(feature = "secrets")]
    #[must_use]
    pub fn references(&self) -> Vec<(&'static str, &SecretReference)> {
        self.settings.references_by_key()
    }

    /// Returns the cache, `None` where the settings name none or the service has no such store.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if it can never work, or its password is in a vault that did not open.
    #[cfg(feature = "cache")]
    pub fn cache(&self) -> Result<Option<tenantry_cache::Cache>> {
        #[cfg(feature = "redis")]
        self.check_vault(self.settings.cache.has_password(), "cache.password")?;
        Ok(super::caches::open(&self.settings, &self.passwords)?.cache)
    }

    /// Returns where blobs are kept, `None` where the settings name no place or the service has no such store.
    /// A folder that is not there is made.
    ///
    /// # Errors
    ///
    /// Those of opening it, and `InvalidSettings` if its key is in a vault that did not open.
    #[cfg(feature = "blob")]
    pub async fn blobs(&self) -> Result<Option<Arc<dyn tenantry_blob::BlobBackend>>> {
        #[cfg(feature = "blob-azure")]
        {
            let blobs = self.settings.blobs.as_ref();
            let has_key = blobs.is_some_and(crate::settings::blobs::Blobs::has_key);
            self.check_vault(has_key, "blobs.key")?;
        }
        let blobs = super::blobs::open(&self.settings, &self.passwords).await?;
        Ok(blobs.map(|blobs| blobs.backend))
    }

    /// Returns the folder that blobs of the service are kept in, if it is one; nothing is opened.
    #[cfg(feature = "blob-fs")]
    #[must_use]
    pub fn blob_folder(&self) -> Option<&std::path::Path> {
        match super::blobs::place(&self.settings) {
            Some(crate::settings::blobs::Blobs::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    /// Returns what hands messages to the broker, `None` where the settings name none.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if it can never work, or its password is in a vault that did not open.
    #[cfg(feature = "outbox")]
    pub fn publisher(&self) -> Result<Option<Arc<dyn tenantry_outbox::Publisher>>> {
        #[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
        {
            let broker = self.settings.broker.as_ref();
            let has_login = broker.is_some_and(crate::settings::broker::Broker::has_login);
            self.check_vault(has_login, "broker.password")?;
        }
        Ok(super::messages::open(&self.settings, &self.passwords)?.publisher)
    }

    fn given_to(&self, database: &Database, key: &'static str) -> Result<DatabaseSettings> {
        self.check_vault(database.password.is_some(), key)?;
        Ok(match self.passwords.given_to(database)? {
            #[cfg(feature = "postgres")]
            DatabaseKind::Postgres(settings) => DatabaseSettings::Postgres(settings),
            #[cfg(feature = "sqlite")]
            DatabaseKind::Sqlite(settings) => DatabaseSettings::Sqlite(settings),
        })
    }

    /// Refuses a part whose password nobody can read.
    fn check_vault(&self, has_password: bool, key: &'static str) -> Result<()> {
        match &self.failed {
            Some(_) if has_password => Err(Error::new(ErrorKind::InvalidSettings, "open")
                .with_subject(key)
                .with_detail("it is in a vault that did not open")),
            _ => Ok(()),
        }
    }
}

#[cfg(all(
    test,
    feature = "settings-file",
    feature = "file-vault",
    feature = "postgres"
))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vault_that_does_not_open_stands_in_the_way_of_its_own_passwords_alone() {
        let settings = Settings::from_toml(
            "[database]\nurl = \"postgres://app@127.0.0.1:1/a\"\npassword = \"kv://local/db\"\n\
             [platform]\nurl = \"postgres://platform@127.0.0.1:1/a\"\n\
             [[vaults]]\nname = \"local\"\nurl = \"file:/nowhere/vault.age\"\nkey_file = \"/nowhere/key\"\n",
        )
        .unwrap();
        let parts = Parts::of(&settings, Duration::from_secs(60)).await;
        assert_eq!(
            parts.vaults().unwrap_err().kind(),
            ErrorKind::InvalidSettings
        );
        let error = parts.database().unwrap_err();
        assert_eq!(
            (error.kind(), error.subject()),
            (ErrorKind::InvalidSettings, "database.password")
        );
        assert!(matches!(
            parts.platform(),
            Some(Ok(DatabaseSettings::Postgres(_)))
        ));
        let keys: Vec<_> = parts.references().iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["database.password"]);
    }
}
