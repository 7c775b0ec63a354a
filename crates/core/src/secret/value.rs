//! The value of a secret.

use std::fmt;
use std::hint::black_box;

use zeroize::Zeroize;

/// The value of a secret: a password, a key, a connection string.
///
/// It can be neither printed, serialised, cloned nor bound to a statement, and its memory is
/// wiped when it is dropped. [`expose`](Self::expose) is the one way to the text, and easy to
/// find in a review. Share it as `Arc<Secret>`.
///
/// # Examples
///
/// ```
/// use tenantry_core::Secret;
///
/// let password = Secret::new("hunter2");
/// assert_eq!(format!("{password:?}"), "Secret(redacted)");
/// assert_eq!(password.expose(), "hunter2");
/// ```
///
/// It does not print:
///
/// ```compile_fail,E0277
/// let password = tenantry_core::Secret::new("hunter2");
/// println!("{password}");
/// ```
///
/// It does not serialise:
///
/// ```compile_fail,E0277
/// let password = tenantry_core::Secret::new("hunter2");
/// serde_json::to_string(&password);
/// ```
///
/// It does not clone:
///
/// ```compile_fail,E0599
/// let password = tenantry_core::Secret::new("hunter2");
/// let copy = password.clone();
/// ```
pub struct Secret {
    value: String,
}

impl Secret {
    /// Takes `value` over.
    ///
    /// A `String` is moved and its memory wiped in the end. Of a `&str` a copy is kept, and
    /// wiping the original is with the caller.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
        }
    }

    /// Returns the text, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Returns whether this secret is `candidate`, in a time that does not tell where they differ.
    ///
    /// The time does tell the length of `candidate`, which its sender knows, and whether both
    /// lengths are equal.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::Secret;
    ///
    /// let webhook_token = Secret::new("s3cr3t");
    /// assert!(webhook_token.constant_time_eq("s3cr3t"));
    /// assert!(!webhook_token.constant_time_eq("s3cr3T"));
    /// ```
    #[must_use]
    pub fn constant_time_eq(&self, candidate: &str) -> bool {
        if self.value.len() != candidate.len() {
            return false;
        }
        // `black_box` in each step: otherwise the optimiser may leave the loop at a difference.
        let difference = self
            .value
            .bytes()
            .zip(candidate.bytes())
            .fold(0, |difference, (ours, theirs)| {
                black_box(difference | (ours ^ theirs))
            });
        difference == 0
    }
}

impl fmt::Debug for Secret {
    /// Writes a fixed text: not even the length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_also_inside_other_values() {
        let secrets = Some(vec![Secret::new("hunter2")]);
        assert_eq!(format!("{secrets:?}"), "Some([Secret(redacted)])");
        assert!(!format!("{secrets:#?}").contains("hunter2"));
    }

    #[test]
    fn equality_in_constant_time() {
        let secret = Secret::new("abc");
        for (candidate, equal) in [
            ("abc", true),
            ("abd", false),
            ("bbc", false),
            ("ab", false),
            ("abcd", false),
            ("", false),
        ] {
            assert_eq!(secret.constant_time_eq(candidate), equal, "{candidate:?}");
        }
        assert!(Secret::new("").constant_time_eq(""));
    }
}
