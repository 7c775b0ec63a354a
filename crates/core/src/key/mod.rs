//! Keys and names that carry a tenant: the one place where they are built.
//!
//! A key that is put together by hand collides as soon as a part contains the separator: tenant
//! `a:b` with `c` is `a` with `b:c`. Here each part is escaped, and reading gives back exactly
//! what was written or refuses.

mod sql_name;

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, TenantId};

pub use self::sql_name::SqlName;

const EXPECTED: &str = "expected t:<tenant>:<kind>[:<segment>…] as a TenantKey writes it";
const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// Stands for a segment with no text. No escape looks like it, and a key never ends in `:`.
const EMPTY_SEGMENT: &str = "%-";
/// The length of `t:`, a hyphenated UUID and `:`.
const PREFIX_LENGTH: usize = 39;

/// The key of something that belongs to a tenant: `t:<tenant>:<kind>:<segment>:<segment>`.
///
/// Every byte of a segment outside `[A-Za-z0-9_.~-]` is percent-escaped. Two keys are equal only
/// where tenant, kind and every segment are; none holds a space, a slash, a line break or a
/// wildcard of Redis.
///
/// # Examples
///
/// ```
/// use tenantry_core::{TenantId, TenantKey};
///
/// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
/// let key = TenantKey::new(tenant, "invoice")?.segment("2026:01").segment("Müller");
/// assert_eq!(
///     key.as_str(),
///     "t:0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a:invoice:2026%3A01:M%C3%BCller"
/// );
///
/// let read = TenantKey::parse(key.as_str())?;
/// assert_eq!((read.tenant(), read.kind()), (tenant, "invoice"));
/// assert_eq!(read.segments(), ["2026:01", "Müller"]);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantKey {
    text: String,
    tenant: TenantId,
    kind_end: usize,
}

impl TenantKey {
    /// Returns the key of `kind` with no segments yet.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): `kind` is not a lower-case letter
    ///   followed by up to 62 of `[a-z0-9_-]`.
    pub fn new(tenant: TenantId, kind: &str) -> Result<Self> {
        if !is_kind(kind) {
            return Err(Error::refused(
                "build tenant key",
                "expected a kind of 1 to 63 characters of [a-z0-9_-] that begins with a letter",
            ));
        }
        // Long enough for a kind and a segment of usual length: most keys allocate once.
        let mut text = String::with_capacity(2 * PREFIX_LENGTH + kind.len());
        push_prefix(&mut text, tenant);
        text.push_str(kind);
        Ok(Self {
            kind_end: text.len(),
            text,
            tenant,
        })
    }

    /// Adds a segment; any text is one, the empty text too.
    #[must_use]
    pub fn segment(mut self, segment: impl AsRef<str>) -> Self {
        self.text.push(':');
        push_escaped(&mut self.text, segment.as_ref());
        self
    }

    /// Reads a key that [`as_str`](Self::as_str) gave.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): no key is written like this; another
    ///   spelling of a key, such as `%3a` for `%3A` or `%41` for `A`, is refused as well.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| Error::refused("parse tenant key", EXPECTED))
    }

    /// Returns what every key of `tenant` begins with, and no key of another: `t:<tenant>:`.
    ///
    /// It is for scanning and for dropping all that a tenant has.
    #[must_use]
    pub fn prefix_of(tenant: TenantId) -> String {
        let mut text = String::with_capacity(PREFIX_LENGTH);
        push_prefix(&mut text, tenant);
        text
    }

    /// Returns the tenant that the key belongs to.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.text[PREFIX_LENGTH..self.kind_end]
    }

    /// Returns the segments as they were before escaping.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        self.text[self.kind_end..]
            .split(':')
            .skip(1)
            .filter_map(unescape)
            .collect()
    }

    /// Returns the key as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the key as it is stored, by value.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("t:")?.split(':');
        let tenant = parts.next()?.parse().ok()?;
        let mut key = Self::new(tenant, parts.next()?).ok()?;
        for part in parts {
            key = key.segment(unescape(part)?);
        }
        // One key, one spelling: whatever was read in another way than it is written is refused.
        (key.text == text).then_some(key)
    }
}

impl fmt::Display for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl AsRef<str> for TenantKey {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl FromStr for TenantKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn push_prefix(text: &mut String, tenant: TenantId) {
    let mut buffer = uuid::Uuid::encode_buffer();
    text.push_str("t:");
    text.push_str(tenant.as_uuid().hyphenated().encode_lower(&mut buffer));
    text.push(':');
}

fn push_escaped(text: &mut String, segment: &str) {
    if segment.is_empty() {
        text.push_str(EMPTY_SEGMENT);
    }
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'~' | b'-') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 0x0f)]));
        }
    }
}

fn unescape(part: &str) -> Option<String> {
    if part == EMPTY_SEGMENT {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    let position = HEX.iter().position(|digit| *digit == byte)?;
    u8::try_from(position).ok()
}

fn is_kind(kind: &str) -> bool {
    kind.len() <= 63
        && kind.starts_with(|first: char| first.is_ascii_lowercase())
        && kind.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        })
}

#[cfg(test)]
mod tests;
