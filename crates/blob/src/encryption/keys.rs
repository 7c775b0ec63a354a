//! Which key a tenant's blobs are encrypted with, and how to come by it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tenantry_core::{
    Error, ErrorKind, Result, Secret, SecretLocation, SecretReference, SecretSource, TenantId,
};
use zeroize::Zeroizing;

use super::cipher::{DataKey, KEY, WrappingKey};
use crate::name::BlobName;
use crate::record::BlobEncryption;
use crate::store::about;

const SEAL: &str = "encrypt blob";
const OPEN: &str = "decrypt blob";

/// Says which secrets are the keys of a tenant's blobs.
///
/// # Contract
///
/// An implementer never names one secret for two tenants: whoever destroys a tenant's key destroys what
/// it has encrypted and nothing else.
#[async_trait]
pub trait BlobKeys: Send + Sync + Debug {
    /// Returns the references of a tenant's keys, without a version: the first encrypts what is put from
    /// now on; every one may open what it encrypted before. None, where the tenant has no key: then
    /// nothing of it is put or read.
    ///
    /// What a blob says of its key is believed only where it names one of these, in whichever version.
    ///
    /// # Errors
    ///
    /// Whatever kept it from knowing. None of them says that a key is gone: only the vault does.
    async fn keys_of(&self, tenant: TenantId) -> Result<Vec<SecretReference>>;
}

/// Keys that are secrets of each tenant in one vault, under one name:
/// `kv://<vault>/t-<tenant>-<name>`, see [`SecretReference::of_tenant`].
#[derive(Debug, Clone)]
pub struct VaultKeys {
    vault: String,
    name: String,
}

impl VaultKeys {
    /// Returns the keys of this name in this vault.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no vault or no secret can be called so.
    pub fn new(vault: impl Into<String>, name: impl Into<String>) -> Result<Self> {
        let keys = Self {
            vault: vault.into(),
            name: name.into(),
        };
        // Whether it can be called so does not depend on the tenant.
        SecretReference::of_tenant(&keys.vault, TenantId::generate(), &keys.name)?;
        Ok(keys)
    }
}

#[async_trait]
impl BlobKeys for VaultKeys {
    async fn keys_of(&self, tenant: TenantId) -> Result<Vec<SecretReference>> {
        SecretReference::of_tenant(&self.vault, tenant, &self.name).map(|key| vec![key])
    }
}

/// The keys of all tenants, by their references.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    keys: Arc<dyn BlobKeys>,
    secrets: Arc<dyn SecretSource>,
}

/// The keys that one operation has asked for: each once, whatever became of it.
#[derive(Default)]
pub(super) struct Asked(HashMap<SecretReference, Result<Arc<WrappingKey>, Arc<Error>>>);

impl Keyring {
    pub(super) fn new(keys: Arc<dyn BlobKeys>, secrets: Arc<dyn SecretSource>) -> Self {
        Self { keys, secrets }
    }

    /// Returns the key by which a new blob's is wrapped, and what is written of it.
    pub(super) async fn newest(&self, name: &BlobName) -> Result<(SecretReference, WrappingKey)> {
        let keys = self.keys.keys_of(name.tenant()).await?;
        let reference = keys.first().ok_or_else(|| no_key(SEAL, name))?;
        let watch = self.secrets.watch(reference).await;
        let watch = watch.map_err(|error| unavailable(SEAL, name, reference, error))?;
        let current = watch.generations().current;
        let key = key_of(reference, current.secret())?;
        let reference = match current.version() {
            Some(version) => reference.with_version(version)?,
            None => reference.clone(),
        };
        Ok((reference.in_lower_case().into_owned(), key))
    }

    /// Wraps the key of a blob.
    pub(super) fn wrap(
        name: &BlobName,
        (reference, key): (SecretReference, &WrappingKey),
        data: &DataKey,
        segment: u32,
    ) -> Result<BlobEncryption> {
        let wrapped = key.wrap(data, &said_of(name, &reference, segment))?;
        Ok(BlobEncryption::new(reference, wrapped, segment))
    }

