//! How the bytes of a blob are encrypted, as it stands in its record.

use std::fmt;
use std::str::FromStr;

use tenantry_core::{Error, ErrorKind, Result, SecretReference};

use crate::integrity::{from_hex, to_hex};

const ALGORITHM: &str = "aes256-gcm-stream-1";
/// A nonce, the key, and a tag.
const WRAPPED: usize = 12 + 32 + 16;
/// How many bytes of an encrypted segment are its tag.
const TAG: u64 = 16;
/// How long the segments are that a blob may say to have: room for it is made before it is believed.
const SEGMENTS: std::ops::RangeInclusive<u32> = 64..=16 * 1024 * 1024;

/// How the bytes of a blob are encrypted: which key opens them, and the key of the blob wrapped by that;
/// never a key itself.
///
/// A backend keeps its text with the blob, where no service can set it, and tells it in the record.
/// Only with the feature `encryption` is anything encrypted or opened; who has not that feature keeps
/// what others wrote, and gives none of those bytes out.
#[derive(Clone, PartialEq, Eq)]
pub struct BlobEncryption {
    key: SecretReference,
    wrapped: [u8; WRAPPED],
    segment_length: u32,
    state: KeyState,
}

/// What is known of the key of an encrypted blob, by who tells of the blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Nobody has asked for it: the length is that of the encrypted bytes, the digest is hidden.
    #[default]
    NotAsked,
    /// It opens the blob.
    Opened,
    /// It does not open the blob, for this: the digest stays hidden.
    ///
    /// `NotFound`, `SecretDeleted` and `SecretDisabled` say that the key is gone, and the blob with it.
    Lost(ErrorKind),
}

impl KeyState {
    /// Returns whether the key is gone, and with it all that it opened: deleted, or switched off.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(
            self,
            Self::Lost(ErrorKind::NotFound | ErrorKind::SecretDeleted | ErrorKind::SecretDisabled)
        )
    }
}

impl BlobEncryption {
    #[cfg(feature = "encryption")]
    pub(crate) const fn new(
        key: SecretReference,
        wrapped: [u8; WRAPPED],
        segment_length: u32,
    ) -> Self {
        Self {
            key,
            wrapped,
            segment_length,
            state: KeyState::NotAsked,
        }
    }

    #[cfg(feature = "encryption")]
    pub(crate) fn in_state(mut self, state: KeyState) -> Self {
        self.state = state;
        self
    }

    #[cfg(feature = "encryption")]
    pub(crate) const fn wrapped(&self) -> &[u8; WRAPPED] {
        &self.wrapped
    }

    /// Returns which secret, in which version, opens the blob; where its place keeps no versions, the
    /// reference has none.
    #[must_use]
    pub const fn key(&self) -> &SecretReference {
        &self.key
    }

    /// Returns the name of how it is encrypted.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        ALGORITHM
    }

    /// Returns how many bytes each encrypted segment has but the last.
    #[must_use]
    pub const fn segment_length(&self) -> u32 {
        self.segment_length
    }

    /// Returns how many bytes those are of which a record tells the length.
    pub(crate) fn length_of(&self, length: u64) -> u64 {
        match self.state {
            KeyState::NotAsked => {
                opened_length(self.segment_length.into(), length).unwrap_or(length)
            }
            _ => length,
        }
    }

    /// Returns what is known of the key.
    #[must_use]
    pub const fn state(&self) -> KeyState {
        self.state
    }
}

impl fmt::Debug for BlobEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobEncryption")
            .field("key", &self.key)
            .field("segment_length", &self.segment_length)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BlobEncryption {
    /// Writes what is kept with a blob: `<algorithm>;<segment length>;<wrapped key>;<reference>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{ALGORITHM};{};{};{}",
            self.segment_length,
            to_hex(&self.wrapped),
            self.key
        )
    }
}

impl FromStr for BlobEncryption {
    type Err = Error;

    /// Reads what was written so.
    ///
    /// # Errors
    ///
    /// - [`Corrupt`](ErrorKind::Corrupt): it is another text, or that of a newer version.
    fn from_str(text: &str) -> Result<Self> {
        read(text).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read encryption of blob")
                .with_detail("it was altered, or a newer version wrote it")
        })
    }
}

/// Returns how many bytes so many encrypted ones are, if there can be so many, in segments of so many.
pub(crate) fn opened_length(segment: u64, sealed: u64) -> Option<u64> {
    let segments = sealed.div_ceil(segment).max(1);
    let last = sealed.checked_sub((segments - 1) * segment)?;
    // No segment is without content but that of an empty blob.
    let is_whole = last > TAG || segments == 1 && last == TAG;
    is_whole.then(|| sealed - segments * TAG)
}

fn read(text: &str) -> Option<BlobEncryption> {
    let mut parts = text.splitn(4, ';');
    if parts.next()? != ALGORITHM {
        return None;
    }
    let segment_length = parts.next()?;
    let wrapped = from_hex(parts.next()?)?;
    let key = parts.next()?.parse().ok()?;
    let read = BlobEncryption {
        key,
        wrapped,
        segment_length: segment_length.parse().ok()?,
        state: KeyState::NotAsked,
    };
    // One state, one spelling.
    (SEGMENTS.contains(&read.segment_length) && read.to_string() == text).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "aes256-gcm-stream-1;65536;\
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b;\
        kv://blobs/t-0190b5a48f2e7c3d9a614f0e5d2c1b7a-key/0123456789abcdef0123456789abcdef";

    #[test]
    fn it_has_one_spelling() {
        let read: BlobEncryption = TEXT.parse().unwrap();
        assert_eq!(read.to_string(), TEXT);
        assert_eq!(
            (read.segment_length(), read.state()),
            (65_536, KeyState::NotAsked)
        );
        for other in [
            "",
            &TEXT.replace("stream-1", "stream-2"),
            &TEXT.replace("65536", "065536"),
            &TEXT.replace("65536", "63"),
            &TEXT.replace("65536", "16777217"),
            &TEXT.replace("0a0b", "0A0B"),
            &TEXT.replace("3a3b", "3a"),
            &TEXT.replace("kv://", "https://"),
            &TEXT[..TEXT.len() - 1],
        ] {
            let refused = other.parse::<BlobEncryption>().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{other}");
        }
    }

    #[test]
    fn debug_shows_no_wrapped_key() {
        let read: BlobEncryption = TEXT.parse().unwrap();
        assert!(!format!("{read:?}").contains("0a0b"));
    }
}
