//! What Azurite lacks, before it: locks and legal holds that are kept, checksums of ranges, and faults.

mod fault;
mod listing;
mod relay;
mod rules;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tenantry_core::{SharedClock, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::fault::BlobFault;
use self::fault::Faults;
use self::rules::Ledger;
use crate::{AzuriteServer, Error, Result};

/// A front before an Azurite that keeps policies of immutability and legal holds of single blobs, as
/// immutable storage with versioning does, and breaks where a test wants it to.
///
/// It speaks what the service documents: Set and Delete Blob Immutability Policy, Set Blob Legal Hold,
/// their headers at Put Blob and Put Block List, and what Get, Head and List tell of them. All that it
/// does not know it passes on, signatures included. What was put past it, it does not keep.
/// It also tells the CRC64 of a range that is read, which Azurite does not.
///
/// It belongs to the runtime it was started in; dropping it closes all connections.
///
/// # Examples
///
/// ```no_run
/// use tenantry_testkit::{AzuriteServer, BlobFault, WormFront};
///
/// # async fn example() -> tenantry_testkit::Result<()> {
/// let server = AzuriteServer::start().await?;
/// let front = WormFront::start(&server).await?;
/// front.inject(BlobFault::AnswerLost, ("PUT", "comp=blocklist"));
/// println!("{}", front.url());
/// # Ok(())
/// # }
/// ```
pub struct WormFront {
    address: SocketAddr,
    url: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// What all connections of a front share.
struct State {
    /// Host and port of the account.
    server: String,
    clock: SharedClock,
    ledger: Mutex<Ledger>,
    faults: Faults,
    requests: AtomicU64,
}

impl State {
    fn ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl WormFront {
    /// Starts a front before an account.
    ///
    /// # Errors
    ///
    /// When the loopback has no free port.
    pub async fn start(server: &AzuriteServer) -> Result<Self> {
        Self::start_with_clock(server, Arc::new(SystemClock)).await
    }

    /// Starts a front before an account that judges policies by this clock.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_clock(server: &AzuriteServer, clock: SharedClock) -> Result<Self> {
        let failed = |error| Error::because("cannot listen on the loopback", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(State {
            server: server.address(),
            clock,
            ledger: Mutex::default(),
            faults: Faults::default(),
            requests: AtomicU64::new(0),
        });
        Ok(Self {
            address,
            url: server.url_through(address)?,
            accepting: tokio::spawn(accept(listener, Arc::clone(&state))),
            state,
        })
    }

    /// Returns the URL of the account through the front.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has something go wrong with the next request of this method whose path or query has this text
    /// in it, such as `("PUT", "comp=block&")`.
    pub fn inject(&self, fault: BlobFault, request: (&'static str, &'static str)) {
        self.inject_at(fault, request, 0, 1);
    }

    /// Has something go wrong with so many such requests, after a number of them was let pass.
    pub fn inject_at(
        &self,
        fault: BlobFault,
        request: (&'static str, &'static str),
        after: usize,
        times: usize,
    ) {
        self.state.faults.arm(fault, request, after, times);
    }

    /// Returns whether a fault that was injected is still to come.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.state.faults.are_armed()
    }

    /// Returns how many requests have come.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for WormFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for WormFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WormFront")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropped with this future, which ends all connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { relay::answer(&state, request).await }
            });
            // A connection that ends by itself, or by a fault, has nobody to tell.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}
