//! The tokens that a server takes: those it gave out.

use std::collections::HashMap;
use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A bearer token that the server takes until it expires or is revoked.
///
/// `Debug` does not show it.
#[derive(Clone)]
pub struct VaultToken {
    text: String,
    expires_at: DateTime<Utc>,
}

impl VaultToken {
    /// Returns what stands behind `Bearer` in the header `Authorization`.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// Returns when it expires, by the server's clock.
    #[must_use]
    pub const fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }
}

impl fmt::Debug for VaultToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// When each token expires that was given out and not revoked.
#[derive(Default)]
pub(crate) struct Tokens {
    expiries: HashMap<String, DateTime<Utc>>,
}

impl Tokens {
    pub(crate) fn issue(&mut self, expires_at: DateTime<Utc>) -> VaultToken {
        let text = format!("test-token-{}", Uuid::new_v4().simple());
        self.expiries.insert(text.clone(), expires_at);
        VaultToken { text, expires_at }
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.expiries.remove(token);
    }

    pub(crate) fn revoke_all(&mut self) {
        self.expiries.clear();
    }

    /// Returns whether the value of the header `Authorization` is good at that time.
    pub(crate) fn accept(&self, authorization: &str, now: DateTime<Utc>) -> bool {
        authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.expiries.get(token.trim()))
            .is_some_and(|expires_at| *expires_at > now)
    }
}
