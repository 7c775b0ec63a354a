//! What a vault does, whichever it is.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, Result, Secret};

/// One vault: secrets by name, each with its versions.
///
/// # Contract
///
/// An implementer
///
/// - takes names and versions as a [`SecretReference`](tenantry_core::SecretReference) has checked
///   them, and does not tell upper from lower case in them;
/// - gives the newest version for `None`, whether it is enabled or not;
/// - gives out what is disabled, expired or not yet valid with a [`Validity`] that says so, or fails
///   with the kind for it: who asks decides by the clock;
/// - keeps values out of every error and its source;
/// - answers in bounded time, with the deadline of the caller as the outermost bound;
/// - loses and doubles nothing when a future is dropped: a write is stored or it is not.
///
/// Its errors have no subject, for they name nothing that the caller does not know.
#[async_trait]
pub trait Vault: Send + Sync + Debug {
    /// Returns what the service that keeps the vault calls it, if it sends events that carry the
    /// name; `None` by default. References may call it otherwise.
    fn service_name(&self) -> Option<&str> {
        None
    }

    /// Returns the version of a secret, or its newest.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound), [`SecretDeleted`](ErrorKind::SecretDeleted),
    ///   [`SecretDisabled`](ErrorKind::SecretDisabled).
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied), [`Throttled`](ErrorKind::Throttled) with
    ///   the time to wait, if the vault told it, [`Unavailable`](ErrorKind::Unavailable).
    async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretRecord>;

    /// Looks whether the vault answers: for a probe, which asks again every few seconds.
    ///
    /// As it stands it reads a secret that nobody has: where that is missing, or may not be used, the vault
    /// has answered.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) that are about the vault, and not about the secret.
    async fn check(&self) -> Result<()> {
        match self.read(NOBODYS, None).await {
            Err(error) if !is_of_secret(error.kind()) => Err(error),
            _ => Ok(()),
        }
    }

    /// Stores a new version, which is the newest from then on.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), [`InvalidInput`](ErrorKind::InvalidInput) for a value that the
    /// vault does not take, and [`CommitUnknown`](ErrorKind::CommitUnknown) where it is stored or is
    /// not.
    async fn put(
        &self,
        name: &str,
        value: &Secret,
        attributes: &SecretAttributes,
    ) -> Result<SecretVersion>;

    /// Switches a version on or off.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    async fn set_enabled(&self, name: &str, version: &str, enabled: bool) -> Result<()>;

    /// Returns the versions of a secret without their values, the oldest first.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    async fn versions(&self, name: &str) -> Result<Vec<SecretVersion>>;

    /// Returns the newest version of every secret without its value, by name.
    ///
    /// It holds every secret whose newest version is enabled and has an end. Others may be left out:
    /// Azure Key Vault would take a call for each of them.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    async fn newest(&self) -> Result<Vec<(String, SecretVersion)>>;
}

/// The name of a secret that is not there.
const NOBODYS: &str = "tenantry-check";

/// Returns whether an answer tells of the secret, and so of a vault that is there.
const fn is_of_secret(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::SecretDisabled
            | ErrorKind::SecretExpired
            | ErrorKind::SecretNotYetValid
            | ErrorKind::SecretDeleted
    )
}

/// A value, and when it holds.
#[derive(Debug, Clone)]
pub struct SecretRecord {
    /// What the vault calls this value, if it keeps versions.
    pub version: Option<Arc<str>>,
    /// The value.
    pub secret: Arc<Secret>,
    /// When it holds.
    pub validity: Validity,
}

/// A version of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// What the vault calls it: 32 hexadecimal digits.
    pub version: Arc<str>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it holds.
    pub validity: Validity,
}

/// What is said of a version when it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretAttributes {
    /// When it begins to hold.
    pub not_before: Option<DateTime<Utc>>,
    /// When it ceases to hold.
    pub expires_at: Option<DateTime<Utc>>,
}

/// When a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Whether it is switched on.
    pub enabled: bool,
    /// When it begins to hold.
    pub not_before: Option<DateTime<Utc>>,
    /// When it ceases to hold.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Validity {
    /// Whatever the time.
    pub const ALWAYS: Self = Self {
        enabled: true,
        not_before: None,
        expires_at: None,
    };

    /// Checks whether the value may be used at a time.
    ///
    /// Vaults give out what is past its date: Azure's documentation calls `nbf` and `exp` of secrets
    /// informational
    /// (<https://learn.microsoft.com/azure/key-vault/secrets/about-secrets#secret-attributes>).
    ///
    /// # Errors
    ///
    /// [`SecretDisabled`](ErrorKind::SecretDisabled), [`SecretExpired`](ErrorKind::SecretExpired) or
    /// [`SecretNotYetValid`](ErrorKind::SecretNotYetValid).
    pub fn check(&self, now: DateTime<Utc>) -> Result<()> {
        let refused =
            |kind, detail: String| Err(Error::new(kind, "use secret").with_detail(detail));
        match *self {
            Self { enabled: false, .. } => refused(
                ErrorKind::SecretDisabled,
                "this version is switched off: enable it, or store a new one".to_owned(),
            ),
            Self {
                expires_at: Some(end),
                ..
            } if end <= now => refused(
                ErrorKind::SecretExpired,
                format!("it expired at {}: store a new version", shown(end)),
            ),
            Self {
                not_before: Some(start),
                ..
            } if start > now => refused(
                ErrorKind::SecretNotYetValid,
                format!(
                    "it holds from {} on: wait, or store a version that holds now",
                    shown(start)
                ),
            ),
            _ => Ok(()),
        }
    }
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_from_its_start_until_before_its_end() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let validity = Validity {
            enabled: true,
            not_before: Some(at(10)),
            expires_at: Some(at(20)),
        };
        let kind = |seconds| validity.check(at(seconds)).map_err(|error| error.kind());
        assert_eq!(kind(9), Err(ErrorKind::SecretNotYetValid));
        assert_eq!(kind(10), Ok(()));
        assert_eq!(kind(19), Ok(()));
        assert_eq!(kind(20), Err(ErrorKind::SecretExpired));
        let off = Validity {
            enabled: false,
            ..Validity::ALWAYS
        };
        assert_eq!(
            off.check(at(0)).unwrap_err().kind(),
            ErrorKind::SecretDisabled
        );
        assert!(Validity::ALWAYS.check(at(0)).is_ok());
    }
}
