//! The tenant store: a database, opened once per process, from which tenants' scopes are made.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tenantry_core::{Error, ErrorKind, RequestContext, Result, SharedClock, TenantId};

use crate::aggregate::{Aggregate, AggregateDescriptor};
use crate::backend::{Access, Backend, Begin, Session};
#[cfg(feature = "guard")]
use crate::guard::LiveGuard;
use crate::scope::TenantScope;
use crate::statement::{Plan, store_columns};
use crate::telemetry::Telemetry;
use crate::work::{BeforeCommit, CommitListener, Listeners, Writers};

/// A database that holds the rows of many tenants.
///
/// Opened by [`TenantStore::postgres`] or [`TenantStore::sqlite`] once per process; cheap to
/// clone. It has no method that reads or writes: those are on a [`TenantScope`].
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn open() -> tenantry_store::Result<()> {
/// use tenantry_core::TenantId;
/// use tenantry_store::{SqliteSettings, TenantStore};
///
/// let store = TenantStore::sqlite(SqliteSettings::in_memory()).await?;
/// let tenant = store.tenant(TenantId::generate());
/// # drop(tenant);
/// store.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TenantStore {
    inner: Arc<StoreInner>,
}

/// Tells a store that was opened from all others of the process; its clones have the same.
///
/// Two stores of one database have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(u64);

impl StoreId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) struct StoreInner {
    id: StoreId,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) listeners: Listeners,
    pub(crate) writers: Writers,
    pub(crate) clock: SharedClock,
    pub(crate) telemetry: Telemetry,
    pub(crate) cursor_key: Vec<u8>,
    schema: Option<String>,
    statement_timeout: Option<Duration>,
    plans: RwLock<HashMap<TypeId, Arc<PlannedAggregate>>>,
    #[cfg(feature = "own-tables")]
    pub(crate) joined: crate::own::JoinedTexts,
    #[cfg(feature = "own-tables")]
    pub(crate) kept: crate::own::Kept,
    #[cfg(feature = "guard")]
    pub(crate) guard: LiveGuard,
}

/// An aggregate as this process has met it: its statements, and whether its table was compared
/// with what the code expects.
pub(crate) struct PlannedAggregate {
    pub(crate) plan: Plan,
    verified: AtomicBool,
}

/// What a backend's settings say that does not concern the database.
pub(crate) struct StoreSettings {
    pub(crate) clock: SharedClock,
    pub(crate) cursor_key: Vec<u8>,
    pub(crate) schema: Option<String>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) system: &'static str,
    #[cfg(feature = "guard")]
    pub(crate) declared: crate::guard::Declared,
}

impl TenantStore {
    pub(crate) fn new(backend: Box<dyn Backend>, settings: StoreSettings) -> Self {
        Self {
            inner: Arc::new(StoreInner {
                id: StoreId::next(),
                backend,
                listeners: Listeners::default(),
                writers: Writers::default(),
                clock: settings.clock,
                telemetry: Telemetry::new(settings.system),
                cursor_key: settings.cursor_key,
                schema: settings.schema,
                statement_timeout: settings.statement_timeout,
                plans: RwLock::default(),
                #[cfg(feature = "own-tables")]
                joined: crate::own::JoinedTexts::default(),
                #[cfg(feature = "own-tables")]
                kept: crate::own::Kept::default(),
                #[cfg(feature = "guard")]
                guard: LiveGuard::new(settings.declared),
            }),
        }
    }

