//! The side that writes: new versions, and the way from one to the next.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tenantry_core::{Error, ErrorKind, Result, Secret, SecretLocation, SecretReference};

use super::Secrets;
use super::budget::Purpose;
use super::entry::{Entry, later};
use crate::vault::{SecretAttributes, Validity};

const PUT: &str = "put new version";
const ROTATE: &str = "rotate secret";
const RETIRE: &str = "retire version";
const DISABLE: &str = "disable version";
const LIST: &str = "list expiring secrets";

/// Whatever a secret lets in to: a database, a broker, an API.
///
/// # Contract
///
/// An implementer lets the old and the new value in side by side from
/// [`prepare`](Self::prepare) to [`retire`](Self::retire): holders change over one by one. Two logins
/// of the same rights do, of which each rotation changes the one that rests: the secret then says
/// which login it is of, and with it which one rests.
///
/// [`retire`](Self::retire) bears to be repeated: it is called again where what follows it fails.
///
/// # Examples
///
/// Of two logins `app_a` and `app_b`, with the secret `login:password`:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use async_trait::async_trait;                                  // in `tenantry::prelude` as well
/// use tenantry_core::{Error, ErrorKind, ManualClock, Result, Secret};
/// use tenantry_secrets::{Credential, MemoryVault, Secrets};
///
/// /// Stands for a database and its logins.
/// #[derive(Default)]
/// struct Logins(Mutex<HashMap<String, String>>);
///
/// #[async_trait]
/// impl Credential for Logins {
///     async fn prepare(&self, current: &Secret) -> Result<Secret> {
///         let rests = if current.expose().starts_with("app_a:") { "app_b" } else { "app_a" };
///         let password = format!("{:032x}", 7);                   // by a generator of random numbers
///         self.0.lock().unwrap().insert(rests.to_owned(), password.clone());
///         Ok(Secret::new(format!("{rests}:{password}")))
///     }
///
///     async fn verify(&self, candidate: &Secret) -> Result<()> {
///         let (login, password) = candidate.expose().split_once(':').unwrap_or_default();
///         match self.0.lock().unwrap().get(login).is_some_and(|set| set == password) {
///             true => Ok(()),
///             false => Err(Error::new(ErrorKind::AuthenticationFailed, "try new login")),
///         }
///     }
///
///     async fn retire(&self, previous: &Secret) -> Result<()> {
///         let (login, _) = previous.expose().split_once(':').unwrap_or_default();
///         self.0.lock().unwrap().remove(login);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let clock = ManualClock::new(Default::default());
/// let secrets = Secrets::builder()
///     .with_vault("billing", Arc::new(MemoryVault::new()))?
/// #   .with_clock(Arc::new(clock.clone()))
///     .build()?;
/// let (reference, logins) = ("kv://billing/db-login".parse()?, Logins::default());
/// secrets.put_new_version(&reference, Secret::new("app_a:first"), Default::default()).await?;
///
/// let rotated = secrets.rotate(&reference, &logins).await?;       // both logins let in
/// # clock.advance(Duration::from_secs(15 * 60));
/// // At `rotated.retire_at`, in this process or another: it can be stored.
/// secrets.retire(&rotated, &logins).await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Credential: Send + Sync {
    /// Makes a new value and lets it in, beside the current one.
    ///
    /// # Errors
    ///
    /// Whatever it fails with; nothing is stored then.
    async fn prepare(&self, current: &Secret) -> Result<Secret>;

    /// Returns what the new version is stored with, such as when it ends; nothing by default.
    fn attributes(&self) -> SecretAttributes {
        SecretAttributes::default()
    }

    /// Checks that the new value lets in.
    ///
    /// # Errors
    ///
    /// Whatever it fails with; nothing is stored then.
    async fn verify(&self, candidate: &Secret) -> Result<()>;

    /// Takes the old value away, which nobody uses any more.
    ///
    /// # Errors
    ///
    /// Whatever it fails with; the old version stays enabled then, and the call can be repeated.
    async fn retire(&self, previous: &Secret) -> Result<()>;
}

/// A rotation that has begun: both values let in.
///
/// It can be stored until then, for whoever retires it may be another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rotated {
    /// The new version.
    pub current: SecretReference,
    /// The version before.
    pub previous: SecretReference,
    /// When the version before can be retired: after a time to live, when the last holder has seen
    /// the new one, and the overlap, for which it goes on to offer the old one.
    pub retire_at: DateTime<Utc>,
}

/// A secret whose newest version ends soon, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiringSecret {
    /// The newest version.
    pub reference: SecretReference,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

