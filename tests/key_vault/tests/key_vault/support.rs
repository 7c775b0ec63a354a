//! A server, a vault on it, and a client that says exactly what a test wants said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method};
use serde_json::Value;
use tenantry_core::ManualClock;
use tenantry_secrets::{KeyVault, KeyVaultConnection, KeyVaultCredential};
use tenantry_testkit::key_vault::{KeyVaultOptions, KeyVaultServer, TestVault, VaultToken};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

pub(crate) const NOON: &str = "2026-01-31T12:00:00Z";

/// A server whose clock stands at noon, and its vault `orders`.
pub(crate) struct Fixture {
    pub(crate) server: Arc<KeyVaultServer>,
    pub(crate) vault: TestVault,
    pub(crate) clock: ManualClock,
    pub(crate) token: VaultToken,
    http: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Fixture {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(KeyVaultOptions::default()).await
    }

    pub(crate) async fn start_with(options: KeyVaultOptions) -> Result<Self> {
        let clock = ManualClock::new(noon());
        let options = options.with_clock(Arc::new(clock.clone()));
        let server = Arc::new(KeyVaultServer::start_with(options).await?);
        let vault = server.vault("orders")?;
        Ok(Self {
            http: http(
                server.ca_certificate_pem(),
                server.address(),
                &["orders", "billing"],
            )?,
            token: server.issue_token(),
            server,
            vault,
            clock,
        })
    }

    /// Returns the backend, with a credential of the server.
    pub(crate) fn backend(&self) -> Result<KeyVault> {
        self.backend_of("orders", &Arc::new(ServerCredential::new(&self.server)))
    }

    pub(crate) fn backend_of(
        &self,
        vault: &str,
        credential: &Arc<ServerCredential>,
    ) -> Result<KeyVault> {
        backend(&self.server, vault, credential)
    }

    /// Returns a client with no connection yet.
    pub(crate) fn new_http(&self) -> Result<Client> {
        let authority = self.server.ca_certificate_pem();
        http(authority, self.server.address(), &["orders"])
    }

    /// Calls the vault, with a token and a version of the protocol.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Result<Reply> {
        self.call_vault("orders", method, path, body).await
    }

    pub(crate) async fn call_vault(
        &self,
        vault: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Reply> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = format!("https://{vault}.vault.azure.net{path}{separator}api-version=2025-07-01");
        self.send(method, &url, Some(self.token.secret()), body)
            .await
    }

    /// Sends what it is told and nothing else; a body that is `null` is none.
    pub(crate) async fn send(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        body: Value,
    ) -> Result<Reply> {
        let mut request = self
            .http
            .request(Method::from_bytes(method.as_bytes())?, url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes)?,
        };
        Ok(Reply {
            status,
            headers,
            body,
        })
    }
}

impl Reply {
    /// Returns status, code and inner code of an error.
    pub(crate) fn error(&self) -> (u16, &str, &str) {
        let error = &self.body["error"];
        assert!(error["message"].is_string(), "{self:?}");
        (
            self.status,
            error["code"].as_str().unwrap_or_default(),
            error["innererror"]["code"].as_str().unwrap_or_default(),
        )
    }

    /// Returns the body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }
}

/// Gives out tokens of a server, and counts them.
#[derive(Debug)]
pub(crate) struct ServerCredential {
    server: Arc<KeyVaultServer>,
    given: AtomicUsize,
}

impl ServerCredential {
    pub(crate) fn new(server: &Arc<KeyVaultServer>) -> Self {
        Self {
            server: Arc::clone(server),
            given: AtomicUsize::new(0),
        }
    }

    pub(crate) fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenCredential for ServerCredential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://vault.azure.net/.default"]);
        self.given.fetch_add(1, Ordering::SeqCst);
        let token = self.server.issue_token();
        Ok(AccessToken {
            token: Secret::new(token.secret().to_owned()),
            // What the client is made believe; the server keeps to its own clock.
            expires_on: OffsetDateTime::now_utc() + Duration::from_secs(3_600),
        })
    }
}

pub(crate) fn noon() -> DateTime<Utc> {
    NOON.parse().expect("a time")
}

/// The backend for a vault of a server, with the checks of its client on.
pub(crate) fn backend(
    server: &KeyVaultServer,
    vault: &str,
    credential: &Arc<ServerCredential>,
) -> Result<KeyVault> {
    let credential = Arc::clone(credential) as Arc<dyn TokenCredential>;
    let connection = KeyVaultConnection::default()
        .with_address(server.address())
        .with_ca_certificate(server.ca_certificate_pem());
    let credential = KeyVaultCredential::custom(credential);
    Ok(KeyVault::new_with(vault, credential, &connection)?)
}

/// A client that finds these vaults at an address, and trusts one authority alone.
pub(crate) fn http(authority: &str, address: SocketAddr, vaults: &[&str]) -> Result<Client> {
    let authority = CertificateDer::from_pem_slice(authority.as_bytes())?;
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    // With the provider named: another one in the build would leave no default.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(Duration::from_secs(30));
    for vault in vaults {
        builder = builder.resolve(&format!("{vault}.vault.azure.net"), address);
    }
    Ok(builder.build()?)
}
