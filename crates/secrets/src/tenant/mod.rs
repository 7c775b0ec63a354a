//! The secrets of one tenant.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_core::{
    Error, ErrorKind, Result, Secret, SecretReference, SecretResolver, SecretSource, SecretWatch,
    TenantId,
};

use crate::secrets::Secrets;

/// Resolves the references of one tenant alone: those that
/// [`SecretReference::of_tenant`](tenantry_core::SecretReference::of_tenant) has made for it.
///
/// Every other answers `NotFound`, as a missing one does: another tenant's, and the platform's own,
/// which a tenant could otherwise read by writing its reference into a setting.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use tenantry_core::{ErrorKind, Secret, SecretReference, SecretResolver as _, TenantId};
/// use tenantry_secrets::{MemoryVault, Secrets};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let secrets = Secrets::builder()
///     .with_vault("integrations", Arc::new(MemoryVault::new()))?
///     .build()?;
/// let (ours, theirs) = (TenantId::generate(), TenantId::generate());
/// let smtp = SecretReference::of_tenant("integrations", ours, "smtp")?;
/// secrets.put_new_version(&smtp, Secret::new("hunter2"), Default::default()).await?;
///
/// assert_eq!(secrets.tenant(ours).resolve(&smtp).await?.expose(), "hunter2");
/// let error = secrets.tenant(theirs).resolve(&smtp).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TenantSecrets {
    secrets: Secrets,
    tenant: TenantId,
}

impl TenantSecrets {
    pub(crate) const fn new(secrets: Secrets, tenant: TenantId) -> Self {
        Self { secrets, tenant }
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn check(&self, reference: &SecretReference) -> Result<()> {
        match reference.tenant() {
            Some(tenant) if tenant == self.tenant => Ok(()),
            _ => {
                self.secrets.tell_foreign(reference, self.tenant);
                Err(missing("resolve secret", reference))
            }
        }
    }
}

/// What a missing secret answers, and every one of somebody else.
pub(crate) fn missing(operation: &'static str, reference: &SecretReference) -> Error {
    Error::new(ErrorKind::NotFound, operation)
        .with_subject(reference.to_string())
        .with_detail("create it, or correct the reference")
}

#[async_trait]
impl SecretResolver for TenantSecrets {
    async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
        self.check(reference)?;
        self.secrets.resolve(reference).await
    }
}

#[async_trait]
impl SecretSource for TenantSecrets {
    async fn watch(&self, reference: &SecretReference) -> Result<Arc<dyn SecretWatch>> {
        self.check(reference)?;
        self.secrets.watch(reference).await
    }
}
