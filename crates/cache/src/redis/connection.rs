//! Connections to one server, each of which knows which server it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, RedisError, Script};
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tokio::sync::{Mutex, watch};

use super::error::{CLUSTER, error, is_read_only};
use super::handover::Handover;
use super::keys::Keys;
use super::login::{Login, Watch};
use super::observe::{Operation, observe};
use super::outage::Outage;
use crate::telemetry::Calls;

pub(super) const CONNECT: &str = "connect to redis";

/// For how long no connection is tried after one could not be made.
const PAUSE: Duration = Duration::from_millis(200);

/// For how long what tells old values from new ones is kept where nothing is asked for.
pub(super) const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Several connections, of which each carries many calls at a time.
pub(super) struct Connections {
    login: Arc<Login>,
    config: AsyncConnectionConfig,
    timeout: Duration,
    epoch_key: String,
    channel: String,
    meet: Script,
    /// The server that was reached last.
    reached: parking_lot::Mutex<Option<Arc<str>>>,
    lines: Arc<Lines>,
    next: AtomicUsize,
    handover: Handover,
    outage: Outage,
    calls: Calls,
}

/// The connections that there are.
pub(super) struct Lines {
    pub(super) stripes: Box<[Stripe]>,
    /// Held by the one who connects; when it was tried in vain last.
    pub(super) connecting: Mutex<Option<(Instant, ErrorKind)>>,
}

#[derive(Default)]
pub(super) struct Stripe(pub(super) RwLock<Option<Connected>>);

/// A connection, which leads to one process of a server for as long as it lives.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    /// Another one for each process, and after each fail-over.
    pub(super) identity: Arc<str>,
}

impl Connections {
    pub(super) fn new(
        login: Login,
        count: usize,
        timeout: Duration,
        keys: &Keys,
        calls: Calls,
    ) -> Result<Self> {
        // What it refuses, it refuses at once.
        if login.tls().is_none() {
            client(login.info().clone())?;
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        Ok(Self {
            login: Arc::new(login),
            config,
            timeout,
            epoch_key: keys.epoch(),
            channel: keys.invalidations(),
            reached: parking_lot::Mutex::default(),
            meet: Script::new(include_str!("scripts/meet.lua")),
            lines: Arc::new(Lines {
                stripes: (0..count.max(1)).map(|_| Stripe::default()).collect(),
                connecting: Mutex::default(),
            }),
            next: AtomicUsize::new(0),
            handover: Handover::default(),
            outage: Outage::default(),
            calls,
        })
    }

    /// Calls the server over one of the connections, for a tenant, or for all of them.
    pub(super) async fn call<T: FromRedisValue, F>(
        &self,
        operation: Operation,
        tenant: Option<TenantId>,
        call: impl FnOnce(Connected) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let call = self.call_unseen(operation.text(), call);
        observe(&self.calls, operation, tenant, call).await
    }

    async fn call_unseen<T: FromRedisValue, F>(
        &self,
        operation: &'static str,
        call: impl FnOnce(Connected) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.lines.stripes.len();
        let stripe = &self.lines.stripes[index];
        let connected = stripe.0.read().clone();
        let connected = match connected {
            Some(connected) => connected,
            None => self.connect(stripe).await?,
        };
        let identity = Arc::clone(&connected.identity);
        call(connected).await.map_err(|cause| {
            // A connection never comes back by itself; and one that leads to a replica now never leads
            // to a primary.
            let is_over = cause.is_io_error()
                || cause.is_connection_dropped()
                || cause.is_unrecoverable_error()
                || cause.is_timeout();
            if is_read_only(&cause) {
                // It is a replica now, and so it is for all of them.
                self.forget_all();
            } else if is_over {
                stripe.forget(&identity);
            }
            error(operation, &cause)
        })
    }

    /// Lets go of all connections, which lead to a server that is another one now.
    pub(super) fn forget_all(&self) {
        self.lines.forget_all();
    }

    async fn connect(&self, stripe: &Stripe) -> Result<Connected> {
        let mut in_vain = self.lines.connecting.lock().await;
        if let Some(connected) = stripe.0.read().clone() {
            // Another has connected meanwhile.
            return Ok(connected);
        }
        if let Some((tried, kind)) = *in_vain
            && tried.elapsed() < PAUSE
        {
            return Err(Error::new(kind, CONNECT).with_detail(
                "it could not be reached a moment ago, and is tried again in another",
            ));
        }
        // What asks for the password may take its time; others wait for this one.
        match in_time(self.patience(), self.open()).await {
            Ok(connected) => {
                *in_vain = None;
                self.outage.is_over();
                *stripe.0.write() = Some(connected.clone());
                Ok(connected)
            }
            Err(error) => {
                *in_vain = Some((Instant::now(), error.kind()));
                self.outage.goes_on(&error, "calls");
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<Connected> {
        let failed = |cause: RedisError| error(CONNECT, &cause);
        let open = |info: ConnectionInfo| async move {
            if let Some(tls) = self.login.tls() {
                let opened = tls.connection(info.redis_settings(), self.config.clone());
                return in_time(self.timeout, opened).await;
            }
            let opened = client(info)?
                .get_multiplexed_async_connection_with_config(&self.config)
                .await;
            opened.map_err(failed)
        };
        let before = self.login.watch().map(Watch::number);
        let mut connection = self.login.open(open).await?;
        self.handover.begin(&self.login, &self.lines, before);
        let identity: Arc<str> = identity_of(&mut connection).await?.into();
        let before = self.reached.lock().clone();
        let comes_from_another = before.is_some_and(|before| before != identity);
        // Before anything is read: what a server has lost, another could not have told of.
        self.meet
            .key(&self.epoch_key)
            .arg(&*identity)
            .arg(&nonce())
            .arg(millis(KEPT))
            .arg(u8::from(comes_from_another))
            .arg(&self.channel)
            .arg(ANOTHER_EPOCH)
            .invoke_async::<()>(&mut connection)
            .await
            .map_err(failed)?;
        *self.reached.lock() = Some(Arc::clone(&identity));
        Ok(Connected {
            connection,
            identity,
        })
    }

    /// Opens a connection that hears messages.
    pub(super) async fn listen(&self, channels: &[&str]) -> Result<PubSub> {
        let open = |info: ConnectionInfo| async move {
            let mut link = match self.login.tls() {
                Some(tls) => tls.messages(info.redis_settings()).await?,
                None => client(info)?
                    .get_async_pubsub()
                    .await
                    .map_err(|cause| error(CONNECT, &cause))?,
            };
            let heard = link.subscribe(channels).await;
            heard.map(|()| link).map_err(|cause| error(CONNECT, &cause))
        };
        in_time(self.patience(), self.login.open(open)).await
    }

    /// Returns how long it may take to ask for the password as well.
    const fn patience(&self) -> Duration {
        self.timeout.saturating_mul(4)
    }

    /// Tells when what listens has to be opened anew, to show another token.
    pub(super) fn renewed(&self) -> watch::Receiver<u64> {
        self.handover.renewed()
    }
}

impl Lines {
    pub(super) fn forget_all(&self) {
        for stripe in &self.stripes {
            *stripe.0.write() = None;
        }
    }
}

impl Stripe {
    /// Lets go of the connection to a server.
    pub(super) fn forget(&self, identity: &str) {
        let mut kept = self.0.write();
        if kept
            .as_ref()
            .is_some_and(|kept| &*kept.identity == identity)
        {
            *kept = None;
        }
    }
}

async fn in_time<T>(patience: Duration, opening: impl Future<Output = Result<T>>) -> Result<T> {
    let opened = tokio::time::timeout(patience, opening).await;
    opened.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, CONNECT)
            .with_detail(format!("no connection stands within {patience:?}")))
    })
}

