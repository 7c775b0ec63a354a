use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::ServerCertificate;
use crate::{Error, Result};

/// An authority of a test's own, which vouches for servers. Its key is never written to a disk.
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
        let failed = "cannot make a certificate of a test authority";
        self.signed(name)
            .map_err(|error| Error::because(failed, error))
    }

    fn signed(&self, name: &str) -> Result<ServerCertificate, rcgen::Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerCertificate::new(
            certificate.pem(),
            key.serialize_pem(),
            &*self.pem,
        ))
    }
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
