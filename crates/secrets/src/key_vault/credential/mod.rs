//! Who this process is to Azure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::CloudConfiguration;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result, Secret};
use tokio::time::Instant;

use super::connection::Connections;

/// Who this process is to Azure: said, never found out.
///
/// A chain that takes whichever credential works is a different identity on each machine, and the
/// wrong one in the end. Each of these is one.
///
/// # Examples
///
/// ```
/// use tenantry_secrets::KeyVaultCredential;
///
/// let in_azure = KeyVaultCredential::managed_identity();
/// let at_the_desk = KeyVaultCredential::developer_tools();
/// assert_eq!(format!("{in_azure:?}"), "KeyVaultCredential(ManagedIdentity)");
/// # let _ = at_the_desk;
/// ```
#[derive(Clone)]
pub struct KeyVaultCredential {
    source: Source,
}

#[derive(Clone)]
enum Source {
    ManagedIdentity {
        client: Option<String>,
    },
    WorkloadIdentity,
    ClientSecret {
        directory: String,
        client: String,
        secret: Arc<Secret>,
    },
    DeveloperTools,
    AccessToken(Arc<Secret>),
    Custom(Arc<dyn TokenCredential>),
}

impl KeyVaultCredential {
    /// Is the identity that Azure has assigned to the machine, the app or the container itself.
    ///
    /// The endpoint is the machine's own, or the one that App Service and Container Apps name in
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`. No proxy is used for it.
    #[must_use]
    pub const fn managed_identity() -> Self {
        Self {
            source: Source::ManagedIdentity { client: None },
        }
    }

    /// Is an identity of its own that was assigned to the machine, by its client id.
    #[must_use]
    pub fn user_assigned_identity(client: impl Into<String>) -> Self {
        Self {
            source: Source::ManagedIdentity {
                client: Some(client.into()),
            },
        }
    }

    /// Is the identity of a Kubernetes service account, as the webhook of Azure Workload Identity
    /// names it to the pod: in `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_FEDERATED_TOKEN_FILE`, which are read when the vault is set up.
    #[must_use]
    pub const fn workload_identity() -> Self {
        Self {
            source: Source::WorkloadIdentity,
        }
    }

    /// Is an application with a secret, in a directory of Entra ID.
    ///
    /// It is the one credential that has to be stored somewhere and rotated: outside Azure alone.
    /// The official client keeps a copy that is not wiped.
    #[must_use]
    pub fn client_secret(
        directory: impl Into<String>,
        client: impl Into<String>,
        secret: Secret,
    ) -> Self {
        Self {
            source: Source::ClientSecret {
                directory: directory.into(),
                client: client.into(),
                secret: Arc::new(secret),
            },
        }
    }

    /// Is whoever is logged in to the Azure CLI (`az login`), or else to the Azure Developer CLI
    /// (`azd auth login`): for a developer's machine.
    #[must_use]
    pub const fn developer_tools() -> Self {
        Self {
            source: Source::DeveloperTools,
        }
    }

    /// Is whoever a token was made for, until the token ends: nothing renews it.
    ///
    /// For a tool that runs once, by `az account get-access-token --resource
    /// https://vault.azure.net`, and for the Key Vault for tests. The official client keeps a copy
    /// that is not wiped.
    #[must_use]
    pub fn access_token(token: Secret) -> Self {
        Self {
            source: Source::AccessToken(Arc::new(token)),
        }
    }

    /// Is whatever gives tokens.
    ///
    /// The type is the driver's, on purpose: `azure_core` 1.x, in the version that this crate is
    /// built with. It is asked again when the vault refuses a token, and has to give another one
    /// then.
    #[must_use]
    pub fn custom(credential: Arc<dyn TokenCredential>) -> Self {
        Self {
            source: Source::Custom(credential),
        }
    }

    /// Returns what gives tokens.
    pub(super) fn connect(&self, connections: &Connections) -> Result<Arc<dyn TokenCredential>> {
        let origin = Origin {
            source: self.source.clone(),
            transport: match self.source {
                Source::ManagedIdentity { .. } => connections.machine.clone(),
                _ => connections.directory.clone(),
            },
        };
        let credential = origin.connect().map_err(|_| {
            Error::new(ErrorKind::InvalidSettings, "set up credential")
                .with_detail(self.source.unusable())
        })?;
        Ok(Arc::new(Tokens {
            origin,
            state: Mutex::new(State {
                credential,
                given: None,
            }),
        }))
    }

    /// Says what to do when there is no token.
    pub(super) const fn advice(&self) -> &'static str {
        match self.source {
            Source::ManagedIdentity { .. } => {
                "assign the managed identity to this machine, or outside Azure choose another \
                 credential"
            }
            Source::WorkloadIdentity => {
                "let the identity have a federated credential for the service account of this pod"
            }
            Source::ClientSecret { .. } => {
                "correct directory, client or secret, or renew the secret"
            }
            Source::DeveloperTools => "log in, by `az login` or `azd auth login`",
            Source::AccessToken(_) => "the token has ended, or is for something else: get another",
            Source::Custom(_) => "the credential that was handed in gives no token",
        }
    }
}

impl fmt::Debug for KeyVaultCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyVaultCredential({:?})", self.source)
    }
}

