//! Legal holds.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry_core::{Actor, Error, ErrorKind, Result};

/// Names a legal hold: 3 to 23 characters of `[a-z0-9]`, such as `case17`.
///
/// It is the form in which Azure takes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldTag(String);

impl HoldTag {
    /// Returns the tag of this name.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the name has another form.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(3..=23).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(Error::new(ErrorKind::InvalidInput, "make hold tag")
                .with_detail("expected 3 to 23 characters of [a-z0-9], such as case17"));
        }
        Ok(Self(name))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HoldTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for HoldTag {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<HoldTag> for String {
    fn from(tag: HoldTag) -> Self {
        tag.0
    }
}

/// Keeps a blob whatever its retention says, until it is cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHold {
    /// What it is called.
    pub tag: HoldTag,
    /// Why it was placed.
    pub reason: String,
    /// Who placed it.
    #[serde(with = "crate::as_text")]
    pub by: Actor,
    /// When it was placed.
    pub at: DateTime<Utc>,
}
