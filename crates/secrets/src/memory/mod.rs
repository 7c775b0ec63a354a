//! A vault in memory, for tests and for what is handed in at start.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, Secret, SharedClock, SystemClock};
use uuid::Uuid;

use crate::vault::{SecretAttributes, SecretRecord, SecretVersion, Validity, Vault};

/// Keeps secrets in the memory of the process, wiped when it is dropped.
///
/// # Examples
///
/// ```
/// use tenantry_core::Secret;
/// use tenantry_secrets::{MemoryVault, Vault as _};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let vault = MemoryVault::new();
/// let first = vault.put("smtp", &Secret::new("one"), &Default::default()).await?;
/// vault.put("smtp", &Secret::new("two"), &Default::default()).await?;
/// assert_eq!(vault.read("SMTP", None).await?.secret.expose(), "two");
/// assert_eq!(vault.read("smtp", Some(&*first.version)).await?.secret.expose(), "one");
/// # Ok(())
/// # }
/// ```
pub struct MemoryVault {
    clock: SharedClock,
    /// By name in lower case, the oldest version first.
    secrets: Mutex<BTreeMap<String, Vec<Kept>>>,
}

struct Kept {
    version: SecretVersion,
    secret: Arc<Secret>,
}

impl MemoryVault {
    /// Returns an empty vault.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Returns an empty vault that tells the time by `clock`.
    #[must_use]
    pub fn with_clock(clock: SharedClock) -> Self {
        Self {
            clock,
            secrets: Mutex::default(),
        }
    }

    fn find<T>(
        &self,
        name: &str,
        version: Option<&str>,
        found: impl FnOnce(&mut Kept) -> T,
    ) -> Result<T> {
        let mut secrets = self.secrets.lock();
        let kept = secrets.get_mut(&name.to_ascii_lowercase());
        let kept = kept.and_then(|versions| match version {
            None => versions.last_mut(),
            Some(wanted) => versions
                .iter_mut()
                .find(|kept| kept.version.version.eq_ignore_ascii_case(wanted)),
        });
        kept.map(found)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "read vault"))
    }
}

impl Default for MemoryVault {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryVault")
            .field("secrets", &self.secrets.lock().len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Vault for MemoryVault {
    async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretRecord> {
        self.find(name, version, |kept| SecretRecord {
            version: Some(Arc::clone(&kept.version.version)),
            secret: Arc::clone(&kept.secret),
            validity: kept.version.validity,
        })
    }

    async fn put(
        &self,
        name: &str,
        value: &Secret,
        attributes: &SecretAttributes,
    ) -> Result<SecretVersion> {
        let version = SecretVersion {
            version: Uuid::new_v4().simple().to_string().into(),
            created_at: self.clock.now(),
            validity: Validity {
                enabled: true,
                not_before: attributes.not_before,
                expires_at: attributes.expires_at,
            },
        };
        let kept = Kept {
            version: version.clone(),
            secret: Arc::new(Secret::new(value.expose())),
        };
        let mut secrets = self.secrets.lock();
        let versions = secrets.entry(name.to_ascii_lowercase()).or_default();
        versions.push(kept);
        Ok(version)
    }

    async fn set_enabled(&self, name: &str, version: &str, enabled: bool) -> Result<()> {
        self.find(name, Some(version), |kept| {
            kept.version.validity.enabled = enabled;
        })
    }

    async fn versions(&self, name: &str) -> Result<Vec<SecretVersion>> {
        let secrets = self.secrets.lock();
        let versions = secrets
            .get(&name.to_ascii_lowercase())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "list versions"))?;
        Ok(versions.iter().map(|kept| kept.version.clone()).collect())
    }

    async fn newest(&self) -> Result<Vec<(String, SecretVersion)>> {
        let secrets = self.secrets.lock();
        let newest = secrets.iter().filter_map(|(name, versions)| {
            let last = versions.last()?;
            Some((name.clone(), last.version.clone()))
        });
        Ok(newest.collect())
    }
}
