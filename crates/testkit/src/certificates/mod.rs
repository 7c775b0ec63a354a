//! Certificates for servers that are reached over TLS.

#[cfg(feature = "certificates")]
mod authority;

use std::fmt;

use url::Url;

#[cfg(feature = "certificates")]
pub use authority::{ClientCertificate, TestAuthority};

/// The files that a server finds in its folder.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const AUTHORITY: &str = "authority.pem";

/// What a server shows who connects to it, its key, and who vouches for it.
#[derive(Clone)]
pub struct ServerCertificate {
    certificate: String,
    key: String,
    authority: String,
    asks_clients: bool,
}

impl ServerCertificate {
    /// Returns what these three texts hold, all in PEM; a `TestAuthority` (feature `certificates`) makes them.
    #[must_use]
    pub fn new(
        certificate: impl Into<String>,
        key: impl Into<String>,
        authority: impl Into<String>,
    ) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            authority: authority.into(),
            asks_clients: false,
        }
    }

    /// Asks whoever connects for a certificate of the same authority as well, and refuses the others.
    #[must_use]
    pub const fn asking_clients(mut self) -> Self {
        self.asks_clients = true;
        self
    }

    pub(crate) const fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Returns the files of a server.
    pub(crate) fn files(&self) -> [(&'static str, String); 3] {
        [
            (CERTIFICATE, self.certificate.clone()),
            (KEY, self.key.clone()),
            (AUTHORITY, self.authority.clone()),
        ]
    }
}

/// Returns the URL of a server by its port for TLS, if it has one.
pub(crate) fn over_tls(mut url: Url, scheme: &str, port: Option<u16>) -> Option<String> {
    url.set_scheme(scheme).ok()?;
    url.set_port(Some(port?)).ok()?;
    Some(url.into())
}

impl fmt::Debug for ServerCertificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").finish_non_exhaustive()
    }
}
