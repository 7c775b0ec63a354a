//! Short texts that name an actor or a request.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// Who acts: a user, a service or the system itself.
///
/// From 1 to 200 bytes with no control characters, so that it fits a column and cannot break a
/// line of a log. Build it from what was authenticated, with a prefix for the kind
/// (`user:…`, `service:…`), so that no user is named like the [`system`](Self::system).
///
/// # Examples
///
/// ```
/// use tenantry_core::Actor;
///
/// assert_eq!(Actor::new("service:billing")?.as_str(), "service:billing");
/// assert_eq!(Actor::system().as_str(), "system");
/// assert!(Actor::new("mallory\nactor=admin").is_err());
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(Cow<'static, str>);

impl Actor {
    /// The most bytes that an actor takes.
    pub const MAX_BYTES: usize = 200;

    /// Returns the actor of that name.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the name is empty, is longer than
    ///   [`MAX_BYTES`](Self::MAX_BYTES), or has a control character.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if is_plain(&name, Self::MAX_BYTES) {
            Ok(Self(Cow::Owned(name)))
        } else {
            Err(Error::refused(
                "name actor",
                "expected 1 to 200 bytes with no control characters",
            ))
        }
    }

    /// Returns the actor of work that no one asked for: `system`.
    #[must_use]
    pub const fn system() -> Self {
        Self(Cow::Borrowed("system"))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Actor {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// The identifier that a caller knows a request by, across services.
///
/// From 1 to 128 bytes with no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(Box<str>);

impl CorrelationId {
    /// The most bytes that a correlation id takes.
    pub const MAX_BYTES: usize = 128;

    /// Returns the correlation id of that text.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the text is empty, is longer than
    ///   [`MAX_BYTES`](Self::MAX_BYTES), or has a control character.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        if is_plain(&id, Self::MAX_BYTES) {
            Ok(Self(id.into_boxed_str()))
        } else {
            Err(Error::refused(
                "make correlation id",
                "expected 1 to 128 bytes with no control characters",
            ))
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for CorrelationId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        Self::new(id)
    }
}

fn is_plain(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn lengths_are_counted_in_bytes() {
        assert!(Actor::new("é".repeat(100)).is_ok());
        assert!(Actor::new("é".repeat(101)).is_err());
        assert!(CorrelationId::new("x".repeat(128)).is_ok());
        assert!(CorrelationId::new("x".repeat(129)).is_err());
    }

    #[test]
    fn empty_texts_and_control_characters_are_refused() {
        for text in ["", "a\nb", "a\0", "\t", "a\u{7f}", "a\u{85}"] {
            assert_eq!(
                Actor::new(text).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{text:?}"
            );
            assert_eq!(
                CorrelationId::new(text).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
    }
}
