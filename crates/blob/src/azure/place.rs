//! Where the blob of a name lies, and which name lies there.

use tenantry_core::TenantId;

use super::settings::{AzureLayout, Layout};
use crate::name::{BlobName, BlobPrefix};

impl AzureLayout {
    /// Returns the container and the blob in which a name lies.
    pub(super) fn place<'n>(&self, name: &'n BlobName) -> (String, &'n str) {
        let blob = match &self.0 {
            Layout::ContainerPerTenant(_) => name.within_tenant(),
            Layout::PrefixPerTenant(_) => name.as_str(),
        };
        (self.container_of(name.tenant()), blob)
    }

    /// Returns the container in which the names under a prefix lie, and what they begin with there.
    pub(super) fn place_of_prefix<'p>(&self, prefix: &'p BlobPrefix) -> (String, &'p str) {
        let begin = match &self.0 {
            Layout::ContainerPerTenant(_) => prefix.within_tenant(),
            Layout::PrefixPerTenant(_) => prefix.as_str(),
        };
        (self.container_of(prefix.tenant()), begin)
    }

    /// Returns the name that lies in a place, if one does.
    pub(super) fn name_at(&self, container: &str, blob: &str) -> Option<BlobName> {
        let name = match &self.0 {
            Layout::PrefixPerTenant(_) => blob.parse().ok()?,
            Layout::ContainerPerTenant(_) => {
                let tenant = self.tenant_of(container)?;
                format!("{tenant}/{blob}").parse().ok()?
            }
        };
        // What leads back to another place was put there by somebody else.
        (self.place(&name) == (container.to_owned(), blob)).then_some(name)
    }

    /// Returns whether each tenant has a container of its own.
    pub(super) const fn is_of_tenant(&self) -> bool {
        matches!(self.0, Layout::ContainerPerTenant(_))
    }

    /// Returns whose container this is, where each tenant has its own.
    pub(super) fn tenant_of(&self, container: &str) -> Option<TenantId> {
        let Layout::ContainerPerTenant(prefix) = &self.0 else {
            return None;
        };
        let tenant: TenantId = container
            .strip_prefix(prefix)?
            .strip_prefix('-')?
            .parse()
            .ok()?;
        (self.container_of(tenant) == container).then_some(tenant)
    }
}

#[cfg(test)]
mod tests {
    use crate::name::{BlobId, BlobKind};

    use super::*;

    #[test]
    fn each_name_has_a_place_of_its_own_and_is_found_there() {
        let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse().unwrap();
        let kind = BlobKind::new("exports").unwrap();
        let at = "2026-01-31T00:00:00Z".parse().unwrap();
        let name = BlobName::new(tenant, &kind, at, BlobId::generate()).unwrap();
        let layouts = [
            AzureLayout::container_per_tenant("t1").unwrap(),
            AzureLayout::container_per_tenant("t10").unwrap(),
            AzureLayout::prefix_per_tenant("all").unwrap(),
        ];
        for layout in &layouts {
            let (container, blob) = layout.place(&name);
            assert_eq!(layout.name_at(&container, blob), Some(name.clone()));
            for other in &layouts[..2] {
                // A container of another prefix is nobody's.
                let found = other.name_at(&container, blob).is_some();
                assert_eq!(found, other == layout, "{other:?}");
            }
            for stray in [
                "",
                "readme.txt",
                "exports/2026/01/../x",
                &blob.to_uppercase(),
            ] {
                assert_eq!(layout.name_at(&container, stray), None, "{stray}");
            }
        }
        let upper = "t1-0190B5A4-8F2E-7C3D-9A61-4F0E5D2C1B7A";
        assert_eq!(layouts[0].tenant_of(upper), None);
        assert_eq!(
            layouts[0].tenant_of("t10-0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a"),
            None
        );
    }
}
