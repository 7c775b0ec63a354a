//! Who this process is to the account.

use std::fmt;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use tenantry_core::Secret;

use crate::identity::Identity;

/// Who this process is to an account of Blob Storage.
///
/// # Examples
///
/// ```
/// use tenantry_blob::AzureCredential;
/// use tenantry_core::Secret;
///
/// let key = AzureCredential::shared_key(Secret::new("c2VjcmV0"));
/// assert_eq!(format!("{key:?}"), "AzureCredential(SharedKey)");
/// ```
#[derive(Clone)]
pub struct AzureCredential(pub(super) Source);

#[derive(Clone)]
pub(super) enum Source {
    Identity(Identity),
    Entra(Arc<dyn TokenCredential>),
    SharedAccessSignature(Arc<Secret>),
    SharedKey(Arc<Secret>),
}

impl AzureCredential {
    /// Is the identity that Azure has assigned to the machine, the app or the container itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_blob::AzureCredential;
    ///
    /// let machine = AzureCredential::managed_identity();
    /// assert_eq!(format!("{machine:?}"), "AzureCredential(ManagedIdentity)");
    /// ```
    #[must_use]
    pub const fn managed_identity() -> Self {
        Self(Source::Identity(Identity::Managed(None)))
    }

    /// Is an identity of its own that was assigned to the machine, by its client id.
    #[must_use]
    pub fn user_assigned_identity(client: impl Into<String>) -> Self {
        Self(Source::Identity(Identity::Managed(Some(client.into()))))
    }

    /// Is the identity of a Kubernetes service account, by the variables of Azure Workload Identity, which
    /// are read when the blobs are opened.
    #[must_use]
    pub const fn workload_identity() -> Self {
        Self(Source::Identity(Identity::Workload))
    }

    /// Is an identity of Entra ID, whatever gives its tokens: a managed identity in Azure, as
    /// `azure_identity` has it.
    ///
    /// The type is the driver's, on purpose: `azure_core` 1.x, in the version that this crate is built
    /// with. Tokens are asked for `https://storage.azure.com/.default`, and sent over HTTPS alone.
    #[must_use]
    pub fn custom(credential: Arc<dyn TokenCredential>) -> Self {
        Self(Source::Entra(credential))
    }

    /// Is whoever has a shared access signature, `sv=…&sig=…`, with or without a question mark before
    /// it, for as long as that is valid.
    ///
    /// [`signed_url`](crate::TenantBlobs::signed_url) is `Unsupported` then: no signature is made of
    /// another.
    #[must_use]
    pub fn shared_access_signature(query: Secret) -> Self {
        Self(Source::SharedAccessSignature(Arc::new(query)))
    }

    /// Is whoever has a key of the account, in Base64: he may do everything, and nobody says who it
    /// was. For emulators, and for accounts that take nothing else.
    #[must_use]
    pub fn shared_key(key: Secret) -> Self {
        Self(Source::SharedKey(Arc::new(key)))
    }
}

impl fmt::Debug for AzureCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.0 {
            Source::Identity(Identity::Managed(_)) => "ManagedIdentity",
            Source::Identity(Identity::Workload) => "WorkloadIdentity",
            Source::Entra(_) => "Entra",
            Source::SharedAccessSignature(_) => "SharedAccessSignature",
            Source::SharedKey(_) => "SharedKey",
        };
        write!(f, "AzureCredential({name})")
    }
}
