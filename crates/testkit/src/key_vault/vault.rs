//! A vault in the hands of a test.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ledger::{VaultCalls, VaultRequest};
use super::refusal::Refusal;
use super::secret::{Change, NewSecret};
use super::store::Store;
use super::{Shared, names, rest};
use crate::{Error, Result};

/// One vault, as a test sees it from within: what is done here is no request.
#[derive(Clone)]
pub struct TestVault {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
}

impl TestVault {
    /// Returns the name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host that a client has to find at the server's address.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}", self.name, names::DOMAIN)
    }

    /// Returns what a client is given, without a port: it goes where the host is found.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/", self.host())
    }

    /// Sets a secret and returns the version that it got.
    ///
    /// # Errors
    ///
    /// When the service would refuse it: for its name or size, or because a deleted secret has
    /// that name.
    pub fn set_secret(&self, name: &str, secret: impl Into<NewSecret>) -> Result<String> {
        let secret = secret.into();
        self.with_store("set", name, |store, now| {
            let found = store.set(&self.name, name, secret, now)?;
            Ok(found.version.id.clone())
        })
    }

    /// Disables the latest version: its value is not handed out.
    ///
    /// # Errors
    ///
    /// When there is no such secret.
    pub fn disable(&self, name: &str) -> Result<()> {
        self.change("disable", name, None, enabled(false))
    }

    /// Disables a version.
    ///
    /// # Errors
    ///
    /// When there is no such secret or version.
    pub fn disable_version(&self, name: &str, version: &str) -> Result<()> {
        self.change("disable", name, Some(version), enabled(false))
    }

    /// Enables the latest version.
    ///
    /// # Errors
    ///
    /// When there is no such secret.
    pub fn enable(&self, name: &str) -> Result<()> {
        self.change("enable", name, None, enabled(true))
    }

    /// Says until when the latest version is valid, or that it has no end.
    ///
    /// # Errors
    ///
    /// When there is no such secret.
    pub fn set_expiry(&self, name: &str, at: Option<DateTime<Utc>>) -> Result<()> {
        let change = Change {
            expires: Some(at.map(|at| at.timestamp())),
            ..Change::default()
        };
        self.change("set the expiry of", name, None, change)
    }

    /// Says from when on the latest version is valid, or that it is from the beginning.
    ///
    /// # Errors
    ///
    /// When there is no such secret.
    pub fn set_not_before(&self, name: &str, at: Option<DateTime<Utc>>) -> Result<()> {
        let change = Change {
            not_before: Some(at.map(|at| at.timestamp())),
            ..Change::default()
        };
        self.change("set the beginning of", name, None, change)
    }

    /// Deletes a secret with all of its versions, which can be recovered.
    ///
    /// # Errors
    ///
    /// When there is no such secret.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.with_store("delete", name, |store, now| {
            store.delete(&self.name, name, now).map(drop)
        })
    }

    /// Recovers a deleted secret.
    ///
    /// # Errors
    ///
    /// When no deleted secret has that name.
    pub fn recover(&self, name: &str) -> Result<()> {
        self.with_store("recover", name, |store, now| {
            store.recover(&self.name, name, now).map(drop)
        })
    }

    /// Removes a deleted secret for good.
    ///
    /// # Errors
    ///
    /// When no deleted secret has that name, or the vault is protected against it.
    pub fn purge(&self, name: &str) -> Result<()> {
        self.with_store("purge", name, |store, now| {
            store.purge(&self.name, name, now)
        })
    }

    /// Returns what was asked of this vault.
    #[must_use]
    pub fn requests(&self) -> Vec<VaultRequest> {
        let mut requests = self.shared.ledger.requests();
        requests.retain(|request| request.vault == self.name);
        requests
    }

    /// Returns how many requests that were.
    #[must_use]
    pub fn calls(&self) -> VaultCalls {
        VaultCalls::count(&self.requests())
    }

    /// Returns how many of them were about this secret, deleted or not.
    #[must_use]
    pub fn calls_about(&self, secret: &str) -> VaultCalls {
        let mut requests = self.requests();
        requests.retain(|request| {
            rest::secret_of(&request.path).is_some_and(|name| name.eq_ignore_ascii_case(secret))
        });
        VaultCalls::count(&requests)
    }

    fn change(&self, verb: &str, name: &str, version: Option<&str>, change: Change) -> Result<()> {
        self.with_store(verb, name, |store, now| {
            store
                .change(&self.name, name, version, change, now)
                .map(drop)
        })
    }

    fn with_store<T>(
        &self,
        verb: &str,
        secret: &str,
        work: impl FnOnce(&mut Store, i64) -> Result<T, Refusal>,
    ) -> Result<T> {
        self.shared.with_store(work).map_err(|refusal| {
            let message = format!("cannot {verb} the secret `{secret}` of vault {}", self.name);
            Error::because(message, refusal)
        })
    }
}

impl fmt::Debug for TestVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestVault")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn enabled(enabled: bool) -> Change {
    Change {
        enabled: Some(enabled),
        ..Change::default()
    }
}
