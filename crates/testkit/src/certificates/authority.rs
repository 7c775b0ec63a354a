use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::ServerCertificate;
use crate::{Error, Result};

/// An authority of a test's own, which vouches for servers and their clients. Its key is never written to a disk.
///
/// # Examples
///
/// ```
/// use tenantry_testkit::{NatsOptions, TestAuthority};
///
/// # fn main() -> tenantry_testkit::Result<()> {
/// let authority = TestAuthority::generate()?;
/// let options = NatsOptions::default().with_tls(authority.sign("127.0.0.1")?);
/// assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));     // what its clients are to trust
/// # drop(options);
/// # Ok(())
/// # }
/// ```
pub struct TestAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestAuthority {
    /// Makes an authority that nobody trusts yet.
    ///
    /// # Errors
    ///
    /// When the machine gives no random numbers.
    pub fn generate() -> Result<Self> {
        authority().map_err(|error| Error::because("cannot make a test authority", error))
    }

    /// Returns its certificate in PEM, for those who are to trust it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes the certificate of a server that is reached under a name or an IP address.
    ///
    /// # Errors
    ///
    /// When no certificate can be for that name.
    pub fn sign(&self, name: &str) -> Result<ServerCertificate> {
        self.server(name, |_| {})
    }

    /// Makes one that has run out.
    ///
    /// # Errors
    ///
    /// When no certificate can be for that name.
    pub fn sign_expired(&self, name: &str) -> Result<ServerCertificate> {
        self.server(name, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        })
    }

    /// Makes the certificate that a client of a name shows.
    ///
    /// # Errors
    ///
    /// When no certificate can be for that name.
    pub fn sign_client(&self, name: &str) -> Result<ClientCertificate> {
        let signed = self.signed(name, ExtendedKeyUsagePurpose::ClientAuth, |_| {});
        let (certificate, key) = signed.map_err(failed)?;
        Ok(ClientCertificate { certificate, key })
    }

    fn server(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<ServerCertificate> {
        let signed = self.signed(name, ExtendedKeyUsagePurpose::ServerAuth, change);
        let (certificate, key) = signed.map_err(failed)?;
        Ok(ServerCertificate::new(certificate, key, &*self.pem))
    }

    fn signed(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<(String, String), rcgen::Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        change(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// What a client shows to a server that asks for it, and its key, both in PEM.
pub struct ClientCertificate {
    certificate: String,
    key: String,
}

impl ClientCertificate {
    /// Returns the certificate.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for ClientCertificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

fn failed(error: rcgen::Error) -> Error {
    Error::because("cannot make a certificate of a test authority", error)
}

fn authority() -> Result<TestAuthority, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Tenantry tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(TestAuthority {
        pem: params.self_signed(&key)?.pem(),
        issuer: Issuer::new(params, key),
    })
}

impl fmt::Debug for TestAuthority {
    /// Without its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestAuthority").finish_non_exhaustive()
    }
}