impl Secrets {
    /// Stores a new version of a secret, and uses it here from then on; returns its reference.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the reference names a version, or the vault does
    ///   not take the value.
    /// - [`Unsupported`](ErrorKind::Unsupported): it names no vault, but a file or a variable.
    /// - [`CommitUnknown`](ErrorKind::CommitUnknown): the vault did not answer, and the version is
    ///   stored, will be, or is not; look before storing another. Storing the same value twice makes
    ///   two versions of it, and does no other harm.
    /// - the kinds of a read.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the version is stored or it is not.
    pub async fn put_new_version(
        &self,
        reference: &SecretReference,
        value: Secret,
        attributes: SecretAttributes,
    ) -> Result<SecretReference> {
        let stored = self.put(PUT, reference, &value, &attributes).await;
        stored.inspect_err(|error| self.tell_failure(PUT, reference, error.kind()))
    }

    async fn put(
        &self,
        operation: &'static str,
        reference: &SecretReference,
        value: &Secret,
        attributes: &SecretAttributes,
    ) -> Result<SecretReference> {
        let (vault, name) = named(operation, reference)?;
        let stored = self
            .inner
            .with_vault(vault, Purpose::Store, |vault| {
                vault.put(name, value, attributes)
            })
            .await
            .inspect_err(|error| {
                if error.kind() == ErrorKind::CommitUnknown {
                    self.inner.read_soon(reference);
                }
            })
            .map_err(|error| about(operation, reference, error))?;
        self.tell_write(operation, reference, &stored.version);
        if let Some(entry) = self.inner.known(reference) {
            let demand = entry.outdate(self.inner.clock.monotonic());
            self.read_now(&entry, demand).await;
        }
        reference.with_version(&stored.version)
    }

    /// Leads a secret from its current value to a new one: prepares that, checks that it lets in, and
    /// stores it. From then on both let in, until [`retire`](Self::retire).
    ///
    /// # Errors
    ///
    /// Those of the [`Credential`] and of [`put_new_version`](Self::put_new_version); where one of
    /// the steps fails, the current value stays what it is.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the new value may let in already and not be stored; run again, the credential
    /// prepares another.
    pub async fn rotate(
        &self,
        reference: &SecretReference,
        credential: &dyn Credential,
    ) -> Result<Rotated> {
        let rotated = self.change_over(reference, credential).await;
        rotated.inspect_err(|error| self.tell_failure(ROTATE, reference, error.kind()))
    }

