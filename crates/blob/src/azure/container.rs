//! Containers, made when the first blob of theirs is put.

use azure_storage_blob::models::BlobContainerClientCreateOptions;
use tenantry_core::{Error, ErrorKind, Result};

use super::Inner;
use super::refusal::Refusal;
use crate::name::BlobName;
use crate::store::about;

const MAKE: &str = "make container of blobs";

impl Inner {
    /// Returns the encryption scope of the blobs of a tenant, if there is one.
    pub(super) fn scope(&self, name: &BlobName) -> Option<String> {
        let scope = self.settings.scope.as_ref()?;
        Some(scope.of(name.tenant()))
    }

    /// Makes the container of a name if that is what was missing, and returns whether it was.
    pub(super) async fn makes_container(
        &self,
        name: &BlobName,
        error: &azure_core::Error,
    ) -> Result<bool> {
        if Refusal::of(error).code() != "ContainerNotFound" {
            return Ok(false);
        }
        let layout = &self.settings.layout;
        if !self.settings.creates_containers {
            return Err(about(Error::new(ErrorKind::Unsupported, MAKE), name)
                .with_detail("it is not there: make it when the tenant is set up"));
        }
        // One container of all tenants has no scope of one of them.
        let scope = match layout.is_of_tenant() {
            true => self.scope(name),
            false => None,
        };
        let options = BlobContainerClientCreateOptions {
            prevent_encryption_scope_override: scope.is_some().then_some(true),
            default_encryption_scope: scope,
            ..BlobContainerClientCreateOptions::default()
        };
        let container = self.container(&layout.container_of(name.tenant()));
        match container.create(Some(options)).await {
            Ok(_) => Ok(true),
            // Another put was quicker.
            Err(error) if Refusal::of(&error).code() == "ContainerAlreadyExists" => Ok(true),
            Err(error) => Err(self.refused(MAKE, name, &error)),
        }
    }
}
