//! A Key Vault for tests: the real protocol, over real TLS, that breaks where a test wants it to.
//!
//! | type | is |
//! |---|---|
//! | [`KeyVaultServer`] | the server, with any number of vaults |
//! | [`TestVault`] | one vault, in a test's own hands: secrets are set, disabled and deleted without a request |
//! | [`Fault`] | what goes wrong with the next requests, or until it is lifted |
//! | [`VaultRequest`] | what was asked, without what was said |
//!
//! A client asks for `https://<vault>.vault.azure.net`, and is told that this name stands for
//! [`KeyVaultServer::address`] and that the authority [`KeyVaultServer::ca_certificate_pem`] is to
//! be trusted. It leaves its checks on, that of the challenge as well.
//!
//! The operations are those on secrets of the [published specification][spec]: names, paths,
//! properties and pages, soft delete and recover, backup and restore; and the errors are those
//! that the service gives. Where the specification is silent, it does what the service does:
//!
//! - `GET` hands out a secret that has expired or is not valid yet.
//! - The versions of a secret that was never there are an empty list, not an error.
//! - Versions are listed in no order that says when they came.
//!
//! It is stricter where a mistake would go unseen: a value in a `PATCH` is refused.
//! It knows no certificates and no keys, and does not ask which role a caller has: a token that it
//! gave out opens every vault.
//!
//! [spec]: https://github.com/Azure/azure-rest-api-specs/blob/main/specification/keyvault/data-plane/Secrets/stable/2025-07-01/secrets.json

mod fault;
mod ledger;
mod secret;
mod tokens;
mod vault;

mod certificate;
mod connection;
mod names;
mod refusal;
mod rest;
mod store;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenantry_core::{SharedClock, SystemClock};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

pub use fault::{Denial, Fault, FaultRule, Moment};
pub use ledger::{VaultCalls, VaultRequest};
pub use secret::NewSecret;
pub use tokens::VaultToken;
pub use vault::TestVault;

pub(crate) use certificate::Certificates;
pub(crate) use tokens::Tokens;

use crate::{Error, Result};
use fault::{FaultScript, Meeting};
use ledger::Ledger;
use store::{Retention, Store};

/// How long a token is good unless a test says otherwise, as one of the service.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How a [`KeyVaultServer`] is set up.
#[derive(Debug, Clone)]
pub struct KeyVaultOptions {
    clock: SharedClock,
    port: u16,
    recoverable_days: u32,
    purge_protection: bool,
}

impl Default for KeyVaultOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            port: 0,
            recoverable_days: 90,
            purge_protection: false,
        }
    }
}

impl KeyVaultOptions {
    /// Takes the time from this clock: when secrets were set and deleted, when what is deleted is
    /// purged, and when tokens expire. Delays of faults pass by the machine's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Listens on this port of the loopback; a free one is taken otherwise.
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Keeps what is deleted for this long, from 7 to 90 days; 90 unless it is said.
    #[must_use]
    pub const fn with_recoverable_days(mut self, days: u32) -> Self {
        self.recoverable_days = days;
        self
    }

    /// Refuses to purge what is deleted before its time is over.
    #[must_use]
    pub const fn with_purge_protection(mut self, purge_protection: bool) -> Self {
        self.purge_protection = purge_protection;
        self
    }
}

/// A server that any number of vaults live on, on the loopback.
///
/// Every vault that is asked for is there, and empty until something is set. It belongs to the
/// runtime it was started in; dropping it cuts all connections. `Debug` shows no value.
///
/// # Examples
///
/// ```
/// use tenantry_testkit::key_vault::{Fault, KeyVaultServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_testkit::Result<()> {
/// let server = KeyVaultServer::start().await?;
/// let vault = server.vault("orders")?;
/// vault.set_secret("db-password", "correct horse")?;
/// server.inject(Fault::Throttle { retry_after: None }.times(2));
///
/// // A client of `vault.url()` whose name resolves to `server.address()`, which trusts
/// // `server.ca_certificate_pem()` and sends `server.issue_token()`, is refused twice.
///
/// assert_eq!(vault.url(), "https://orders.vault.azure.net/");
/// assert_eq!(vault.calls().total, 0);
/// # Ok(())
/// # }
/// ```
pub struct KeyVaultServer {
    address: SocketAddr,
    authority_pem: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    clock: SharedClock,
    /// The directory that the challenge names.
    directory: Uuid,
    store: Mutex<Store>,
    tokens: Mutex<Tokens>,
    faults: Mutex<FaultScript>,
    ledger: Ledger,
}

impl KeyVaultServer {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub async fn start() -> Result<Self> {
        Self::start_with(KeyVaultOptions::default()).await
    }