    /// Returns the key of a blob.
    pub(super) async fn unwrap(
        &self,
        name: &BlobName,
        encryption: &BlobEncryption,
        asked: &mut Asked,
    ) -> Result<DataKey, Unopened> {
        let reference = encryption.key();
        let key = match asked.0.get(reference) {
            Some(known) => known.clone(),
            None => {
                let key = self.wrapping(name, reference).await;
                let key = key.map(Arc::new).map_err(Arc::new);
                asked.0.insert(reference.clone(), key.clone());
                key
            }
        };
        let key = key.map_err(|error| Unopened {
            cause: error.kind(),
            error: unavailable(OPEN, name, reference, error),
        })?;
        let said = said_of(name, reference, encryption.segment_length());
        key.unwrap(encryption.wrapped(), &said)
            .map_err(|_| Unopened {
                cause: ErrorKind::Corrupt,
                error: about(Error::new(ErrorKind::Corrupt, OPEN), name).with_detail(
                    "its key does not open what is said of it: that was altered, or is another blob's",
                ),
            })
    }

    async fn wrapping(&self, name: &BlobName, reference: &SecretReference) -> Result<WrappingKey> {
        let keys = self.keys.keys_of(name.tenant()).await;
        let keys = keys.map_err(|error| unnamed(name, error))?;
        if keys.is_empty() {
            return Err(no_key(OPEN, name));
        }
        // Whoever can write to the storage must not have this process read any secret that it may.
        if !keys.iter().any(|key| is_version_of(reference, key)) {
            return Err(Error::new(ErrorKind::PermissionDenied, "resolve secret")
                .with_subject(reference.to_string())
                .with_detail("it is not among the keys of the tenant: `BlobKeys` names those"));
        }
        let secret = self.secrets.resolve(reference).await?;
        key_of(reference, &secret)
    }
}

/// A blob whose key could not be had.
#[derive(Debug)]
pub(super) struct Unopened {
    /// What kept the key away.
    pub(super) cause: ErrorKind,
    /// What a read of the blob answers.
    pub(super) error: Error,
}

/// What is true of one blob alone, so that a wrapped key is good for no other: text whose parts have no
/// line breaks.
fn said_of(name: &BlobName, reference: &SecretReference, segment: u32) -> String {
    format!("tenantry blob key 1\n{name}\n{reference}\n{segment}")
}

fn key_of(reference: &SecretReference, secret: &Secret) -> Result<WrappingKey> {
    let mut decoded = Zeroizing::new([0_u8; 66]);
    let text = secret.expose().trim_end_matches(['\r', '\n']);
    let length = STANDARD.decode_slice(text, &mut *decoded).ok();
    let key = (length == Some(KEY)).then(|| {
        let mut key = Zeroizing::new([0; KEY]);
        key.copy_from_slice(&decoded[..KEY]);
        WrappingKey::new(key)
    });
    key.ok_or_else(|| {
        Error::new(ErrorKind::InvalidSettings, "read key of blobs")
            .with_subject(reference.to_string())
            .with_detail(
                "expected 32 random bytes as base64, as `openssl rand -base64 32` writes them",
            )
    })
}

/// Returns whether a reference names a secret that another names, in any version.
fn is_version_of(reference: &SecretReference, key: &SecretReference) -> bool {
    let (reference, key) = (reference.in_lower_case(), key.in_lower_case());
    match (reference.location(), key.location()) {
        (
            SecretLocation::KeyVault { vault, name, .. },
            SecretLocation::KeyVault {
                vault: of_vault,
                name: of_name,
                ..
            },
        ) => (vault, name) == (of_vault, of_name),
        _ => {
            matches!((&reference, &key), (Cow::Borrowed(one), Cow::Borrowed(other)) if one == other)
        }
    }
}

fn no_key(operation: &'static str, name: &BlobName) -> Error {
    about(Error::new(ErrorKind::KeyUnavailable, operation), name)
        .with_detail("its tenant has no key: name one, nothing is kept without")
}

/// Tells of a tenant whose keys are not known, which does not say that they are gone: what passes is told
/// as it is.
fn unnamed(name: &BlobName, error: Error) -> Error {
    if error.kind().is_retryable() {
        return error;
    }
    about(Error::new(ErrorKind::KeyUnavailable, OPEN), name)
        .with_detail("which keys its tenant has is not known: see the cause")
        .with_source(error)
}

/// Tells of a key that could not be had: what passes is told as it is.
fn unavailable<E>(
    operation: &'static str,
    name: &BlobName,
    reference: &SecretReference,
    error: E,
) -> Error
where
    E: std::borrow::Borrow<Error> + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let kind = match error.borrow().kind() {
        kind if kind.is_retryable() => kind,
        _ => ErrorKind::KeyUnavailable,
    };
    let mut told = about(Error::new(kind, operation), name).with_detail(format!(
        "its key {reference} is not to be had: see the cause"
    ));
    if let Some(wait) = error.borrow().retry_after() {
        told = told.with_retry_after(wait);
    }
    told.with_source(error)
}
