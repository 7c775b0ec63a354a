//! Secrets by reference: resolved, cached, rotated, and never shown.
//!
//! Settings and aggregates hold a [`SecretReference`]; this crate turns it into the
//! [`Secret`](tenantry_core::Secret) where that is needed, and keeps it no longer than it has to.
//!
//! # Parts
//!
//! | what | types |
//! |---|---|
//! | resolve, cached | [`Secrets`], [`SecretsBuilder`], [`CachePolicy`] |
//! | for one tenant | [`TenantSecrets`]: another tenant's reference answers like a missing one |
//! | follow a rotation | [`SecretSource::watch`], [`Secrets::accept_event`] |
//! | write | [`Secrets::put_new_version`], [`Secrets::rotate`], [`Secrets::disable_version`], [`Secrets::list_expiring`] |
//! | vaults | [`Vault`], implemented by [`MemoryVault`] and, each with the feature of its name, by `FileVault` (`file-vault`) and `KeyVault` for Azure (`key-vault`) |
//!
//! With the feature `conformance`, a module of that name holds a vault to its contract.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//!
//! use tenantry_core::{Secret, SecretResolver as _};
//! use tenantry_secrets::{MemoryVault, Secrets};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tenantry_core::Result<()> {
//! let vault = Arc::new(MemoryVault::new());
//! let secrets = Secrets::builder().with_vault("billing", vault)?.build()?;
//!
//! let reference = "kv://billing/db-password".parse()?;
//! secrets.put_new_version(&reference, Secret::new("hunter2"), Default::default()).await?;
//! assert_eq!(secrets.resolve(&reference).await?.expose(), "hunter2");
//! # Ok(())
//! # }
//! ```
//!
//! [`SecretReference`]: tenantry_core::SecretReference
//! [`SecretSource::watch`]: tenantry_core::SecretSource::watch

#[cfg(feature = "conformance")]
pub mod conformance;
mod env;
#[cfg(feature = "file-vault")]
mod file;
mod folder;
#[cfg(feature = "key-vault")]
mod key_vault;
mod memory;
mod secrets;
mod tenant;
mod vault;

#[cfg(feature = "file-vault")]
pub use self::file::{FileVault, FileVaultKey};
#[cfg(feature = "key-vault")]
pub use self::key_vault::{KeyVault, KeyVaultConnection, KeyVaultCredential};
pub use self::memory::MemoryVault;
pub use self::secrets::{
    AcceptedEvent, CachePolicy, Credential, ExpiringSecret, Rotated, Secrets, SecretsBuilder,
};
pub use self::tenant::TenantSecrets;
pub use self::vault::{SecretAttributes, SecretRecord, SecretVersion, Validity, Vault};