fn client(info: ConnectionInfo) -> Result<Client> {
    Client::open(info).map_err(|cause| error(CONNECT, &cause))
}

/// Asks a server who it is.
pub(super) async fn identity_of(connection: &mut MultiplexedConnection) -> Result<String> {
    let mut info = redis::pipe();
    for section in ["server", "replication", "cluster"] {
        info.cmd("INFO").arg(section);
    }
    let sections: Vec<String> = info
        .query_async(connection)
        .await
        .map_err(|cause| error(CONNECT, &cause))?;
    let text = sections.join("\n");
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    if field("cluster_enabled") == Some("1") {
        return Err(Error::new(ErrorKind::Unsupported, CONNECT).with_detail(CLUSTER));
    }
    if field("role") != Some("master") {
        return Err(Error::new(ErrorKind::ReadOnly, CONNECT)
            .with_detail("the server is a replica: name the primary"));
    }
    match (field("run_id"), field("master_replid")) {
        (Some(run), Some(replication)) => Ok(format!("{run}:{replication}")),
        _ => Err(Error::new(ErrorKind::Unsupported, CONNECT).with_detail(
            "the server does not tell who it is (INFO server, INFO replication): after a fail-over it \
             would serve what it has lost the end of",
        )),
    }
}

/// Returns eight bytes that no other call returns.
pub(super) fn nonce() -> [u8; NONCE] {
    rand::random()
}

pub(super) const NONCE: usize = 8;

/// What is said on the channel of invalidations when another epoch begins.
pub(super) const ANOTHER_EPOCH: &[u8] = b"another epoch";

pub(super) fn millis(time: Duration) -> u64 {
    // What is longer is for ever by any clock of a server.
    const LONGEST: u64 = 100 * 366 * 24 * 60 * 60 * 1_000;
    u64::try_from(time.as_millis())
        .unwrap_or(LONGEST)
        .min(LONGEST)
}

impl fmt::Debug for Connections {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("login", &self.login)
            .field("count", &self.lines.stripes.len())
            .finish_non_exhaustive()
    }
}
