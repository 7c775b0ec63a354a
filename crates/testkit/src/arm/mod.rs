//! An Azure Resource Manager for tests of what is set on storage accounts: the real protocol, over real
//! TLS, that breaks where a test wants it to.
//!
//! | type | is |
//! |---|---|
//! | [`ArmServer`] | the server, with the accounts that a test gives it |
//! | [`ArmFault`] | what goes wrong with the next requests |
//! | [`ArmRequest`] | what was asked, without what was said |
//!
//! A client asks for `https://management.azure.com`, and is told that this name stands for
//! [`ArmServer::address`] and that the authority [`ArmServer::ca_certificate_pem`] is to be trusted.
//!
//! The operations are those of the [published specification][spec] on an account, its service for blobs,
//! containers with their policies of immutability and legal holds, rules of the life cycle, and scopes of
//! encryption: paths, properties, states, limits and the rules of `If-Match`. Statuses are those of the
//! service. Codes are its own where they are known: `ContainerNotFound`, `ManagementPolicyNotFound`,
//! `ContainerImmutabilityPolicyLocked`, `PreconditionFailed`, `MissingApiVersionParameter`,
//! `AuthenticationFailed`, `InvalidAuthenticationToken`, `AuthorizationFailed`, `SubscriptionNotFound`,
//! `ResourceGroupNotFound`, `ResourceNotFound`. Where nothing is published, a code says what is wrong, and
//! a client must go by the status.
//!
//! It keeps no blobs, so nothing comes of what is set. Containers are not deleted, and it asks for no
//! role: a token that it gave out may do all.
//!
//! [spec]: https://github.com/Azure/azure-rest-api-specs/tree/main/specification/storage/resource-manager/Microsoft.Storage/stable/2025-06-01

mod connection;
mod fault;
mod refusal;
mod rest;
mod rules;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use serde_json::Value;
use tenantry_core::{SharedClock, SystemClock};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

pub use fault::ArmFault;

use crate::key_vault::{Certificates, Tokens};
use crate::{Error, Result};
use fault::FaultScript;
use refusal::Refusal;
use state::Account;

/// What clients ask for.
const HOST_NAME: &str = "management.azure.com";
const DOMAIN: &str = "azure.com";

/// A request that a server received: never a token, nor anything of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArmRequest {
    /// The method, in capitals.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Whether it carried a token, good or not.
    pub has_token: bool,
    /// The state that it was for.
    pub if_match: Option<String>,
    /// The status of the answer; `None` after a cut before one.
    pub status: Option<u16>,
}

/// A server with storage accounts, on the loopback.
///
/// It belongs to the runtime it was started in; dropping it cuts all connections.
///
/// # Examples
///
/// ```
/// use tenantry_testkit::arm::{ArmFault, ArmServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_testkit::Result<()> {
/// let server = ArmServer::start().await?;
/// let subscription = server.add_account("prod", "artifacts1");
/// server.inject(ArmFault::Throttle { retry_after: Some(1) }, 2);
///
/// // A client of management.azure.com whose name resolves to `server.address()`, which trusts
/// // `server.ca_certificate_pem()` and sends `server.issue_token()`, is refused twice.
///
/// assert!(server.is_armed() && server.requests().is_empty());
/// # let _ = subscription;
/// # Ok(())
/// # }
/// ```
pub struct ArmServer {
    address: SocketAddr,
    authority_pem: String,
    subscription: Uuid,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    clock: SharedClock,
    /// By subscription, group in lower case, and name.
    accounts: Mutex<BTreeMap<(String, String, String), Account>>,
    tokens: Mutex<Tokens>,
    faults: Mutex<FaultScript>,
    requests: Mutex<Vec<ArmRequest>>,
    denies: AtomicBool,
}

impl ArmServer {
    /// Starts a server without accounts.
    ///
    /// # Errors
    ///
    /// When the loopback cannot be listened on.
    pub async fn start() -> Result<Self> {
        Self::start_with(Arc::new(SystemClock)).await
    }

