//! Checksums: CRC64 of each block, and SHA-256 of the whole.

mod block;
mod buffers;
mod digest;
mod lane;

use std::fmt;
use std::str::FromStr;

use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tenantry_core::{Error, ErrorKind, Result};

pub use self::block::Block;
pub(crate) use self::block::{Blocks, Body};
#[cfg(feature = "azure")]
pub(crate) use self::buffers::Buffers;
#[cfg(feature = "fs")]
pub(crate) use self::digest::Hasher;
pub(crate) use self::digest::Hashing;
#[cfg(feature = "fs")]
pub(crate) use self::lane::{Lane, Work};

/// The CRC64 of a block, as Azure Storage reckons it: CRC-64/NVME.
///
/// # Examples
///
/// ```
/// use tenantry_blob::Crc64;
///
/// assert_eq!(Crc64::of(b"123456789"), Crc64(0xae8b_1486_0a79_9888));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc64(pub u64);

impl Crc64 {
    /// Returns the checksum of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
    }

    pub(crate) fn of_all<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut summing = Summing::default();
        for chunk in chunks {
            summing.add(chunk);
        }
        summing.finish()
    }
}

/// A checksum that is under way: of bytes that were just copied, while they are near.
pub(crate) struct Summing(crc_fast::Digest);

impl Summing {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Crc64 {
        Crc64(self.0.finalize())
    }
}

impl Default for Summing {
    fn default() -> Self {
        Self(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme))
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64({:016x})", self.0)
    }
}

/// The SHA-256 of a whole blob.
///
/// # Examples
///
/// ```
/// use tenantry_blob::Sha256;
///
/// let digest = Sha256::of(b"abc");
/// assert!(digest.to_string().starts_with("ba7816bf8f01cfea"));
/// assert_eq!(digest.to_string().parse::<Sha256>()?, digest);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Returns the digest of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_hex(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = Error;

    /// Reads 64 hexadecimal digits in lower case.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is another text.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            Error::new(ErrorKind::InvalidInput, "parse SHA-256")
                .with_detail("expected 64 hexadecimal digits in lower case")
        };
        from_hex(text).map(Self).ok_or_else(refused)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Returns bytes as hexadecimal digits in lower case.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// Reads what [`to_hex`] wrote of so many bytes, and nothing else.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let text = Sha256::of(b"").to_string();
        assert_eq!(
            text,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for other in [
            text.to_uppercase(),
            format!("{text}0"),
            text[1..].to_owned(),
            "é".repeat(32),
        ] {
            assert!(other.parse::<Sha256>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_checksum_of_parts_is_that_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let (one, rest) = bytes.split_at(777);
        assert_eq!(Crc64::of_all([one, &[], rest]), Crc64::of(&bytes));
        assert_eq!(Crc64::of(b""), Crc64(0));
    }
}
