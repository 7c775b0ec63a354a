//! What a service says of a blob: names and values that every backend can keep.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tenantry_core::{Error, ErrorKind, Result};

/// How much metadata a blob has: Azure takes 8 KiB, of which some are for what Tenantry keeps.
const METADATA: usize = 4 * 1024;

/// The tags in which a blob says its class and its kind to the storage service.
#[cfg(any(feature = "azure", feature = "lifecycle"))]
pub(crate) const CLASS_TAG: &str = "tenantry_class";
#[cfg(any(feature = "azure", feature = "lifecycle"))]
pub(crate) const KIND_TAG: &str = "tenantry_kind";

/// How many tags a blob has: Azure takes 10, of which three are for what Tenantry keeps.
const TAGS: usize = 7;

/// What the bytes of a blob are, such as `application/pdf`.
///
/// Up to 255 visible ASCII characters and spaces with one slash that is not at an end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentType(String);

impl ContentType {
    /// Returns the content type of this text.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the text has another form.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let is_visible = |byte: u8| matches!(byte, b' '..=b'~');
        let has_parts = text
            .split_once('/')
            .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
        if text.len() > 255 || !has_parts || !text.bytes().all(is_visible) || text.trim() != text {
            return Err(Error::new(ErrorKind::InvalidInput, "make content type")
                .with_detail("expected one such as application/pdf, of 255 characters at most"));
        }
        Ok(Self(text))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ContentType {
    /// Returns `application/octet-stream`.
    fn default() -> Self {
        Self("application/octet-stream".to_owned())
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ContentType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<ContentType> for String {
    fn from(kind: ContentType) -> Self {
        kind.0
    }
}

/// What a service says of a blob, by name: kept with it, and not looked for by.
///
/// Names are up to 64 characters of `[a-z0-9_]` that do not begin with a digit, which every backend
/// keeps as they are; a name with `tenantry_` before it is not for services. Values are any text
/// without control characters. All together take up to 4 KiB, where each byte that is not visible
/// ASCII counts three times, and a `%` too, as it is written percent-encoded.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Returns no metadata.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Says something; what was said by the same name is forgotten.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the name or the value has another form, or it is
    ///   too much in all.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        check_metadata(&name, &value)?;
        self.0.insert(name, value);
        let taken = |(name, value): (&String, &String)| name.len() + encoded_length(value);
        if self.0.iter().map(taken).sum::<usize>() > METADATA {
            return Err(refused_metadata(
                "expected 4 KiB of names and values at most",
            ));
        }
        Ok(self)
    }

    /// Returns what was said by a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns all of it, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Metadata {
    /// The names alone: values are of the service, or of its tenants.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl TryFrom<BTreeMap<String, String>> for Metadata {
    type Error = Error;

    fn try_from(all: BTreeMap<String, String>) -> Result<Self> {
        all.into_iter()
            .try_fold(Self::new(), |metadata, (name, value)| {
                metadata.with(name, value)
            })
    }
}

impl From<Metadata> for BTreeMap<String, String> {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

/// What a blob is found by on the side of the storage service, such as by rules of a life cycle.
///
/// Up to 7, with names of 1 to 64 and values of up to 256 characters of `[A-Za-z0-9 +-./:=_]`; a name
/// with `tenantry_` before it is not for services. An index over them may be late.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Returns no tags.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a tag; one of the same name is forgotten.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the name or the value has another form, or there
    ///   are too many.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        let fits = |text: &str| text.bytes().all(is_of_tag);
        let is_name = (1..=64).contains(&name.len()) && fits(&name) && !is_reserved(&name);
        if !is_name || value.len() > 256 || !fits(&value) {
            return Err(refused_tag(
                "expected a name of 1 to 64 and a value of up to 256 characters of [A-Za-z0-9 +-./:=_]",
            ));
        }
        self.0.insert(name, value);
        if self.0.len() > TAGS {
            return Err(refused_tag("expected 7 tags at most"));
        }
        Ok(self)
    }

    /// Returns the value of a tag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns all of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Tags {
    /// The names alone: values are of the service, or of its tenants.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = Error;

    fn try_from(all: BTreeMap<String, String>) -> Result<Self> {
        all.into_iter()
            .try_fold(Self::new(), |tags, (name, value)| tags.with(name, value))
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

fn check_metadata(name: &str, value: &str) -> Result<()> {
    let first_fits = name
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !first_fits || name.len() > 64 || !name.bytes().all(fits) || is_reserved(name) {
        return Err(refused_metadata(
            "expected a name of 1 to 64 characters of [a-z0-9_] that does not begin with a digit",
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(refused_metadata(
            "expected a value without control characters",
        ));
    }
    Ok(())
}

/// What the backends write beside.
fn is_reserved(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("tenantry_")
}

fn encoded_length(value: &str) -> usize {
    let length = |byte: u8| match byte {
        b'%' => 3,
        b'!'..=b'~' => 1,
        _ => 3,
    };
    value.bytes().map(length).sum()
}

const fn is_of_tag(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b' ' | b'+' | b'-' | b'.' | b'/' | b':' | b'=' | b'_')
}

fn refused_metadata(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, "add metadata of blob").with_detail(detail)
}

fn refused_tag(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, "add tag of blob").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_takes_what_every_backend_keeps() {
        let metadata = Metadata::new().with("file_name", "März 2026.pdf").unwrap();
        assert_eq!(metadata.get("file_name"), Some("März 2026.pdf"));
        for name in [
            "",
            "9a",
            "Name",
            "a-b",
            "a b",
            "tenantry_class",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(Metadata::new().with(name, "x").is_err(), "{name}");
        }
        assert!(Metadata::new().with("a", "x\ny").is_err());
        assert!(Metadata::new().with("a", "x".repeat(4 * 1024 - 1)).is_ok());
        assert!(Metadata::new().with("a", "x".repeat(4 * 1024)).is_err());
        assert!(Metadata::new().with("a", "ä".repeat(700)).is_err());
    }

    #[test]
    fn tags_take_what_every_backend_keeps() {
        let mut tags = Tags::new();
        for number in 0..7 {
            tags = tags
                .with(format!("tag {number}"), "2026-01-31T12:00:00+01:00")
                .unwrap();
        }
        assert!(tags.clone().with("tag 0", "another").is_ok());
        assert!(tags.with("one more", "").is_err());
        for (name, value) in [("", "x"), ("a", "ä"), ("a&b", "x"), ("TENANTRY_class", "x")] {
            assert!(Tags::new().with(name, value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn a_content_type_has_two_parts_in_one_line() {
        assert!(ContentType::new("text/csv; charset=utf-8").is_ok());
        for text in [
            "",
            "/",
            "text/",
            "/csv",
            "text",
            "text/csv\r\nx: y",
            "text/csv ",
            "text/ä",
        ] {
            assert!(ContentType::new(text).is_err(), "{text:?}");
        }
    }
}
