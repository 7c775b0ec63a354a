//! A certificate authority that vouches for one domain and nothing else.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::names::DOMAIN;
use crate::{Error, Result};

/// What a server shows its clients, and what these have to trust.
pub(crate) struct Certificates {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) authority_pem: String,
}

impl Certificates {
    /// Makes an authority of its own and lets it sign for `*.vault.azure.net`.
    pub(super) fn generate() -> Result<Self> {
        Self::generate_for(&format!("*.{DOMAIN}"), DOMAIN)
    }

    /// Makes an authority for a domain and lets it sign for a name in it.
    pub(crate) fn generate_for(name: &str, domain: &str) -> Result<Self> {
        let (authority_pem, issuer) = authority(domain)
            .map_err(|error| Error::because("cannot make a test authority", error))?;
        let failed = "cannot make a certificate of a test authority";
        let (certificate, key) =
            signed(&issuer, name).map_err(|error| Error::because(failed, error))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = config(vec![certificate.der().clone()], key)
            .map_err(|error| Error::because(failed, error))?;
        Ok(Self {
            server: Arc::new(server),
            authority_pem,
        })
    }
}

fn authority(domain: &str) -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Tenantry tests of {domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whoever puts it among what a machine trusts lets nobody else be impersonated.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?, key))
}

/// The provider is named, for there is no default where a build has several.
fn config(
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
