//! A secret that changes while it is in use.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{Result, Secret, SecretReference, SecretResolver};

/// One value of a secret, for as long as it is the current one.
///
/// Two generations of one watch with the same number are the same value.
#[derive(Debug, Clone)]
pub struct SecretGeneration {
    number: u64,
    version: Option<Arc<str>>,
    secret: Arc<Secret>,
}

impl SecretGeneration {
    /// Returns the generation `number` of a secret; `version` is what the vault calls it, if it
    /// keeps versions.
    #[must_use]
    pub const fn new(number: u64, version: Option<Arc<str>>, secret: Arc<Secret>) -> Self {
        Self {
            number,
            version,
            secret,
        }
    }

    /// Returns how many values came before, in this process: 0 for the first.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Returns what the vault calls this value, if it keeps versions; safe to print.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns the value.
    #[must_use]
    pub const fn secret(&self) -> &Arc<Secret> {
        &self.secret
    }
}

/// The value to use now, and the one before it.
#[derive(Debug, Clone)]
pub struct SecretGenerations {
    /// What is to be used from now on.
    pub current: SecretGeneration,
    /// What was used before, while it may still be in use somewhere.
    pub previous: Option<RetiringGeneration>,
}

/// A value that another has taken the place of.
#[derive(Debug, Clone)]
pub struct RetiringGeneration {
    /// The value.
    pub generation: SecretGeneration,
    /// When nobody should use it any more: connections that were opened with it are closed by then.
    pub retire_at: DateTime<Utc>,
}

/// Follows one secret: what it is now, when it changes, and that it did not work.
///
/// # Contract
///
/// An implementer keeps numbers of generations growing, and gives up nothing when a future is
/// dropped.
#[async_trait]
pub trait SecretWatch: Send + Sync + Debug {
    /// Returns the reference that is followed.
    fn reference(&self) -> &SecretReference;

    /// Returns what is known now, without a call.
    fn generations(&self) -> SecretGenerations;

    /// Waits until the current generation is another than `number`; returns at once if it is.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    async fn changed_from(&self, number: u64) -> SecretGenerations;

    /// Says that the generation `number` was refused where it was used, and has the vault read
    /// again: once for all who say so, and not more often than the implementer allows.
    ///
    /// Returns what is known after that; where the current generation is still `number`, there is
    /// no newer value.
    ///
    /// # Errors
    ///
    /// Those of [`SecretResolver::resolve`], of the read that this call has caused.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the read goes on for the others.
    async fn report_failure(&self, number: u64) -> Result<SecretGenerations>;
}

/// A resolver whose secrets can be followed, so that a rotated one is used without a restart.
#[async_trait]
pub trait SecretSource: SecretResolver {
    /// Returns the watch of a reference, with its first value.
    ///
    /// A reference with a version is followed as well: its value stays, and may be disabled.
    ///
    /// # Errors
    ///
    /// Those of [`SecretResolver::resolve`].
    async fn watch(&self, reference: &SecretReference) -> Result<Arc<dyn SecretWatch>>;
}
