//! Where the blobs of a tenant are in a storage account.

use crate::name::BlobName;

/// How the blobs of tenants are placed in the containers of an account.
///
/// # Examples
///
/// ```
/// use tenantry_blob::LifecycleLayout;
///
/// let shared = LifecycleLayout::shared_container("artifacts");
/// assert_eq!(shared.prefix(), "artifacts/");                 // <tenant>/<kind>/<yyyy>/<mm>/<id> in it
/// let each = LifecycleLayout::container_per_tenant("t-");
/// assert_eq!(each.prefix(), "t-");                           // <kind>/<yyyy>/<mm>/<id> in t-<tenant>
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleLayout(Layout);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    Shared(String),
    PerTenant(String),
}

impl LifecycleLayout {
    /// Places all tenants in one container, each under its id.
    #[must_use]
    pub fn shared_container(container: impl Into<String>) -> Self {
        Self(Layout::Shared(container.into()))
    }

    /// Places each tenant in a container of its own, called by this and its id.
    #[must_use]
    pub fn container_per_tenant(prefix: impl Into<String>) -> Self {
        Self(Layout::PerTenant(prefix.into()))
    }

    /// Returns what the paths of all blobs begin with, with the container before them.
    #[must_use]
    pub fn prefix(&self) -> String {
        match &self.0 {
            Layout::Shared(container) => format!("{container}/"),
            Layout::PerTenant(prefix) => prefix.clone(),
        }
    }

    /// Returns the path of a blob, with the container before it.
    #[must_use]
    pub fn path(&self, name: &BlobName) -> String {
        match &self.0 {
            Layout::Shared(container) => format!("{container}/{name}"),
            Layout::PerTenant(prefix) => {
                format!("{prefix}{}/{}", name.tenant(), name.within_tenant())
            }
        }
    }
}