    /// Returns the scope of a tenant, acting as the system.
    ///
    /// Use [`TenantScope::with_context`] to name the actor and the request.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantScope {
        TenantScope::new(Arc::clone(&self.inner), tenant, RequestContext::system())
    }

    /// Lets a listener hear of every transaction that is committed from now on.
    pub fn on_commit(&self, listener: Arc<dyn CommitListener>) {
        self.inner.listeners.add(listener);
    }

    /// Lets somebody write into every transaction that changes something, just before it commits,
    /// from now on.
    pub fn before_commit(&self, writer: Arc<dyn BeforeCommit>) {
        self.inner.writers.add(writer);
    }

    /// Returns what tells this store, and its clones, from all others.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.id
    }

    /// Returns whether a scope is one of this store, or of a clone of it.
    #[must_use]
    pub fn is_store_of(&self, scope: &TenantScope) -> bool {
        std::ptr::eq(&raw const *self.inner, scope.store())
    }

    /// Compares the table of an aggregate with the struct, as the first use of it would.
    ///
    /// Call it at start-up for every aggregate of the service, and a wrong schema cannot go live.
    ///
    /// # Errors
    ///
    /// `UnknownTable`, `UnprotectedTable`, `SchemaMismatch`; `Unavailable`.
    pub async fn verify<A: Aggregate>(&self) -> Result<()> {
        let planned = self.inner.planned::<A>();
        let mut session = self
            .inner
            .backend
            .begin(&Begin {
                operation: "verify",
                tenant: None,
                access: Access::Read,
                isolation: None,
                statement_timeout: self.inner.statement_timeout,
            })
            .await?;
        planned.verify(&mut *session).await
    }

    /// Asks the database for an answer: for a probe that tells whether requests can be served.
    ///
    /// It takes a connection of the pool, as a request does, and one round trip on PostgreSQL. It
    /// looks at no row, and at no table of the service: for those there is [`verify`](Self::verify).
    ///
    /// # Errors
    ///
    /// `Unavailable`, `AuthenticationFailed`, `PoolExhausted` and the like, as every other call has them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_store::Result<()> {
    /// use tenantry_store::{SqliteSettings, TenantStore};
    ///
    /// let store = TenantStore::sqlite(SqliteSettings::in_memory()).await?;
    /// store.ping().await?;
    /// store.close().await;
    /// assert!(store.ping().await.is_err());
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    pub async fn ping(&self) -> Result<()> {
        self.inner.backend.ping().await
    }

    #[cfg(any(feature = "guard", feature = "own-tables"))]
    pub(crate) fn inner(&self) -> &StoreInner {
        &self.inner
    }

    pub(crate) fn into_inner(self) -> Arc<StoreInner> {
        self.inner
    }

    /// Closes the connections, and waits without limit for those in use.
    ///
    /// New work is refused, as `Unavailable`. What is open goes on to its end and is waited for:
    /// streams, and units of work, one whose handle was kept beyond the closure of
    /// [`run`](TenantScope::run) among them. Bound the wait by
    /// `tokio::time::timeout(limit, store.close())`. It may be called again.
    ///
    /// # Cancel safety
    ///
    /// New work is refused from the first poll on, and stays so if the future is dropped; what was
    /// in use is closed as it comes back.
    pub async fn close(&self) {
        self.inner.backend.close().await;
    }
}

impl fmt::Debug for TenantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantStore")
            .field("backend", &self.inner.backend)
            .finish_non_exhaustive()
    }
}

impl StoreInner {
    pub(crate) fn planned<A: Aggregate>(&self) -> Arc<PlannedAggregate> {
        let key = TypeId::of::<A>();
        if let Some(planned) = self.plans.read().get(&key) {
            return Arc::clone(planned);
        }
        let plan = Plan::new(
            self.backend.dialect(),
            self.schema.as_deref(),
            A::DESCRIPTOR,
        );
        let planned = Arc::new(PlannedAggregate {
            plan,
            verified: AtomicBool::new(false),
        });
        Arc::clone(self.plans.write().entry(key).or_insert(planned))
    }

    #[cfg(feature = "own-tables")]
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns whether changes need to be written down at all.
    pub(crate) fn notes_changes(&self) -> bool {
        self.listeners.any() || self.writers.any()
    }

    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout
    }
}

impl PlannedAggregate {
    pub(crate) fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    /// Compares the table with the struct, once per process.
    pub(crate) async fn verify(&self, session: &mut dyn Session) -> Result<()> {
        if !self.is_verified() {
            refuse_store_columns(self.plan.descriptor)?;
            session.verify(self.plan.descriptor).await?;
            self.verified.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Refuses an aggregate that was written by hand and names what the store itself keeps: it could
/// move a row to another tenant.
fn refuse_store_columns(descriptor: &'static AggregateDescriptor) -> Result<()> {
    let mut names: Vec<_> = store_columns(descriptor)
        .map(|column| column.name())
        .collect();
    for column in descriptor.columns() {
        if names.contains(&column.name()) {
            return Err(Error::new(ErrorKind::InvalidInput, "verify")
                .with_subject(descriptor.table())
                .with_detail(format!(
                    "column {} is kept by the store, or named twice: take it out of the aggregate",
                    column.name()
                )));
        }
        names.push(column.name());
    }
    Ok(())
}
