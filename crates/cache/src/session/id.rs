use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest as _, Sha256};
use tenantry_core::{Error, ErrorKind, Result};
use zeroize::{Zeroize as _, Zeroizing};

const BYTES: usize = 32;

/// The id of a session: 256 bits of chance, as 43 characters of base64url.
///
/// Who has it is let in. So it can be neither printed nor serialised, its memory is wiped when it is
/// dropped, and [`expose`](Self::expose) is the one way to the text, for the cookie. Ids are compared, and
/// stored, by their [`SessionHash`].
///
/// # Examples
///
/// ```
/// use tenantry_cache::SessionId;
/// use tenantry_core::ErrorKind;
///
/// let id = SessionId::generate()?;
/// let cookie = format!("id={}; HttpOnly; Secure; SameSite=Lax", id.expose());
/// assert_eq!(id.expose().parse::<SessionId>()?, id);
///
/// assert_eq!("junk".parse::<SessionId>().unwrap_err().kind(), ErrorKind::InvalidInput);
/// assert_eq!(format!("{id:?}"), "SessionId(redacted)");
/// # let _ = cookie;
/// # Ok::<(), tenantry_core::Error>(())
/// ```
///
/// It does not print:
///
/// ```compile_fail,E0277
/// let id = tenantry_cache::SessionId::generate().unwrap();
/// println!("{id}");
/// ```
///
/// It does not serialise:
///
/// ```compile_fail,E0277
/// let id = tenantry_cache::SessionId::generate().unwrap();
/// serde_json::to_string(&id);
/// ```
#[derive(Clone)]
pub struct SessionId {
    text: Zeroizing<String>,
    hash: SessionHash,
}

/// The SHA-256 of a session's id: it names a session, and lets nobody in.
///
/// It is what is stored in the place of the id, and what a user's list of sessions shows. Written as 43
/// characters of base64url, as an id is; where an id is asked for, it is one that nobody has.
///
/// # Examples
///
/// ```
/// use tenantry_cache::{SessionHash, SessionId};
///
/// let id = SessionId::generate()?;
/// let hash = id.hash();
/// assert_eq!(hash.to_string().parse::<SessionHash>()?, hash);
/// assert_ne!(hash.to_string(), id.expose());
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionHash([u8; BYTES]);

impl SessionId {
    /// Returns an id that nobody has, by the randomness of the operating system.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](ErrorKind::Unavailable): the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; BYTES];
        SysRng.try_fill_bytes(&mut bytes).map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "generate session id")
                .with_detail("the operating system gives no random bytes")
                .with_source(cause)
        })?;
        Ok(Self::of(bytes))
    }

    /// Returns the text, for the cookie or header that it travels in.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns what is stored in its place.
    #[must_use]
    pub const fn hash(&self) -> SessionHash {
        self.hash
    }

    fn of(mut bytes: [u8; BYTES]) -> Self {
        let id = Self {
            text: Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)),
            hash: SessionHash::of(&bytes),
        };
        bytes.zeroize();
        id
    }
}

impl FromStr for SessionId {
    type Err = Error;

    /// Reads the text of an id, and no other spelling of it.
    fn from_str(text: &str) -> Result<Self> {
        decoded(text)
            .map(Self::of)
            .ok_or_else(|| refused("parse session id"))
    }
}

impl PartialEq for SessionId {
    /// By the hashes, of which the time to compare tells nothing.
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for SessionId {}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(redacted)")
    }
}

impl SessionHash {
    /// Returns the hash of an id's bytes.
    pub(crate) fn of(id: &[u8]) -> Self {
        Self(Sha256::digest(id).into())
    }
}

impl FromStr for SessionHash {
    type Err = Error;

    /// Reads the text of a hash, and no other spelling of it.
    fn from_str(text: &str) -> Result<Self> {
        decoded(text)
            .map(Self)
            .ok_or_else(|| refused("parse session hash"))
    }
}

impl fmt::Display for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHash({self})")
    }
}

fn decoded(text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    // It is strict: bits that mean nothing have to be zero.
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == BYTES).then_some(bytes)
}

fn refused(operation: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, operation)
        .with_detail("expected 43 characters of base64url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = SessionId::generate().unwrap();
        let text = id.expose();
        assert_eq!(text.len(), 43);
        assert_eq!(text.parse::<SessionId>().unwrap(), id);
        // The last character has two bits that mean nothing.
        let zero = "A".repeat(43);
        assert!(zero.parse::<SessionId>().is_ok());
        for junk in [
            "",
            "A",
            &text[..42],
            &format!("{text}A"),
            &format!("{text}="),
            &format!(" {}", &text[1..]),
            &format!("{}B", "A".repeat(42)),
            &format!("+{}", "A".repeat(42)),
            &"é".repeat(22)[..42],
            &"A".repeat(100_000),
        ] {
            let refused = junk.parse::<SessionId>().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
            assert!(junk.parse::<SessionHash>().is_err());
        }
    }

    #[test]
    fn what_is_refused_is_not_told() {
        let refused = "secretsecret".parse::<SessionId>().unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("secretsecret"));
    }

    /// Sessions that are stored are found by it.
    #[test]
    fn the_hash_is_the_sha256_of_the_bytes() {
        let id: SessionId = "A".repeat(43).parse().unwrap();
        assert_eq!(
            id.hash().to_string(),
            "Zmh6rfhivXdsj8GLjp-OIAiXFIVu4jOzkCpZHQ1fKSU"
        );
    }

    #[test]
    fn no_two_ids_are_the_same() {
        let ids: std::collections::HashSet<_> = (0..1_000)
            .map(|_| SessionId::generate().unwrap().hash())
            .collect();
        assert_eq!(ids.len(), 1_000);
    }
}
