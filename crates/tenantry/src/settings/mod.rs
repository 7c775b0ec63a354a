use tenantry_store::{Error, ErrorKind, Result};

/// What [`Storage::open`](crate::Storage::open) opens: one URL or set of settings for each store.
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
    pub(crate) database: Database,
}

#[derive(Debug, Clone)]
pub(crate) enum Database {
    #[cfg(feature = "postgres")]
    Postgres(tenantry_store::PostgresSettings),
    #[cfg(feature = "sqlite")]
    Sqlite(tenantry_store::SqliteSettings),
}

impl Settings {
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
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "postgres" | "postgresql" => Self::from_postgres_url(url),
            "sqlite" => Self::from_sqlite_url(url),
            // Nothing of the URL is repeated: it may hold a password.
            _ => Err(Error::new(ErrorKind::InvalidSettings, "read settings")
                .with_detail("the database URL must begin with postgres:// or sqlite:")),
        }
    }

    #[cfg(feature = "postgres")]
    #[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
    fn from_postgres_url(url: &str) -> Result<Self> {
        Ok(tenantry_store::PostgresSettings::new(url).into())
    }

    #[cfg(not(feature = "postgres"))]
    fn from_postgres_url(_url: &str) -> Result<Self> {
        Err(without_feature("postgres"))
    }

    #[cfg(feature = "sqlite")]
    #[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
    fn from_sqlite_url(url: &str) -> Result<Self> {
        let path = url.trim_start_matches("sqlite:");
        let path = path.strip_prefix("//").unwrap_or(path);
        Ok(match path {
            ":memory:" => tenantry_store::SqliteSettings::in_memory(),
            path => tenantry_store::SqliteSettings::file(path),
        }
        .into())
    }

    #[cfg(not(feature = "sqlite"))]
    fn from_sqlite_url(_url: &str) -> Result<Self> {
        Err(without_feature("sqlite"))
    }
}

#[cfg(not(all(feature = "postgres", feature = "sqlite")))]
fn without_feature(feature: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "read settings").with_detail(format!(
        "add the feature `{feature}` to the dependency on tenantry"
    ))
}

#[cfg(feature = "postgres")]
impl From<tenantry_store::PostgresSettings> for Settings {
    fn from(settings: tenantry_store::PostgresSettings) -> Self {
        Self {
            database: Database::Postgres(settings),
        }
    }
}

#[cfg(feature = "sqlite")]
impl From<tenantry_store::SqliteSettings> for Settings {
    fn from(settings: tenantry_store::SqliteSettings) -> Self {
        Self {
            database: Database::Sqlite(settings),
        }
    }
}
