//! Who this process is to Azure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientSecretCredential, ClientSecretCredentialOptions, DeveloperToolsCredential,
};
use tenantry_core::{Result, Secret};

use super::connection::{Connections, invalid};
use crate::identity::{Identity, client_options};

/// What a token is for.
const SCOPE: &str = "https://management.azure.com/.default";
/// How long a token may take, whatever is tried for it.
const DEADLINE: Duration = Duration::from_secs(8);

/// Who this process is to Azure: said, never found out.
///
/// Managing an account takes another role than reading and writing its blobs: give it an identity of its
/// own, which no service has.
///
/// # Examples
///
/// ```
/// use tenantry_blob::ManagementCredential;
///
/// let at_the_desk = ManagementCredential::developer_tools();
/// assert_eq!(format!("{at_the_desk:?}"), "ManagementCredential(DeveloperTools)");
/// ```
#[derive(Clone)]
pub struct ManagementCredential(Source);

#[derive(Clone)]
enum Source {
    Identity(Identity),
    ClientSecret {
        directory: String,
        client: String,
        secret: Arc<Secret>,
    },
    DeveloperTools,
    AccessToken(Arc<Secret>),
    Custom(Arc<dyn TokenCredential>),
}

impl ManagementCredential {
    /// Is the identity that Azure has assigned to the machine, the app or the container itself.
    #[must_use]
    pub const fn managed_identity() -> Self {
        Self(Source::Identity(Identity::Managed(None)))
    }

    /// Is an identity of its own that was assigned to the machine, by its client id.
    #[must_use]
    pub fn user_assigned_identity(client: impl Into<String>) -> Self {
        Self(Source::Identity(Identity::Managed(Some(client.into()))))
    }

    /// Is the identity of a Kubernetes service account, by the variables of Azure Workload Identity.
    #[must_use]
    pub const fn workload_identity() -> Self {
        Self(Source::Identity(Identity::Workload))
    }

    /// Is an application with a secret, in a directory of Entra ID. The official client keeps a copy
    /// that is not wiped.
    #[must_use]
    pub fn client_secret(
        directory: impl Into<String>,
        client: impl Into<String>,
        secret: Secret,
    ) -> Self {
        Self(Source::ClientSecret {
            directory: directory.into(),
            client: client.into(),
            secret: Arc::new(secret),
        })
    }

    /// Is whoever is logged in to the Azure CLI, or else to the Azure Developer CLI.
    #[must_use]
    pub const fn developer_tools() -> Self {
        Self(Source::DeveloperTools)
    }

    /// Is whoever a token was made for, until the token ends: nothing renews it.
    #[must_use]
    pub fn access_token(token: Secret) -> Self {
        Self(Source::AccessToken(Arc::new(token)))
    }

    /// Is whatever gives tokens: a type of `azure_core` 1.x, on purpose.
    #[must_use]
    pub fn custom(credential: Arc<dyn TokenCredential>) -> Self {
        Self(Source::Custom(credential))
    }

    /// Returns what gives tokens.
    pub(super) fn connect(&self, connections: &Connections) -> Result<Arc<dyn TokenCredential>> {
        let inner = self.0.connect(connections).map_err(|_| {
            invalid(match &self.0 {
                Source::Identity(identity) => identity.missing(),
                Source::ClientSecret { .. } => {
                    "directory and client are ids, and the secret is not empty"
                }
                Source::DeveloperTools | Source::AccessToken(_) | Source::Custom(_) => {
                    "the credential cannot be set up"
                }
            })
        })?;
        Ok(Arc::new(Bounded(inner)))
    }

    /// Says what to do when there is no token.
    pub(super) const fn advice(&self) -> &'static str {
        match self.0 {
            Source::Identity(Identity::Managed(_)) => "assign the managed identity to this machine",
            Source::Identity(Identity::Workload) => {
                "let the identity trust the service account of this pod"
            }
            Source::ClientSecret { .. } => "correct directory, client or secret, or renew it",
            Source::DeveloperTools => "log in, by `az login` or `azd auth login`",
            Source::AccessToken(_) => "the token has ended, or is for something else",
            Source::Custom(_) => "the credential that was handed in gives no token",
        }
    }
}

impl fmt::Debug for ManagementCredential {
    /// Writes ids, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManagementCredential(")?;
        match &self.0 {
            Source::Identity(Identity::Managed(None)) => f.write_str("ManagedIdentity")?,
            Source::Identity(Identity::Managed(Some(client))) => {
                write!(f, "ManagedIdentity {client:?}")?;
            }
            Source::Identity(Identity::Workload) => f.write_str("WorkloadIdentity")?,
            Source::ClientSecret {
                directory, client, ..
            } => write!(f, "ClientSecret {client:?} of {directory:?}")?,
            Source::DeveloperTools => f.write_str("DeveloperTools")?,
            Source::AccessToken(_) => f.write_str("AccessToken")?,
            Source::Custom(_) => f.write_str("Custom")?,
        }
        f.write_str(")")
    }
}

impl Source {
    fn connect(&self, connections: &Connections) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let transport = match self {
            Self::Identity(Identity::Managed(_)) => connections.machine.clone(),
            _ => connections.directory.clone(),
        };
        Ok(match self {
            Self::Identity(identity) => identity.connect(transport)?,
            Self::ClientSecret {
                directory,
                client,
                secret,
            } => ClientSecretCredential::new(
                directory,
                client.clone(),
                azure_core::credentials::Secret::new(secret.expose().to_owned()),
                Some(ClientSecretCredentialOptions {
                    client_options: client_options(transport),
                }),
            )?,
            Self::DeveloperTools => DeveloperToolsCredential::new(None)?,
            Self::AccessToken(token) => Arc::new(GivenToken(Arc::clone(token))),
            Self::Custom(credential) => Arc::clone(credential),
        })
    }
}

/// A token that was made elsewhere.
#[derive(Debug)]
struct GivenToken(Arc<Secret>);

#[async_trait]
impl TokenCredential for GivenToken {
    async fn get_token(
        &self,
        _scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        // When it ends is for the service to say.
        let until = OffsetDateTime::now_utc() + Duration::from_secs(60 * 60);
        Ok(AccessToken::new(self.0.expose().to_owned(), until))
    }
}

/// Gives tokens for the management of accounts and nothing else, in bounded time.
#[derive(Debug)]
struct Bounded(Arc<dyn TokenCredential>);

#[async_trait]
impl TokenCredential for Bounded {
    async fn get_token(
        &self,
        _scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let asked = self.0.get_token(&[SCOPE], options);
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(azure_core::Error::new(AzureErrorKind::Credential, Late)),
        }
    }
}

/// No token came in time.
#[derive(Debug)]
pub(super) struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no token came within {DEADLINE:?}")
    }
}

impl std::error::Error for Late {}
