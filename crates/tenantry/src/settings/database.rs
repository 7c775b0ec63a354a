use tenantry_core::SecretReference;
use tenantry_store::{Error, ErrorKind, Result};

use super::READ;
#[cfg(feature = "settings-file")]
use super::{file::Section, url::UserInUrl};

/// A database, and where the password of its role is.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) kind: DatabaseKind,
    /// Where the settings of the backend do not say it themselves.
    pub(crate) password: Option<SecretReference>,
}

#[derive(Debug, Clone)]
pub(crate) enum DatabaseKind {
    #[cfg(feature = "postgres")]
    Postgres(tenantry_store::PostgresSettings),
    #[cfg(feature = "sqlite")]
    Sqlite(tenantry_store::SqliteSettings),
}

impl From<DatabaseKind> for Database {
    fn from(kind: DatabaseKind) -> Self {
        Self {
            kind,
            password: None,
        }
    }
}

impl Database {
    pub(super) fn from_url(url: &str) -> Result<Self> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "postgres" | "postgresql" => of_postgres(url),
            "sqlite" => of_sqlite(url),
            // Nothing of the URL is repeated: it may hold a password.
            _ => Err(Error::new(ErrorKind::InvalidSettings, READ)
                .with_detail("the database URL must begin with postgres:// or sqlite:")),
        }
    }

    /// Returns what spans and metrics call the database.
    pub(crate) const fn system(&self) -> &'static str {
        match &self.kind {
            #[cfg(feature = "postgres")]
            DatabaseKind::Postgres(_) => "postgresql",
            #[cfg(feature = "sqlite")]
            DatabaseKind::Sqlite(_) => "sqlite",
        }
    }

    #[cfg(feature = "settings-file")]
    pub(super) fn read(mut section: Section) -> Result<Self> {
        let url = section.url()?;
        let known = ["postgres", "postgresql", "sqlite"];
        if !known.contains(&url.scheme.as_str()) {
            return Err(section.unknown_scheme("postgres:// or sqlite:"));
        }
        section.refuse_password(&url, UserInUrl::Allowed)?;
        let database = Self::from_url(&url.text).map_err(|error| section.of_url(error))?;
        let database = match database.kind {
            #[cfg(feature = "postgres")]
            DatabaseKind::Postgres(settings) => Self {
                kind: DatabaseKind::Postgres(with_keys(&mut section, settings)?),
                password: section.password("password")?,
            },
            // What is said of roles and servers is not known there.
            #[cfg(feature = "sqlite")]
            DatabaseKind::Sqlite(_) => database,
        };
        section.end()?;
        Ok(database)
    }
}

/// Returns the SQLite file of a folder, which is made if it is not there.
#[cfg(feature = "sqlite")]
pub(crate) fn embedded_database(
    folder: &std::path::Path,
) -> Result<tenantry_store::SqliteSettings> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "open")
            .with_subject(folder.display().to_string())
            .with_detail("the folder cannot be made")
            .with_source(error)
    })?;
    Ok(tenantry_store::SqliteSettings::file(
        folder.join("tenants.db"),
    ))
}

#[cfg(all(feature = "settings-file", feature = "postgres"))]
fn with_keys(
    section: &mut Section,
    mut settings: tenantry_store::PostgresSettings,
) -> Result<tenantry_store::PostgresSettings> {
    use tenantry_store::Pooler;

    if let Some(schema) = section.text("schema")? {
        settings = settings.with_schema(schema);
    }
    if let Some(most) = section.number("max_connections")? {
        settings = settings.with_max_connections(most);
    }
    let poolers = [
        ("none", Pooler::None),
        ("transaction-mode", Pooler::TransactionMode),
    ];
    if let Some(pooler) = section.word("pooler", &poolers)? {
        settings = settings.with_pooler(pooler);
    }
    Ok(settings)
}

#[cfg(feature = "postgres")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn of_postgres(url: &str) -> Result<Database> {
    Ok(DatabaseKind::Postgres(tenantry_store::PostgresSettings::new(url)).into())
}

#[cfg(not(feature = "postgres"))]
fn of_postgres(_url: &str) -> Result<Database> {
    Err(super::without_feature("", "postgres"))
}

#[cfg(feature = "sqlite")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn of_sqlite(url: &str) -> Result<Database> {
    let path = url.trim_start_matches("sqlite:");
    let path = path.strip_prefix("//").unwrap_or(path);
    let settings = match path {
        ":memory:" => tenantry_store::SqliteSettings::in_memory(),
        path => tenantry_store::SqliteSettings::file(path),
    };
    Ok(DatabaseKind::Sqlite(settings).into())
}

#[cfg(not(feature = "sqlite"))]
fn of_sqlite(_url: &str) -> Result<Database> {
    Err(super::without_feature("", "sqlite"))
}
