//! The way to Azure Resource Manager and to who gives tokens.

use std::net::SocketAddr;

use azure_core::http::Transport;
use tenantry_core::{Error, ErrorKind, Result};

use crate::identity::{self, builder};
use crate::tls::tls;

/// Where accounts are managed, in Azure's public cloud.
pub(super) const HOST: &str = "management.azure.com";

/// How [`StorageManagement`](super::StorageManagement) finds Azure Resource Manager and whom it trusts.
///
/// The defaults are right for Azure: names by DNS, the certificates that the system trusts, and the
/// proxy of the environment.
#[derive(Debug, Clone, Default)]
pub struct ManagementConnection {
    address: Option<SocketAddr>,
    authorities: Vec<String>,
}

impl ManagementConnection {
    /// Finds it at this address, whatever DNS says, and past any proxy: a private endpoint without DNS,
    /// or a server for tests. TLS is still that of the name.
    #[must_use]
    pub const fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Trusts another authority beside those of the system: that of a server for tests, or of a proxy
    /// that looks into TLS.
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: impl Into<String>) -> Self {
        self.authorities.push(pem.into());
        self
    }
}

/// The clients of one [`StorageManagement`](super::StorageManagement).
pub(super) struct Connections {
    pub(super) manager: Transport,
    /// To the directory that gives tokens.
    pub(super) directory: Transport,
    /// To the machine's own endpoint for tokens, which no proxy reaches.
    pub(super) machine: Transport,
}

impl Connections {
    pub(super) fn new(connection: &ManagementConnection) -> Result<Self> {
        let tls = tls(&connection.authorities, invalid)?;
        let mut manager = builder(&tls).https_only(true);
        if let Some(address) = connection.address {
            manager = manager.resolve(HOST, address).no_proxy();
        }
        Ok(Self {
            manager: transport(manager)?,
            directory: transport(builder(&tls).https_only(true))?,
            machine: transport(builder(&tls).no_proxy())?,
        })
    }
}

fn transport(builder: reqwest::ClientBuilder) -> Result<Transport> {
    identity::transport(builder)
        .map_err(|cause| invalid("the HTTP client cannot be set up").with_source(cause))
}

pub(super) fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, super::SET_UP).with_detail(detail)
}
