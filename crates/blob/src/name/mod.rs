//! What a blob is called: built in one place, of a tenant, and never of a user's text.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use uuid::Uuid;

const PARSE: &str = "parse blob name";
const EXPECTED: &str =
    "expected <tenant>/<kind>/<yyyy>/<mm>/<id> as a BlobName writes it, and nothing around it";
const KIND: &str = "make blob kind";
const EXPECTED_KIND: &str =
    "expected 1 to 63 characters of [a-z0-9_-] that begin with a letter, such as report-artifacts";
/// The length of a hyphenated UUID.
const UUID: usize = 36;

/// What blobs are for: the second part of their names, such as `report-artifacts`.
///
/// From 1 to 63 characters of `[a-z0-9_-]` that begin with a letter. A kind is fixed by the service:
/// it is never what a user typed.
///
/// # Examples
///
/// ```
/// use tenantry_blob::BlobKind;
///
/// assert_eq!(BlobKind::new("report-artifacts")?.as_str(), "report-artifacts");
/// assert!(BlobKind::new("../reports").is_err());
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKind(Arc<str>);

impl BlobKind {
    /// Returns the kind of this name.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the name has another form.
    pub fn new(name: &str) -> Result<Self> {
        if !is_kind(name) {
            return Err(Error::new(ErrorKind::InvalidInput, KIND).with_detail(EXPECTED_KIND));
        }
        Ok(Self(name.into()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The last part of a blob's name: a UUID, which nobody chooses by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(Uuid);

impl BlobId {
    /// Returns an id that nothing has: a UUID of version 7.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id of a UUID, for names that are made again after a crash, such as that of a sealed
    /// segment.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Returns the UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// The name of a blob: `<tenant>/<kind>/<yyyy>/<mm>/<id>`.
///
/// Each part has one spelling and none holds a slash, a dot or an escape, so that two names are equal
/// only where all parts are, no name lies in another tenant's, and none leaves the place where a
/// backend keeps it. Names are ordered as their texts are.
///
/// A name may be stored and shown. It lets nobody in: what is asked of the handle of one tenant by
/// another's name answers as a missing one does.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{BlobId, BlobKind, BlobName};
/// use tenantry_core::TenantId;
///
/// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
/// let at = "2026-01-31T23:59:59Z".parse()?;
/// let name = BlobName::new(tenant, &BlobKind::new("exports")?, at, BlobId::generate())?;
/// assert!(name.as_str().starts_with("0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a/exports/2026/01/"));
/// assert_eq!(name.as_str().parse::<BlobName>()?, name);
///
/// let outside = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a/exports/2026/01/../../x";
/// assert!(outside.parse::<BlobName>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BlobName {
    text: Arc<str>,
    tenant: TenantId,
    id: BlobId,
}

impl BlobName {
    /// Returns the name of a blob of a tenant: the one place where names are made.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the year is not one of 0 to 9999.
    pub fn new(tenant: TenantId, kind: &BlobKind, at: DateTime<Utc>, id: BlobId) -> Result<Self> {
        let (year, month) = (at.year(), at.month());
        if !(0..=9_999).contains(&year) {
            return Err(Error::new(ErrorKind::InvalidInput, "make blob name")
                .with_detail("expected a year from 0 to 9999: see the clock"));
        }
        Ok(Self {
            text: format!("{tenant}/{kind}/{year:04}/{month:02}/{id}").into(),
            tenant,
            id,
        })
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> BlobKind {
        let (kind, _) = self.within_tenant().split_once('/').unwrap_or_default();
        BlobKind(kind.into())
    }

    /// Returns the id.
    #[must_use]
    pub const fn id(&self) -> BlobId {
        self.id
    }

    /// Returns what stands behind the tenant: `<kind>/<yyyy>/<mm>/<id>`.
    #[must_use]
    pub fn within_tenant(&self) -> &str {
        &self.text[UUID + 1..]
    }

    /// Returns the name as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for BlobName {
    type Err = Error;

    /// Reads a name that [`as_str`](BlobName::as_str) gave.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no name is written like this. The message does not
    ///   repeat the text.
    fn from_str(text: &str) -> Result<Self> {
        read(text).ok_or_else(|| Error::new(ErrorKind::InvalidInput, PARSE).with_detail(EXPECTED))
    }
}

// By the text alone, as which a name can be looked for.
impl PartialEq for BlobName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for BlobName {}

impl PartialOrd for BlobName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BlobName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for BlobName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for BlobName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobName({})", self.text)
    }
}

impl Serialize for BlobName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for BlobName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Which blobs of one tenant are meant: all, those of a kind, of its year, of its month.
///
/// It always ends between two parts of a name: `report` never means `reports`.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{BlobKind, BlobPrefix};
/// use tenantry_core::TenantId;
///
/// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
/// let prefix = BlobPrefix::of(tenant).with_kind(&BlobKind::new("report")?).with_month(2026, 1)?;
/// assert_eq!(prefix.as_str(), "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a/report/2026/01/");
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobPrefix {
    text: String,
    tenant: TenantId,
}

impl BlobPrefix {
    /// Returns the prefix of all that a tenant has.
    #[must_use]
    pub fn of(tenant: TenantId) -> Self {
        Self {
            text: format!("{tenant}/"),
            tenant,
        }
    }

    /// Narrows it to a kind; what was said of a kind or a month before is forgotten.
    #[must_use]
    pub fn with_kind(mut self, kind: &BlobKind) -> Self {
        self.text = format!("{}/{kind}/", self.tenant);
        self
    }

    /// Narrows it to a month of its kind.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no kind was named before, or there is no such month.
    pub fn with_month(mut self, year: u16, month: u8) -> Result<Self> {
        let is_of_kind = self.text.matches('/').count() == 2;
        if !is_of_kind || year > 9_999 || !(1..=12).contains(&month) {
            return Err(
                Error::new(ErrorKind::InvalidInput, "narrow blob prefix").with_detail(
                    "expected a kind before the month, a year up to 9999 and a month from 1 to 12",
                ),
            );
        }
        self.text.push_str(&format!("{year:04}/{month:02}/"));
        Ok(self)
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns what the names of all that is meant begin with, and no other name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns what stands behind the tenant; may be empty.
    #[must_use]
    pub fn within_tenant(&self) -> &str {
        &self.text[UUID + 1..]
    }

    /// Returns whether a blob is meant.
    #[must_use]
    pub fn includes(&self, name: &BlobName) -> bool {
        name.as_str().starts_with(&self.text)
    }
}

fn is_kind(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        })
}

/// One name, one spelling: what is written in another way than names are written is none.
fn read(text: &str) -> Option<BlobName> {
    let mut parts = text.split('/');
    let mut next = || parts.next().unwrap_or_default();
    let tenant = next();
    if !is_kind(next()) || !is_number(next(), 4) || !is_month(next()) {
        return None;
    }
    let id = next();
    if parts.next().is_some() || !is_lower_uuid(tenant) || !is_lower_uuid(id) {
        return None;
    }
    Some(BlobName {
        text: text.into(),
        tenant: tenant.parse().ok()?,
        id: BlobId(Uuid::parse_str(id).ok()?),
    })
}

/// `TenantId` and `Uuid` read upper case as well, of which names have none.
fn is_lower_uuid(part: &str) -> bool {
    part.len() == UUID
        && part.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
        })
}

fn is_number(part: &str, digits: usize) -> bool {
    part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_month(part: &str) -> bool {
    is_number(part, 2) && matches!(part.parse(), Ok(1..=12))
}

#[cfg(test)]
mod tests;
