//! Whom a client trusts that speaks TLS, what it shows, and why a connection over it could not be made.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig};
use rustls_platform_verifier::Verifier;
use tenantry_core::{Error, ErrorKind, Result};

use super::identity::Identity;

/// Authorities, in PEM, that are trusted beside those of the system, and what is shown to servers.
#[derive(Clone, Default)]
pub(super) struct Trust {
    authorities: Vec<String>,
    identity: Identity,
    /// Made once: those of the system are many.
    config: Arc<Mutex<Option<ClientConfig>>>,
}

impl Trust {
    pub(super) fn add(&mut self, pem: String) {
        self.authorities.push(pem);
        // Another connection may have it that was cloned before.
        self.config = Arc::default();
    }

    pub(super) fn show(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// Returns whether nothing was said of it, as where no TLS is spoken.
    pub(super) fn is_of_the_system(&self) -> bool {
        self.authorities.is_empty() && self.identity.is_none()
    }

    /// Refuses texts that hold no certificate, or another key than that of one.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        self.trusted(operation)?;
        self.identity.check(operation)
    }

    fn trusted(&self, operation: &'static str) -> Result<Vec<CertificateDer<'static>>> {
        certificates(self.authorities.iter().map(String::as_str), operation)
    }

    /// Returns TLS with ring, the same whichever providers are in the build.
    pub(super) async fn config(&self, operation: &'static str) -> Result<ClientConfig> {
        let mut config = self.of_all(operation)?;
        if let Some(shown) = self.identity.shown(operation).await? {
            config.client_auth_cert_resolver = shown;
            // A session that goes on would be that of the certificate before.
            config.resumption = Resumption::disabled();
        }
        Ok(config)
    }

    /// Takes note of what a server has said of TLS: perhaps that it does not take what was shown.
    pub(super) async fn heard(&self, error: Option<&Error>) {
        if error.is_some_and(|error| error.kind() == ErrorKind::TlsFailed) {
            self.identity.was_refused().await;
        }
    }

    fn of_all(&self, operation: &'static str) -> Result<ClientConfig> {
        let mut config = self.config.lock();
        if let Some(config) = &*config {
            return Ok(config.clone());
        }
        let made = made(self.trusted(operation)?, operation)?;
        Ok(config.insert(made).clone())
    }
}

fn made(trusted: Vec<CertificateDer<'static>>, operation: &'static str) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(trusted, Arc::clone(&provider));
    let verifier = verifier.map_err(|cause| {
        let detail = "the certificates to trust cannot be read: install those of the system, or correct the one \
                      given";
        invalid(operation, detail).with_source(cause)
    })?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid(operation, "TLS cannot be set up").with_source(cause))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Returns TLS by which nobody is trusted, for a client that would begin it without being asked to.
#[cfg(feature = "nats")]
pub(super) fn config_for_nobody(operation: &'static str) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid(operation, "TLS cannot be set up").with_source(cause))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// Returns what TLS says where it is the cause of an error.
pub(super) fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let within = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match within {
            // Its `source` would be that of what it holds.
            Some(within) => Some(within),
            None => match error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
                Some(shared) => Some(&**shared),
                None => error.source(),
            },
        };
    }
    None
}

/// Says what to do about it.
pub(super) fn refused(cause: &rustls::Error, operation: &'static str) -> Error {
    let detail = match cause {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for another name: connect by one that it is for",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => {
            "the server's certificate has run out or is not valid yet: renew it, or correct the clock"
        }
        rustls::Error::InvalidCertificate(_) => {
            "the server's certificate is not trusted: trust its authority by with_ca_certificate"
        }
        rustls::Error::AlertReceived(_) => {
            "the server refuses the connection: does it ask for a certificate of its clients, and take the one of \
             with_client_certificate?"
        }
        _ => "the server does not speak TLS as it should: is it the port for TLS?",
    };
    Error::new(ErrorKind::TlsFailed, operation)
        .with_detail(detail)
        .with_source(cause.clone())
}

/// Reads certificates in PEM; each text holds one or more.
pub(super) fn certificates<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    operation: &'static str,
) -> Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for pem in texts {
        let before = found.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            // Its error may repeat the text.
            let certificate =
                certificate.map_err(|_| invalid(operation, "a certificate is no PEM"))?;
            found.push(certificate);
        }
        if found.len() == before {
            return Err(invalid(operation, "a text holds no certificate in PEM"));
        }
    }
    Ok(found)
}

pub(super) fn invalid(operation: &'static str, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, operation).with_detail(detail)
}
