//! The way to the vault and to who gives tokens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::Transport;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tenantry_core::{Error, ErrorKind, Result};

const CONNECT: &str = "set up key vault";

/// How long a connection may take to stand, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one exchange may take, to the last byte of its answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a [`KeyVault`](super::KeyVault) finds its vault and whom it trusts.
///
/// The defaults are right for Azure: names by DNS, the certificates that the system trusts, and the
/// proxy of the environment.
#[derive(Debug, Clone, Default)]
pub struct KeyVaultConnection {
    address: Option<SocketAddr>,
    authorities: Vec<String>,
}

impl KeyVaultConnection {
    /// Finds the vault at this address, whatever DNS says of its name, and past any proxy: a private
    /// endpoint without DNS, or a server for tests. TLS and challenge are still those of the name.
    #[must_use]
    pub const fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Trusts another authority beside those of the system: that of a server for tests, or of a
    /// proxy that looks into TLS.
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: impl Into<String>) -> Self {
        self.authorities.push(pem.into());
        self
    }
}

/// The clients of one [`KeyVault`](super::KeyVault).
pub(super) struct Connections {
    pub(super) vault: Transport,
    /// To the directory that gives tokens.
    pub(super) directory: Transport,
    /// To the machine's own endpoint for tokens, which no proxy reaches.
    pub(super) machine: Transport,
}

impl Connections {
    pub(super) fn new(host: &str, connection: &KeyVaultConnection) -> Result<Self> {
        let tls = tls(connection)?;
        let mut vault = builder(&tls).https_only(true);
        if let Some(address) = connection.address {
            vault = vault.resolve(host, address).no_proxy();
        }
        Ok(Self {
            vault: transport(vault)?,
            directory: transport(builder(&tls).https_only(true))?,
            machine: transport(builder(&tls).no_proxy())?,
        })
    }
}

/// Returns TLS with ring, the same whichever providers are in the build.
///
/// No protocol is offered in the handshake, so it is HTTP/1.1: what speaks HTTP/2 may be told to log
/// headers, and with them the token.
fn tls(connection: &KeyVaultConnection) -> Result<ClientConfig> {
    let mut authorities = Vec::new();
    for pem in &connection.authorities {
        let before = authorities.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            authorities.push(certificate.map_err(|_| invalid("a certificate is no PEM"))?);
        }
        if authorities.len() == before {
            return Err(invalid("a text holds no certificate in PEM"));
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(authorities, Arc::clone(&provider));
    let verifier = verifier.map_err(|cause| invalid(NO_ROOTS).with_source(cause))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid("TLS cannot be set up").with_source(cause))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn builder(tls: &ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXCHANGE_TIMEOUT)
}

fn transport(builder: reqwest::ClientBuilder) -> Result<Transport> {
    let client = builder
        .build()
        .map_err(|cause| invalid("the HTTP client cannot be set up").with_source(cause))?;
    Ok(Transport::new(Arc::new(client)))
}

const NO_ROOTS: &str = "the certificates to trust cannot be read: install those of the system, or \
                        correct the one given";

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, CONNECT).with_detail(detail)
}
