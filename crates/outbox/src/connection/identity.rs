//! What a client shows of itself to a server that asks for its certificate.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use tenantry_core::{Result, Secret, SecretReference, SecretSource};
use tokio::sync::OnceCell;

use super::Password;
use super::login::Current;
use super::tls::{certificates, invalid};

/// Where a certificate with its chain comes from, and its key; nothing, if none is shown.
#[derive(Clone, Default)]
pub(super) struct Identity {
    parts: Option<(Password, Password)>,
    /// Followed once, when it is first asked for.
    shown: Arc<OnceCell<Arc<Shown>>>,
}

impl Identity {
    pub(super) fn given(certificate: String, key: Secret) -> Self {
        let given = |secret| Password::Given(Arc::new(secret));
        Self::of(given(Secret::new(certificate)), given(key))
    }

    pub(super) fn from(
        source: Arc<dyn SecretSource>,
        certificate: SecretReference,
        key: SecretReference,
    ) -> Self {
        let certificate = Password::From(Arc::clone(&source), certificate);
        Self::of(certificate, Password::From(source, key))
    }

    fn of(certificate: Password, key: Password) -> Self {
        Self {
            parts: Some((certificate, key)),
            shown: Arc::default(),
        }
    }

    pub(super) const fn is_none(&self) -> bool {
        self.parts.is_none()
    }

    /// Refuses what was given and is no certificate with its key; what comes of a vault is looked at there.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        match &self.parts {
            Some((Password::Given(certificate), Password::Given(key))) => {
                certified(certificate, key, operation).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Returns what is shown to whoever asks, with each connection the newest that there is.
    pub(super) async fn shown(&self, operation: &'static str) -> Result<Option<Arc<Shown>>> {
        let Some((certificate, key)) = &self.parts else {
            return Ok(None);
        };
        let following = || async {
            let shown = Shown {
                certificate: certificate.follow().await?,
                key: key.follow().await?,
                last: Mutex::default(),
            };
            shown.newest(operation)?;
            Ok(Arc::new(shown))
        };
        self.shown
            .get_or_try_init(following)
            .await
            .cloned()
            .map(Some)
    }

    /// Asks the vault anew, after a server has refused what was shown: with the next connection it is another, perhaps.
    pub(super) async fn was_refused(&self) {
        if let Some(shown) = self.shown.get() {
            // What the server has said tells more than a vault that does not answer.
            let _ = shown.certificate.was_refused().await;
            let _ = shown.key.was_refused().await;
        }
    }
}

/// A certificate and its key, the newest there is at any time.
pub(super) struct Shown {
    certificate: Current,
    key: Current,
    last: Mutex<Option<Last>>,
}

/// What was shown last, and the texts that it is of.
struct Last {
    texts: [Arc<Secret>; 2],
    certified: Arc<CertifiedKey>,
}

impl Shown {
    fn newest(&self, operation: &'static str) -> Result<Arc<CertifiedKey>> {
        let (Some(certificate), Some(key)) = (self.certificate.secret(), self.key.secret()) else {
            return Err(invalid(operation, "there is no certificate"));
        };
        let mut last = self.last.lock();
        if let Some(Last { texts, certified }) = &*last
            && Arc::ptr_eq(&texts[0], &certificate)
            && Arc::ptr_eq(&texts[1], &key)
        {
            return Ok(Arc::clone(certified));
        }
        let certified = Arc::new(certified(&certificate, &key, operation)?);
        *last = Some(Last {
            texts: [certificate, key],
            certified: Arc::clone(&certified),
        });
        Ok(certified)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.newest("show certificate")
            .inspect_err(|error| {
                // One of the two may be newer than the other for a while.
                tracing::warn!(
                    target: "tenantry::outbox",
                    %error,
                    "the newest certificate cannot be shown: it is the one before"
                );
            })
            .ok()
            .or_else(|| {
                let last = self.last.lock();
                last.as_ref().map(|last| Arc::clone(&last.certified))
            })
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

fn certified(certificate: &Secret, key: &Secret, operation: &'static str) -> Result<CertifiedKey> {
    let chain = certificates([certificate.expose()], operation)?;
    // Neither error repeats the text here.
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| invalid(operation, "the key of a certificate is no PEM"))?;
    let key = ring::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| {
            invalid(
                operation,
                "the key of a certificate is of no kind that is known",
            )
        })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(cause) => {
            let detail = "a certificate cannot be read, or the key is not its own: give the key of the first of the \
                          chain";
            Err(invalid(operation, detail).with_source(cause))
        }
    }
}