    /// Starts a server that takes the time from a clock.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(clock: SharedClock) -> Result<Self> {
        let certificates = Certificates::generate_for(HOST_NAME, DOMAIN)?;
        let failed = |error| Error::because("cannot listen on the loopback", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            clock,
            accounts: Mutex::default(),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            denies: AtomicBool::new(false),
        });
        let acceptor = TlsAcceptor::from(certificates.server);
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self {
            address,
            authority_pem: certificates.authority_pem,
            subscription: Uuid::new_v4(),
            shared,
            accepting,
        })
    }

    /// Returns where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate of the authority that vouches for `management.azure.com`.
    #[must_use]
    pub fn ca_certificate_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Adds an account, as one is created by default, and returns the subscription that it is in.
    #[must_use]
    pub fn add_account(&self, group: &str, name: &str) -> Uuid {
        let key = key(&self.subscription.to_string(), group, name);
        lock(&self.shared.accounts).insert(key, Account::new());
        self.subscription
    }

    /// Sets a property of an account, such as `isHnsEnabled`, which no operation here does.
    ///
    /// # Errors
    ///
    /// When there is no such account.
    pub fn set_account_property(
        &self,
        group: &str,
        name: &str,
        property: &str,
        value: Value,
    ) -> Result<()> {
        let key = key(&self.subscription.to_string(), group, name);
        match lock(&self.shared.accounts).get_mut(&key) {
            Some(account) => account.properties.insert(property.to_owned(), value),
            None => return Err(Error::new(format!("there is no account {name}"))),
        };
        Ok(())
    }

    /// Returns a token that may do all for an hour: what stands behind `Bearer`.
    #[must_use]
    pub fn issue_token(&self) -> String {
        let now = self.shared.clock.now();
        let expires_at = now.checked_add_signed(TimeDelta::hours(1)).unwrap_or(now);
        let token = lock(&self.shared.tokens).issue(expires_at);
        token.secret().to_owned()
    }

    /// Takes none of the tokens more that were given out up to now.
    pub fn revoke_all_tokens(&self) {
        lock(&self.shared.tokens).revoke_all();
    }

    /// Lets callers with a good token do nothing any more, for they have no role, or lets them again.
    pub fn deny(&self, denies: bool) {
        self.shared.denies.store(denies, Ordering::SeqCst);
    }

    /// Lets something go wrong with so many requests that are to come.
    pub fn inject(&self, fault: ArmFault, times: usize) {
        lock(&self.shared.faults).inject(fault, times);
    }

    /// Returns whether a fault is still to meet a request.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        lock(&self.shared.faults).is_armed()
    }

    /// Returns what was asked, in the order in which it came.
    #[must_use]
    pub fn requests(&self) -> Vec<ArmRequest> {
        lock(&self.shared.requests).clone()
    }

    /// Begins the record of requests anew.
    pub fn forget_requests(&self) {
        lock(&self.shared.requests).clear();
    }
}

impl Drop for ArmServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for ArmServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn accepts(&self, authorization: &str) -> bool {
        lock(&self.tokens).accept(authorization, self.clock.now())
    }

    fn denies(&self) -> bool {
        self.denies.load(Ordering::SeqCst)
    }

    fn received(&self, request: ArmRequest) -> usize {
        let mut requests = lock(&self.requests);
        requests.push(request);
        requests.len() - 1
    }

    fn answered(&self, number: usize, status: u16) {
        if let Some(request) = lock(&self.requests).get_mut(number) {
            request.status = Some(status);
        }
    }

    fn with_account<T>(
        &self,
        subscription: &str,
        group: &str,
        name: &str,
        work: impl FnOnce(&mut Account) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut accounts = lock(&self.accounts);
        let wanted = key(subscription, group, name);
        if let Some(account) = accounts.get_mut(&wanted) {
            return work(account);
        }
        let knows = |is_it: &dyn Fn(&(String, String, String)) -> bool| accounts.keys().any(is_it);
        Err(if !knows(&|it| it.0 == wanted.0) {
            Refusal::new(
                404,
                "SubscriptionNotFound",
                "There is no such subscription.",
            )
        } else if !knows(&|it| it.0 == wanted.0 && it.1 == wanted.1) {
            Refusal::new(
                404,
                "ResourceGroupNotFound",
                "There is no such resource group.",
            )
        } else {
            Refusal::new(404, "ResourceNotFound", "There is no such account.")
        })
    }
}

fn key(subscription: &str, group: &str, name: &str) -> (String, String, String) {
    (
        subscription.to_ascii_lowercase(),
        group.to_ascii_lowercase(),
        name.to_owned(),
    )
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
