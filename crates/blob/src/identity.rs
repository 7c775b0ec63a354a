//! Identities of Entra ID that the place gives in which a process runs, for blobs and for managing accounts.

use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::CloudConfiguration;
use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_identity::{
    ClientAssertionCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use reqwest::redirect::Policy;
use rustls::ClientConfig;

/// How long a connection may take to stand, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one exchange may take, to the last byte of its answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);

/// An identity that nobody has to keep a secret for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// That of the machine, or another of its own by its client id.
    Managed(Option<String>),
    /// That of a Kubernetes service account.
    Workload,
}

impl Identity {
    /// Returns what gives its tokens, over this way.
    pub(crate) fn connect(
        &self,
        transport: Transport,
    ) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = client_options(transport);
        Ok(match self {
            Self::Managed(client) => {
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options,
                };
                ManagedIdentityCredential::new(Some(options))?
            }
            Self::Workload => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    ..WorkloadIdentityCredentialOptions::default()
                };
                WorkloadIdentityCredential::new(Some(options))?
            }
        })
    }

    /// Says why it cannot be used here.
    pub(crate) const fn missing(&self) -> &'static str {
        match self {
            Self::Managed(_) => "this kind of host has no managed identity to ask for",
            Self::Workload => "this process is no pod with a workload identity",
        }
    }

    /// Returns the way to whoever gives its tokens: the machine itself, which no proxy reaches, or the
    /// directory.
    #[cfg(feature = "azure")]
    pub(crate) fn way(&self, tls: &ClientConfig) -> reqwest::Result<Transport> {
        transport(match self {
            Self::Managed(_) => builder(tls).no_proxy(),
            Self::Workload => builder(tls).https_only(true),
        })
    }
}

/// Returns how tokens are asked for.
pub(crate) fn client_options(transport: Transport) -> ClientOptions {
    ClientOptions {
        transport: Some(transport),
        // Where credentials go is not for the environment to say.
        cloud: Some(Arc::new(CloudConfiguration::AzurePublic)),
        retry: RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: 2,
            ..ExponentialRetryOptions::default()
        }),
        ..ClientOptions::default()
    }
}

/// Begins a client that follows no redirect and waits for nobody without an end.
pub(crate) fn builder(tls: &ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXCHANGE_TIMEOUT)
}

pub(crate) fn transport(builder: reqwest::ClientBuilder) -> reqwest::Result<Transport> {
    Ok(Transport::new(Arc::new(builder.build()?)))
}
