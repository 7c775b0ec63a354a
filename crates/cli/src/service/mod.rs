//! The settings of a service, read as the service reads them.

use std::path::PathBuf;

use clap::Args;
use tenantry::{DatabaseSettings, Parts, Settings};
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::PlatformStore;

use crate::database::Limits;

/// Where the settings are.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsFile {
    /// The settings file of a service, in TOML; variables such as TENANTRY__DATABASE__URL are laid over it
    #[arg(long = "settings", value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
}

impl SettingsFile {
    /// Reads the file with the environment over it, or the environment alone.
    ///
    /// # Errors
    ///
    /// Those of [`Settings::from_file`].
    pub(crate) fn read(&self) -> Result<Settings> {
        let read = match &self.path {
            Some(path) => Settings::from_file(path),
            None => Settings::from_env(),
        };
        read.map_err(of_command)
    }
}

/// Tells which feature of this command is missing, where the facade tells which of its own.
fn of_command(error: Error) -> Error {
    let feature = match error.kind() {
        ErrorKind::Unsupported => error.detail().split('`').nth(1),
        _ => None,
    };
    match feature {
        Some(feature) => {
            let detail = format!(
                "this command was built without the feature `{feature}`: build it with --features {feature}"
            );
            error.with_detail(detail)
        }
        None => error,
    }
}

/// Connects by the role for work across tenants that the settings name.
///
/// # Errors
///
/// `InvalidSettings` if they name none; those of `PlatformStore`.
pub(crate) async fn platform(
    operation: &'static str,
    parts: &Parts,
    limits: Limits,
) -> Result<PlatformStore> {
    match parts.platform() {
        Some(database) => connect(operation, database?, limits).await,
        None => Err(Error::new(ErrorKind::InvalidSettings, operation)
            .with_subject("platform")
            .with_detail(
                "add a section [platform] with the url of the role for work across tenants to the settings",
            )),
    }
}

/// Connects by the role for work across tenants.
pub(crate) async fn connect(
    operation: &'static str,
    database: DatabaseSettings,
    limits: Limits,
) -> Result<PlatformStore> {
    match database {
        DatabaseSettings::Postgres(settings) => {
            PlatformStore::postgres(limits.over(settings)).await
        }
        #[cfg(feature = "sqlite")]
        DatabaseSettings::Sqlite(settings) => {
            // It would be made, and be empty.
            tenantry_store::sqlite::probe(&settings).await?;
            let settings = settings.with_statement_timeout(Some(limits.statement));
            PlatformStore::sqlite(settings).await
        }
        _ => Err(Error::new(ErrorKind::Unsupported, operation)
            .with_detail("this command does not know this kind of database")),
    }
}
