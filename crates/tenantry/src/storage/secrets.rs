//! Where the references of a service lead.

use std::path::Path;
#[cfg(any(feature = "key-vault", feature = "file-vault"))]
use std::sync::Arc;

use tenantry_core::{SecretLocation, Store};
use tenantry_secrets::{Secrets, SecretsBuilder};
use tenantry_store::{Error, ErrorKind, Result};

use super::Storage;
use super::ownership::{check, missing};
use crate::settings::Settings;
use crate::settings::vaults::VaultPlace;

/// Opens the vaults; nothing where the settings name none and hold no reference.
pub(super) async fn open(settings: &Settings) -> Result<Option<Secrets>> {
    let vaults = &settings.vaults;
    if let Some(made) = &vaults.made {
        return match vaults.places.is_empty() {
            true => Ok(Some(made.clone())),
            false => Err(Error::new(ErrorKind::InvalidSettings, "open")
                .with_subject("vaults")
                .with_detail("the settings name vaults, and others were made in code")),
        };
    }
    let references = settings.references();
    if vaults.places.is_empty() && references.is_empty() {
        return Ok(None);
    }
    let mut builder = Secrets::builder();
    for place in &vaults.places {
        builder = add(builder, place).await?;
    }
    // Whoever writes the settings may name variables and files in them. A tenant's own settings lead to
    // neither: `TenantSecrets` gives out secrets of Key Vault alone.
    for reference in references {
        match reference.location() {
            SecretLocation::Env { name } => builder = builder.with_variable(name),
            SecretLocation::File { path, .. } => {
                let folder = Path::new(path).parent().filter(|it| it.is_absolute());
                if let Some(folder) = folder {
                    builder = builder.with_folder(folder);
                }
            }
            _ => {}
        }
    }
    builder.build().map(Some)
}

async fn add(builder: SecretsBuilder, place: &VaultPlace) -> Result<SecretsBuilder> {
    match place {
        #[cfg(feature = "key-vault")]
        VaultPlace::KeyVault {
            name,
            vault,
            credential,
        } => {
            let vault = tenantry_secrets::KeyVault::new(vault, credential.clone())?;
            builder.with_vault(name, Arc::new(vault))
        }
        #[cfg(feature = "file-vault")]
        VaultPlace::File {
            name,
            path,
            key,
            makes_key,
        } => {
            use tenantry_secrets::{FileVault, FileVaultKey};

            if *makes_key {
                match FileVault::create_key(key).await {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            let vault = FileVault::open(path, FileVaultKey::file(key)).await?;
            builder.with_vault(name, Arc::new(vault))
        }
        VaultPlace::Folder(folder) => Ok(builder.with_folder(folder)),
        VaultPlace::Variables(names) => Ok(names
            .iter()
            .fold(builder, |builder, name| builder.with_variable(name))),
    }
}

impl Storage {
    /// Returns what turns references into secrets.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if the settings name no vault and hold no reference.
    pub fn secrets(&self) -> Result<&Secrets> {
        check(self.inner.service, Store::Secrets)?;
        self.inner.secrets.as_ref().ok_or_else(|| {
            missing(
                "secrets",
                "add [[vaults]] to the settings, or make them in code by Settings::with_secrets",
            )
        })
    }
}
