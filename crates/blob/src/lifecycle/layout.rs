//! Where the blobs of a tenant are in a storage account.

use crate::name::BlobName;

/// How the blobs of tenants are placed in the containers of an account, in the words of `AzureLayout`, which makes one by
/// its method `lifecycle`.
///
/// # Examples
///
/// ```
/// use tenantry_blob::LifecycleLayout;
///
/// let shared = LifecycleLayout::prefix_per_tenant("artifacts");
/// assert_eq!(shared.prefix(), "artifacts/");                 // <tenant>/<kind>/<yyyy>/<mm>/<id> in it
/// let each = LifecycleLayout::container_per_tenant("t");
/// assert_eq!(each.prefix(), "t-");                           // <kind>/<yyyy>/<mm>/<id> in t-<tenant>
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleLayout(Layout);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    ContainerPerTenant(String),
    PrefixPerTenant(String),
}

impl LifecycleLayout {
    /// Places each tenant in a container of its own, `<prefix>-<tenant>`.
    #[must_use]
    pub fn container_per_tenant(prefix: impl Into<String>) -> Self {
        Self(Layout::ContainerPerTenant(prefix.into()))
    }

    /// Places all tenants in one container, where the names of their blobs begin with the tenant.
    #[must_use]
    pub fn prefix_per_tenant(container: impl Into<String>) -> Self {
        Self(Layout::PrefixPerTenant(container.into()))
    }

    /// Returns what the paths of all blobs begin with, with the container before them.
    #[must_use]
    pub fn prefix(&self) -> String {
        match &self.0 {
            Layout::ContainerPerTenant(prefix) => format!("{prefix}-"),
            Layout::PrefixPerTenant(container) => format!("{container}/"),
        }
    }

    /// Returns the path of a blob, with the container before it.
    #[must_use]
    pub fn path(&self, name: &BlobName) -> String {
        match &self.0 {
            Layout::ContainerPerTenant(prefix) => {
                format!("{prefix}-{}/{}", name.tenant(), name.within_tenant())
            }
            Layout::PrefixPerTenant(container) => format!("{container}/{name}"),
        }
    }
}