impl Source {
    /// Says why it cannot be used in this process at all.
    const fn unusable(&self) -> &'static str {
        match self {
            Self::ManagedIdentity { .. } => {
                "the official client cannot ask this kind of host for a managed identity: of App \
                 Service, Container Apps and virtual machines it can"
            }
            Self::WorkloadIdentity => {
                "this process is no pod with a workload identity: AZURE_TENANT_ID, AZURE_CLIENT_ID \
                 or the file of AZURE_FEDERATED_TOKEN_FILE is missing"
            }
            Self::ClientSecret { .. } => {
                "directory and client are ids, and the secret is not empty"
            }
            Self::DeveloperTools | Self::AccessToken(_) | Self::Custom(_) => "it cannot be set up",
        }
    }
}

impl fmt::Debug for Source {
    /// Writes ids, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManagedIdentity { client: None } => f.write_str("ManagedIdentity"),
            Self::ManagedIdentity {
                client: Some(client),
            } => f.debug_tuple("ManagedIdentity").field(client).finish(),
            Self::WorkloadIdentity => f.write_str("WorkloadIdentity"),
            Self::ClientSecret {
                directory, client, ..
            } => f
                .debug_struct("ClientSecret")
                .field("directory", directory)
                .field("client", client)
                .finish_non_exhaustive(),
            Self::DeveloperTools => f.write_str("DeveloperTools"),
            Self::AccessToken(_) => f.write_str("AccessToken"),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// What a credential is made of, as often as it has to be.
#[derive(Debug)]
struct Origin {
    source: Source,
    transport: Transport,
}

impl Origin {
    fn connect(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = ClientOptions {
            transport: Some(self.transport.clone()),
            // Where credentials go is not for the environment to say.
            cloud: Some(Arc::new(CloudConfiguration::AzurePublic)),
            // The managed identity of a machine has its own, which [`Tokens`] cuts short.
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                max_retries: 2,
                ..ExponentialRetryOptions::default()
            }),
            ..ClientOptions::default()
        };
        Ok(match &self.source {
            Source::ManagedIdentity { client } => {
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options,
                };
                ManagedIdentityCredential::new(Some(options))?
            }
            Source::WorkloadIdentity => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    ..WorkloadIdentityCredentialOptions::default()
                };
                WorkloadIdentityCredential::new(Some(options))?
            }
            Source::ClientSecret {
                directory,
                client,
                secret,
            } => ClientSecretCredential::new(
                directory,
                client.clone(),
                azure_core::credentials::Secret::new(secret.expose().to_owned()),
                Some(ClientSecretCredentialOptions { client_options }),
            )?,
            Source::DeveloperTools => DeveloperToolsCredential::new(None)?,
            Source::AccessToken(token) => Arc::new(GivenToken(Arc::clone(token))),
            Source::Custom(credential) => Arc::clone(credential),
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
        // When it ends is for the vault to say.
        let until = OffsetDateTime::now_utc() + Duration::from_secs(60 * 60);
        Ok(AccessToken::new(self.0.expose().to_owned(), until))
    }
}

/// Gives tokens for vaults and for nothing else, in bounded time, and another one when the vault
/// refuses the last.
///
/// The client's check of a challenge lets pass what ends as the vault's host does, such as
/// `https://net`; here no challenge has a say in what a token is for.
///
/// The official credentials keep their tokens, and give the refused one again for as long as it
/// says that it is valid: up to a day. The client asks while a token is still good only when the
/// vault has refused it; then the credential is made anew, and has nothing to give again.
#[derive(Debug)]
struct Tokens {
    origin: Origin,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    credential: Arc<dyn TokenCredential>,
    given: Option<Given>,
}

/// What is known of the last token.
#[derive(Debug, Clone, Copy)]
struct Given {
    at: Instant,
    expires_on: OffsetDateTime,
}

/// What a token is for.
const SCOPE: &str = "https://vault.azure.net/.default";
/// How long a token may take, whatever is tried for it.
const DEADLINE: Duration = Duration::from_secs(8);
/// A token as young as this is not refused for its age: many first requests are challenged at a
/// time, and each asks for a token.
const YOUTH: Duration = Duration::from_secs(30);
/// How long before its end the client asks for the next token.
const RENEWAL: Duration = Duration::from_secs(5 * 60);

impl Tokens {
    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut state = self.state.lock();
        let is_refused = state.given.is_some_and(|given| {
            given.at.elapsed() >= YOUTH && given.expires_on > OffsetDateTime::now_utc() + RENEWAL
        });
        if is_refused {
            state.credential = self.origin.connect()?;
            state.given = None;
        }
        Ok(Arc::clone(&state.credential))
    }
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(
        &self,
        _: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let credential = self.credential()?;
        let asked = credential.get_token(&[SCOPE], options);
        let token = match tokio::time::timeout(DEADLINE, asked).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(azure_core::Error::new(AzureErrorKind::Credential, Late)),
        };
        let mut state = self.state.lock();
        let is_known = state
            .given
            .is_some_and(|given| given.expires_on == token.expires_on);
        if !is_known {
            state.given = Some(Given {
                at: Instant::now(),
                expires_on: token.expires_on,
            });
        }
        Ok(token)
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

#[cfg(test)]
mod tests;