    /// Starts a server with settings of its own.
    ///
    /// # Errors
    ///
    /// When the port is taken, or the days are not from 7 to 90.
    pub async fn start_with(options: KeyVaultOptions) -> Result<Self> {
        if !(7..=90).contains(&options.recoverable_days) {
            return Err(Error::new(format!(
                "a vault keeps what is deleted for 7 to 90 days, not {}",
                options.recoverable_days
            )));
        }
        let certificates = Certificates::generate()?;
        let failed = |error| Error::because("cannot listen on the loopback", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            clock: options.clock,
            directory: Uuid::new_v4(),
            store: Mutex::new(Store::new(Retention {
                days: options.recoverable_days,
                is_protected: options.purge_protection,
            })),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            ledger: Ledger::default(),
        });
        let acceptor = TlsAcceptor::from(certificates.server);
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self {
            address,
            authority_pem: certificates.authority_pem,
            shared,
            accepting,
        })
    }

    /// Returns where clients connect, whatever vault they ask for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate of the authority that vouches for the vaults: for
    /// `*.vault.azure.net` and for nothing else. Each server has one of its own.
    #[must_use]
    pub fn ca_certificate_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Returns the vault of this name.
    ///
    /// # Errors
    ///
    /// When no vault may be called so: 3 to 24 letters, digits and single hyphens, a letter first.
    pub fn vault(&self, name: &str) -> Result<TestVault> {
        if !names::is_vault(name) {
            return Err(Error::new(format!("no vault may be called `{name}`")));
        }
        Ok(TestVault {
            name: name.to_ascii_lowercase(),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Returns a token that opens every vault for an hour.
    #[must_use]
    pub fn issue_token(&self) -> VaultToken {
        self.issue_token_for(LIFETIME)
    }

    /// Returns a token that opens every vault for so long.
    #[must_use]
    pub fn issue_token_for(&self, lifetime: Duration) -> VaultToken {
        let expires_at = TimeDelta::from_std(lifetime)
            .ok()
            .and_then(|lifetime| self.shared.clock.now().checked_add_signed(lifetime))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        lock(&self.shared.tokens).issue(expires_at)
    }

    /// Takes a token no more.
    pub fn revoke_token(&self, token: &VaultToken) {
        lock(&self.shared.tokens).revoke(token.secret());
    }

    /// Takes none of the tokens more that were given out up to now.
    pub fn revoke_all_tokens(&self) {
        lock(&self.shared.tokens).revoke_all();
    }

    /// Lets something go wrong with requests that are to come.
    pub fn inject(&self, rule: impl Into<FaultRule>) {
        lock(&self.shared.faults).inject(rule.into());
    }

    /// Lets nothing go wrong any more.
    pub fn lift_faults(&self) {
        lock(&self.shared.faults).lift();
    }

    /// Returns whether a fault for some number of requests is still to meet one.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        lock(&self.shared.faults).is_armed()
    }

    /// Returns what was asked since the start or since
    /// [`forget_requests`](Self::forget_requests), in the order in which it came.
    #[must_use]
    pub fn requests(&self) -> Vec<VaultRequest> {
        self.shared.ledger.requests()
    }

    /// Returns how many requests that were.
    #[must_use]
    pub fn calls(&self) -> VaultCalls {
        VaultCalls::count(&self.requests())
    }

    /// Begins the record of requests anew.
    pub fn forget_requests(&self) {
        self.shared.ledger.forget();
    }

    /// Returns when so many requests are in the record, answered or not.
    ///
    /// # Cancel safety
    ///
    /// Dropping it changes nothing.
    pub async fn received(&self, count: usize) {
        self.shared.ledger.received(count).await;
    }
}

impl Drop for KeyVaultServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for KeyVaultServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVaultServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn with_store<T>(&self, work: impl FnOnce(&mut Store, i64) -> T) -> T {
        work(&mut lock(&self.store), self.clock.now().timestamp())
    }

    fn accepts(&self, authorization: &str) -> bool {
        lock(&self.tokens).accept(authorization, self.clock.now())
    }

    fn meet(&self, request: &Meeting<'_>) -> Option<Fault> {
        lock(&self.faults).meet(request)
    }

    fn challenge(&self, resource: &str) -> String {
        format!(
            r#"Bearer authorization="https://login.microsoftonline.com/{}", resource="{resource}""#,
            self.directory
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections until it is aborted; they end with it.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                // A connection that ends by itself has told its client all there is to tell.
                connections.spawn(connection::serve(client, acceptor.clone(), Arc::clone(&shared)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