    async fn change_over(
        &self,
        reference: &SecretReference,
        credential: &dyn Credential,
    ) -> Result<Rotated> {
        let (vault, name) = named(ROTATE, reference)?;
        // As the vault has it now, not as it is remembered.
        let current = self
            .inner
            .with_vault(vault, Purpose::Read, |vault| vault.read(name, None))
            .await
            .map_err(|error| about(ROTATE, reference, error))?;
        let previous = current.version.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, ROTATE)
                .with_subject(reference.to_string())
                .with_detail("the vault keeps no versions")
        })?;
        let previous = reference.with_version(previous)?;
        let candidate = credential.prepare(&current.secret).await?;
        credential.verify(&candidate).await?;
        let attributes = credential.attributes();
        let current = self.put(ROTATE, reference, &candidate, &attributes).await?;
        Ok(Rotated {
            current,
            previous,
            retire_at: later(self.inner.clock.now(), self.inner.policy.change_over()),
        })
    }

    /// Ends a rotation: takes the old value away and disables its version.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): it is too early, and holders may still use it.
    /// - those of the [`Credential`] and of [`disable_version`](Self::disable_version); run again. It
    ///   is [`SecretDisabled`](ErrorKind::SecretDisabled) where Azure Key Vault keeps the version
    ///   switched off already, as a retirement leaves it.
    pub async fn retire(&self, rotated: &Rotated, credential: &dyn Credential) -> Result<()> {
        let retired = self.take_away(rotated, credential).await;
        retired.inspect_err(|error| self.tell_failure(RETIRE, &rotated.previous, error.kind()))
    }

    async fn take_away(&self, rotated: &Rotated, credential: &dyn Credential) -> Result<()> {
        if self.inner.clock.now() < rotated.retire_at {
            return Err(Error::new(ErrorKind::InvalidInput, RETIRE)
                .with_subject(rotated.previous.to_string())
                .with_detail(format!(
                    "holders may still use it until {}",
                    rotated.retire_at
                )));
        }
        let SecretLocation::KeyVault {
            vault,
            name,
            version,
        } = rotated.previous.location()
        else {
            return Err(unsupported(RETIRE, &rotated.previous));
        };
        let previous = self
            .inner
            .with_vault(vault, Purpose::Read, |vault| vault.read(name, version))
            .await
            .map_err(|error| about(RETIRE, &rotated.previous, error))?;
        credential.retire(&previous.secret).await?;
        self.disable(RETIRE, &rotated.previous).await
    }

    /// Switches a version off, which is refused from then on wherever it is resolved anew.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the reference names no version.
    /// - [`Unsupported`](ErrorKind::Unsupported): it names no vault.
    /// - the kinds of a read.
    pub async fn disable_version(&self, reference: &SecretReference) -> Result<()> {
        let disabled = self.disable(DISABLE, reference).await;
        disabled.inspect_err(|error| self.tell_failure(DISABLE, reference, error.kind()))
    }

    async fn disable(&self, operation: &'static str, reference: &SecretReference) -> Result<()> {
        let SecretLocation::KeyVault {
            vault,
            name,
            version,
        } = reference.location()
        else {
            return Err(unsupported(operation, reference));
        };
        let version = version.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, operation)
                .with_subject(reference.to_string())
                .with_detail("name the version: kv://vault/name/version")
        })?;
        self.inner
            .with_vault(vault, Purpose::Switch, |vault| {
                vault.set_enabled(name, version, false)
            })
            .await
            .map_err(|error| about(operation, reference, error))?;
        self.tell_write(operation, reference, version);
        // It may be the newest as well. Both are refused before either is read.
        let newest = format!("kv://{vault}/{name}").parse()?;
        let entries = [reference, &newest].map(|reference| self.inner.known(reference));
        let switched_off = entries.into_iter().flatten().map(|entry| {
            let now = self.inner.clock.monotonic();
            let demand = entry.switch_off(version, &self.inner.policy, now);
            (entry, demand)
        });
        let switched_off: Vec<_> = switched_off.collect();
        let reads = switched_off
            .iter()
            .map(|(entry, demand)| self.read_now(entry, *demand));
        join_all(reads).await;
        Ok(())
    }

    /// Returns the secrets of a vault whose newest version is enabled and ends within a time, or has
    /// ended, the soonest first.
    ///
    /// # Errors
    ///
    /// The kinds of a read.
    pub async fn list_expiring(
        &self,
        vault: &str,
        within: Duration,
    ) -> Result<Vec<ExpiringSecret>> {
        let name = vault.to_ascii_lowercase();
        let newest = self
            .inner
            .with_vault(&name, Purpose::List, |vault| vault.newest())
            .await
            .map_err(|error| Error::retold(LIST, error).with_subject(format!("vault {name}")))?;
        let within = TimeDelta::from_std(within).unwrap_or(TimeDelta::MAX);
        let end = self.inner.clock.now().checked_add_signed(within);
        let mut expiring = Vec::new();
        for (secret, version) in newest {
            let Validity {
                enabled: true,
                expires_at: Some(expires_at),
                ..
            } = version.validity
            else {
                continue;
            };
            if end.is_none_or(|end| expires_at <= end) {
                let reference: SecretReference = format!("kv://{name}/{secret}").parse()?;
                expiring.push(ExpiringSecret {
                    reference: reference.with_version(&version.version)?,
                    expires_at,
                });
            }
        }
        expiring.sort_by(|one, other| {
            (one.expires_at, &one.reference).cmp(&(other.expires_at, &other.reference))
        });
        Ok(expiring)
    }

    fn tell_write(&self, operation: &str, reference: &SecretReference, version: &str) {
        tracing::info!(
            target: "tenantry::secrets",
            actor = self.context.actor().as_str(),
            %reference,
            version,
            operation,
            "secret changed"
        );
    }

    /// Has those who follow a secret here see what was written.
    async fn read_now(&self, entry: &Arc<Entry>, demand: u64) {
        // What was written is written, whatever comes of the read.
        if self.inner.read_since(entry, demand).await.is_err() {
            self.inner.read_soon(&entry.reference);
        }
    }
}

/// Returns the vault and the name of a secret, of which the newest version is meant.
fn named<'r>(
    operation: &'static str,
    reference: &'r SecretReference,
) -> Result<(&'r str, &'r str)> {
    match reference.location() {
        SecretLocation::KeyVault {
            vault,
            name,
            version: None,
        } => Ok((vault, name)),
        SecretLocation::KeyVault { .. } => Err(Error::new(ErrorKind::InvalidInput, operation)
            .with_subject(reference.to_string())
            .with_detail("a version stays what it is: leave it out of the reference")),
        _ => Err(unsupported(operation, reference)),
    }
}

fn unsupported(operation: &'static str, reference: &SecretReference) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_subject(reference.to_string())
        .with_detail("files and variables are written by whoever sets them: name a vault, kv://…")
}

/// Says what an error of a vault was about.
fn about(operation: &'static str, reference: &SecretReference, error: Error) -> Error {
    Error::retold(operation, error).with_subject(reference.to_string())
}
