//! How connections to Azure are encrypted, to its accounts and to where they are managed.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tenantry_core::{Error, Result};

/// Returns TLS with ring, the same whichever providers are in the build, that trusts the system and these
/// authorities; `invalid` makes the errors.
///
/// No protocol is offered in the handshake, so it is HTTP/1.1: what speaks HTTP/2 may be told to log
/// headers, and with them the token.
pub(crate) fn tls(
    authorities: &[String],
    invalid: impl Fn(&'static str) -> Error,
) -> Result<ClientConfig> {
    let mut certificates = Vec::new();
    for pem in authorities {
        let before = certificates.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            certificates.push(certificate.map_err(|_| invalid("a certificate is no PEM"))?);
        }
        if certificates.len() == before {
            return Err(invalid("a text holds no certificate in PEM"));
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(certificates, Arc::clone(&provider));
    let verifier = verifier.map_err(|cause| invalid(NO_ROOTS).with_source(cause))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid("TLS cannot be set up").with_source(cause))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

const NO_ROOTS: &str = "the certificates to trust cannot be read: install those of the system, or \
                        correct the one given";
