//! Texts that only the holder of a key can have written.

use std::fmt::Write as _;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tenantry::core::{Secret, SecretReference, SecretResolver as _};
use tenantry::{Error, ErrorKind, Result, Storage};

/// A key by which texts are signed; its value came from a vault.
#[derive(Debug, Clone)]
pub(crate) struct SigningKey(Arc<Secret>);

/// What a signature is for, so that one of a link vouches for no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Caller,
    Link,
}

impl SigningKey {
    /// Takes a key over.
    pub(crate) const fn new(secret: Arc<Secret>) -> Self {
        Self(secret)
    }

    /// Reads the key that the settings of a service refer to.
    ///
    /// # Errors
    ///
    /// Those of the vault, and `InvalidSettings` where the storage has none.
    pub(crate) async fn of(storage: &Storage, reference: &SecretReference) -> Result<Self> {
        Ok(Self(storage.secrets()?.resolve(reference).await?))
    }

    /// Returns a text with its signature behind it.
    pub(crate) fn seal(&self, purpose: Purpose, text: &str) -> Result<String> {
        Ok(format!("{text}.{}", self.signature(purpose, text)?))
    }

    /// Returns the text that was sealed for this purpose, or nothing.
    pub(crate) fn open<'t>(&self, purpose: Purpose, sealed: &'t str) -> Option<&'t str> {
        let (text, claimed) = sealed.rsplit_once('.')?;
        let expected = Secret::new(self.signature(purpose, text).ok()?);
        expected.constant_time_eq(claimed).then_some(text)
    }

    fn signature(&self, purpose: Purpose, text: &str) -> Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose().as_bytes())
            .map_err(|_| Error::new(ErrorKind::InvalidSettings, "sign"))?;
        let purpose: &[u8] = match purpose {
            Purpose::Caller => b"caller\0",
            Purpose::Link => b"link\0",
        };
        mac.update(purpose);
        mac.update(text.as_bytes());
        let bytes = mac.finalize().into_bytes();
        let mut hex = String::with_capacity(64);
        for byte in bytes {
            // Writing to a `String` does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Ok(hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> SigningKey {
        SigningKey::new(Arc::new(Secret::new(value)))
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_for_the_same_purpose_alone() {
        let sealed = key("one").seal(Purpose::Link, "a.b").unwrap();
        assert_eq!(key("one").open(Purpose::Link, &sealed), Some("a.b"));
        assert_eq!(key("two").open(Purpose::Link, &sealed), None);
        assert_eq!(key("one").open(Purpose::Caller, &sealed), None);
        assert_eq!(
            key("one").open(Purpose::Link, &sealed.replace('b', "c")),
            None
        );
        assert_eq!(key("one").open(Purpose::Link, "a.b"), None);
        assert_eq!(key("one").open(Purpose::Link, ""), None);
    }
}
