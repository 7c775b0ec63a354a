//! The identity of a tenant.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use uuid::Uuid;

use crate::{Error, Result};

const PARSE: &str = "parse tenant id";
const EXPECTED_TEXT: &str = "expected a UUID of 36 characters with hyphens, all lower or all upper \
                             case, neither nil nor max, and nothing around it";
const EXPECTED_UUID: &str = "expected a UUID that is neither nil nor max; give each tenant its own";

/// The identity of a tenant: a UUID that is neither nil nor max.
///
/// There is no default, no empty and no wildcard tenant, and nothing else than a UUID in its
/// hyphenated form parses as one. A value of this type therefore proves that a tenant was named;
/// that it exists, and that the caller belongs to it, is for the service to check.
///
/// Serialises as text in formats for people (JSON) and as 16 bytes in others. Both directions
/// are validated alike.
///
/// # Examples
///
/// ```
/// use tenantry_core::{ErrorKind, TenantId};
///
/// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
/// assert_eq!(tenant.to_string(), "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a");
///
/// for junk in ["", "*", "0", "00000000-0000-0000-0000-000000000000"] {
///     assert_eq!(junk.parse::<TenantId>().unwrap_err().kind(), ErrorKind::InvalidInput);
/// }
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Uuid);

impl TenantId {
    /// Returns the tenant that `uuid` names.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): `uuid` is nil or max.
    pub fn new(uuid: Uuid) -> Result<Self> {
        Self::from_u128(uuid.as_u128())
            .ok_or_else(|| Error::refused("make tenant id", EXPECTED_UUID))
    }

    /// Returns the tenant of a number, or `None` where it stands for the nil or the max UUID.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::TenantId;
    ///
    /// const DEMO: TenantId = TenantId::from_u128(0x0190_b5a4_8f2e_7c3d_9a61_4f0e_5d2c_1b7a).unwrap();
    /// assert_eq!(DEMO.to_string(), "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a");
    /// ```
    #[must_use]
    pub const fn from_u128(value: u128) -> Option<Self> {
        match value {
            0 | u128::MAX => None,
            value => Some(Self(Uuid::from_u128(value))),
        }
    }

    /// Returns the identity for a tenant that is about to be created: a UUID of version 7.
    ///
    /// Later calls give greater values, so that new rows stand together in an index.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0.hyphenated())
    }
}

impl FromStr for TenantId {
    type Err = Error;

    /// Parses the hyphenated form of 36 characters, all in lower or all in upper case.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): anything else, the nil and the max
    ///   UUID among it. The message does not repeat the text.
    fn from_str(text: &str) -> Result<Self> {
        parse_hyphenated(text.as_bytes())
            .and_then(Self::from_u128)
            .ok_or_else(|| Error::refused(PARSE, EXPECTED_TEXT))
    }
}

impl TryFrom<&str> for TenantId {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<Uuid> for TenantId {
    type Error = Error;

    fn try_from(uuid: Uuid) -> Result<Self> {
        Self::new(uuid)
    }
}

impl From<TenantId> for Uuid {
    fn from(tenant: TenantId) -> Self {
        tenant.0
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
        } else {
            serializer.serialize_bytes(self.0.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(TextVisitor)
        } else {
            deserializer.deserialize_bytes(BytesVisitor)
        }
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = TenantId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tenant id as a hyphenated UUID")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TenantId, E> {
        text.parse().map_err(E::custom)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = TenantId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tenant id as 16 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<TenantId, E> {
        let uuid = Uuid::from_slice(bytes)
            .map_err(|_| E::invalid_length(bytes.len(), &"a tenant id as 16 bytes"))?;
        TenantId::new(uuid).map_err(E::custom)
    }
}

/// Returns the number behind a hyphenated UUID, or `None` where the text has another form.
///
/// `Uuid::parse_str` takes braces, `urn:uuid:`, the form without hyphens and mixed case: each a
/// second spelling of one tenant, under which a lookup by text would miss.
fn parse_hyphenated(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let (mut value, mut lower, mut upper) = (0_u128, false, false);
    for (index, &byte) in text.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => {
                lower = true;
                byte - b'a' + 10
            }
            b'A'..=b'F' => {
                upper = true;
                byte - b'A' + 10
            }
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    (!(lower && upper)).then_some(value)
}

#[cfg(test)]
mod tests;
