//! A server with the accounts of two tenants, a plain client, and what is tested.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, IF_MATCH};
use reqwest::{Client, Method};
use serde_json::Value;
use tenantry_blob::{
    ContainerName, ManagementConnection, ManagementCredential, ManagementOrder, NewContainer,
    StorageAccount, StorageManagement,
};
use tenantry_core::{Actor, Secret, TenantId};
use tenantry_testkit::arm::ArmServer;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A server, its account `artifacts1`, and the containers of two tenants in it.
pub(crate) struct Fixture {
    pub(crate) server: ArmServer,
    pub(crate) account: StorageAccount,
    pub(crate) management: StorageManagement,
    pub(crate) one: ContainerName,
    pub(crate) other: ContainerName,
    pub(crate) tenants: [TenantId; 2],
    http: Client,
    path: String,
    token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: Value,
}

impl Reply {
    /// Returns status and code of an error.
    pub(crate) fn error(&self) -> (u16, &str) {
        let error = &self.body["error"];
        assert!(error["message"].is_string(), "{self:?}");
        (self.status, error["code"].as_str().unwrap_or_default())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }
}

impl Fixture {
    /// Starts a server whose account has versions, and two tenants a container each.
    pub(crate) async fn start() -> Result<Self> {
        let fixture = Self::bare().await?;
        let versions = tenantry_blob::BlobServiceChange::new().with_versions(true);
        fixture.management.service_change(&versions).await?;
        let new = NewContainer::new().with_immutable_versions();
        for container in [&fixture.one, &fixture.other] {
            fixture.management.container_create(container, &new).await?;
        }
        fixture.server.forget_requests();
        Ok(fixture)
    }

    /// Starts a server whose account is as one is created by default.
    pub(crate) async fn bare() -> Result<Self> {
        let server = ArmServer::start().await?;
        let subscription = server.add_account("prod", "artifacts1").to_string();
        let account = StorageAccount::new(&subscription, "prod", "artifacts1")?;
        let token = server.issue_token();
        let tenants = [TenantId::generate(), TenantId::generate()];
        Ok(Self {
            management: management(&server, &account, &token)?,
            one: ContainerName::of_tenant("t-", tenants[0])?,
            other: ContainerName::of_tenant("t-", tenants[1])?,
            tenants,
            http: http(&server)?,
            path: format!(
                "/subscriptions/{subscription}/resourceGroups/prod/providers/Microsoft.Storage/\
                 storageAccounts/artifacts1"
            ),
            token,
            account,
            server,
        })
    }

    /// Returns the management with another token.
    pub(crate) fn with_token(&self, token: &str) -> Result<StorageManagement> {
        management(&self.server, &self.account, token)
    }

    /// Calls the server below the account, with a token and a version of the protocol.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Result<Reply> {
        self.call_if(method, path, None, body).await
    }

    pub(crate) async fn call_if(
        &self,
        method: &str,
        path: &str,
        if_match: Option<&str>,
        body: Value,
    ) -> Result<Reply> {
        let path = format!("{}{path}?api-version=2025-06-01", self.path);
        self.send(method, &path, Some(&self.token), if_match, body)
            .await
    }

    /// Sends what it is told and nothing else; a body that is `null` is none.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        if_match: Option<&str>,
        body: Value,
    ) -> Result<Reply> {
        let url = format!("https://management.azure.com{path}");
        let mut request = self
            .http
            .request(Method::from_bytes(method.as_bytes())?, url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(etag) = if_match {
            request = request.header(IF_MATCH, etag);
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let etag = response.headers().get("etag");
        let etag = etag.and_then(|it| it.to_str().ok()).map(str::to_owned);
        let bytes = response.bytes().await?;
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes)?,
        };
        Ok(Reply { status, etag, body })
    }

    /// Returns the path of the account.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

pub(crate) fn order() -> ManagementOrder {
    ManagementOrder::new(Actor::system(), "the test wants it").expect("it has a reason")
}

fn management(
    server: &ArmServer,
    account: &StorageAccount,
    token: &str,
) -> Result<StorageManagement> {
    let connection = ManagementConnection::default()
        .with_address(server.address())
        .with_ca_certificate(server.ca_certificate_pem());
    let credential = ManagementCredential::access_token(Secret::new(token.to_owned()));
    let management = StorageManagement::new_with(account.clone(), credential, &connection)?;
    Ok(management.with_deadline(Duration::from_secs(60)))
}

fn http(server: &ArmServer) -> Result<Client> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(server.ca_certificate_pem().as_bytes()) {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve("management.azure.com", server.address())
        .no_proxy()
        .build()?)
}
