//! Settings from one file and the environment.

use std::path::Path;

use tenantry_store::{Error, Result};

#[cfg(feature = "blob")]
use super::Blobs;
#[cfg(feature = "outbox")]
use super::Broker;
#[cfg(feature = "cache")]
use super::CacheSettings;
use super::file::{self, Section};
use super::{Database, Settings};

impl Settings {
    /// Reads a file in TOML, and lays the variables of the environment over it: `TENANTRY__DATABASE__URL` is
    /// `url` of `[database]`, and so on. Lists, which are `[[vaults]]`, stand in the file alone.
    ///
    /// It waits for the disk: call it when the process starts.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if the file cannot be read, and as [`from_toml`](Self::from_toml); variables that
    /// begin with `TENANTRY__` and name no key are refused as keys of the file are.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry::Settings;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("settings.toml");
    /// std::fs::write(&path, "[database]\nurl = \"sqlite:/var/lib/billing/tenants.db\"")?;
    /// let settings = Settings::from_file(&path)?;
    /// # drop(settings);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let of_file = |error: Error| match error.subject() {
            "" => error.with_subject(path.display().to_string()),
            _ => error,
        };
        let text = std::fs::read_to_string(path).map_err(|cause| {
            of_file(file::invalid("", "the file cannot be read")).with_source(cause)
        })?;
        Self::from_toml_with(&text, file::variables()?).map_err(of_file)
    }

    /// Reads settings from the environment alone, as [`from_file`](Self::from_file) does.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml).
    pub fn from_env() -> Result<Self> {
        Self::from_toml_with("", file::variables()?)
    }

    /// Reads settings from a text in TOML, and nothing from the environment.
    ///
    /// # Errors
    ///
    /// - `InvalidSettings`: it is no TOML, a key is missing, not known or has a value that is none, or a
    ///   URL has a password in it. The error names line or key, and repeats no value.
    /// - `Unsupported`: what it asks for is not compiled in; the error names the feature to add.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry::{ErrorKind, Settings};
    ///
    /// let settings = Settings::from_toml(
    ///     r#"
    ///     [database]
    ///     url = "sqlite::memory:"
    ///     "#,
    /// )?;
    /// # drop(settings);
    ///
    /// let typo = Settings::from_toml("[database]\nurl = \"sqlite::memory:\"\nshema = \"a\"").unwrap_err();
    /// assert_eq!(typo.kind(), ErrorKind::InvalidSettings);
    /// assert_eq!(typo.subject(), "database.shema");
    /// # Ok::<(), tenantry::Error>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::from_toml_with(text, [])
    }

    /// Reads settings from a text in TOML, with variables laid over it that are handed in.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml).
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry::Settings;
    ///
    /// let variables = [("TENANTRY__DATABASE__URL", "sqlite::memory:"), ("HOME", "/root")];
    /// let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// let settings = Settings::from_toml_with("", variables)?;
    /// # drop(settings);
    /// # Ok::<(), tenantry::Error>(())
    /// ```
    pub fn from_toml_with(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut file = Section::read(text, variables)?;
        let service = file.parsed("service")?;
        let database = file.section("database")?;
        let database =
            database.ok_or_else(|| file.refuse("database", "expected a section with a url"))?;
        let mut settings = Self::of_database(Database::read(database)?);
        settings.service = service;
        settings.platform = file.section("platform")?.map(Database::read).transpose()?;

        let cache = file.section("cache")?;
        #[cfg(feature = "cache")]
        if let Some(cache) = cache {
            settings.cache = CacheSettings::read(cache)?;
        }
        #[cfg(not(feature = "cache"))]
        refuse_section(cache.as_ref(), "cache", "cache")?;

        let blobs = file.section("blobs")?;
        #[cfg(feature = "blob")]
        if let Some(blobs) = blobs {
            settings.blobs = Some(Blobs::read(blobs)?);
        }
        #[cfg(not(feature = "blob"))]
        refuse_section(blobs.as_ref(), "blobs", "blob")?;

        let broker = file.section("broker")?;
        #[cfg(feature = "outbox")]
        if let Some(broker) = broker {
            settings.broker = Some(Broker::read(broker)?);
        }
        #[cfg(not(feature = "outbox"))]
        refuse_section(broker.as_ref(), "broker", "outbox")?;

        let outbox = file.section("outbox")?;
        #[cfg(feature = "outbox")]
        if let Some(mut outbox) = outbox {
            settings.outbox_bytes = outbox.number("most_bytes")?;
            outbox.end()?;
        }
        #[cfg(not(feature = "outbox"))]
        refuse_section(outbox.as_ref(), "outbox", "outbox")?;

        let vaults = file.sections("vaults")?;
        #[cfg(feature = "secrets")]
        for vault in vaults {
            settings.vaults.read(vault)?;
        }
        #[cfg(not(feature = "secrets"))]
        refuse_section(vaults.first(), "vaults", "secrets")?;

        file.end()?;
        Ok(settings)
    }
}

#[allow(dead_code, reason = "with all features on, nothing is missing")]
fn refuse_section(section: Option<&Section>, key: &str, feature: &str) -> Result<()> {
    match section {
        Some(_) => Err(super::without_feature(key, feature)),
        None => Ok(()),
    }
}
