//! The scope of a tenant: the only way to a repository.

use std::fmt;
use std::sync::Arc;

use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};

use crate::aggregate::Aggregate;
use crate::backend::{Access, Begin};
use crate::repository::SqlRepository;
use crate::store::StoreInner;
use crate::work::{RetryPolicy, Retryable, UnitOfWork, WorkOptions};

/// One tenant's view of the store, together with who is asking.
///
/// Made by [`TenantStore::tenant`](crate::TenantStore::tenant); cheap to clone, and the only way
/// to a repository: code that has no scope cannot read or write a row.
///
/// # Isolation
///
/// The tenant is a value of the scope. It is not looked up in a task-local or thread-local, so it
/// cannot get lost in a spawned task, or stay behind in a pooled one.
#[derive(Clone)]
pub struct TenantScope {
    store: Arc<StoreInner>,
    tenant: TenantId,
    context: RequestContext,
}

impl TenantScope {
    pub(crate) const fn new(
        store: Arc<StoreInner>,
        tenant: TenantId,
        context: RequestContext,
    ) -> Self {
        Self {
            store,
            tenant,
            context,
        }
    }

    /// Returns the scope on behalf of a request: its actor and trace go into the audit columns.
    #[must_use]
    pub fn with_context(mut self, context: RequestContext) -> Self {
        self.context = context;
        self
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns who asks, and on behalf of which request.
    #[must_use]
    pub const fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Returns the repository of an aggregate; each call of it is a transaction of its own.
    #[must_use]
    pub fn repository<A: Aggregate>(&self) -> SqlRepository<'static, A> {
        SqlRepository::in_scope(self.clone())
    }

    /// Begins a unit of work that reads and writes.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `PoolExhausted`, `AuthenticationFailed`, `TlsFailed`; on SQLite `Locked`.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has begun.
    pub async fn begin(&self) -> Result<UnitOfWork> {
        self.begin_with(WorkOptions::default()).await
    }

    /// Begins a unit of work with options.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing has begun.
    pub async fn begin_with(&self, options: WorkOptions) -> Result<UnitOfWork> {
        let access = if options.read_only {
            Access::Read
        } else {
            Access::Write
        };
        let begin = Begin {
            operation: "begin",
            tenant: Some(self.tenant),
            access,
            isolation: options.isolation,
            statement_timeout: options.statement_timeout.or(self.store.statement_timeout()),
        };
        let opening = self.store.backend.begin(&begin);
        let telemetry = &self.store.telemetry;
        let session = telemetry
            .observe("begin", "", Some(self.tenant), opening)
            .await?;
        Ok(UnitOfWork::new(self.clone(), session))
    }

    /// Runs `work` in a unit of work and commits it; runs it again when that can help.
    ///
    /// Tried again is every kind that [`is_retryable`](crate::ErrorKind::is_retryable), such as
    /// serialization failures, deadlocks, locks, lost connections and time-outs, as often as the
    /// policy says; never a commit whose answer was lost. `work` may therefore run several
    /// times: what it does outside the unit of work must bear that. It gets a handle to the unit
    /// of work and must let go of it before it returns.
    ///
    /// # Errors
    ///
    /// The last error of `work`, of begin or of commit; `InvalidInput` if `work` keeps its handle.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the running attempt is rolled back, unless its commit had begun.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use tenantry_store::{Aggregate, Repository, RepositoryExt, Result, RetryPolicy, TenantScope, Version, WorkOptions};
    /// # use uuid::Uuid;
    /// # #[derive(Debug, Clone, PartialEq, Aggregate)]
    /// # #[aggregate(table = "invoices")]
    /// # pub struct Invoice {
    /// #     #[aggregate(id)]
    /// #     pub id: Uuid,
    /// #     pub total_cents: i64,
    /// #     #[aggregate(version)]
    /// #     pub version: Version,
    /// # }
    /// async fn add_fee(tenant: &TenantScope, id: Uuid) -> Result<()> {
    ///     tenant
    ///         .run(RetryPolicy::new(), WorkOptions::default(), |work| async move {
    ///             let invoices = work.repository::<Invoice>();
    ///             let mut invoice = invoices.get(id).await?;
    ///             invoice.total_cents += 500;
    ///             invoices.update(&mut invoice).await
    ///         })
    ///         .await
    /// }
    /// ```
    pub async fn run<T, E, F, W>(
        &self,
        policy: RetryPolicy,
        options: WorkOptions,
        mut work: F,
    ) -> Result<T, E>
    where
        F: FnMut(Arc<UnitOfWork>) -> W,
        W: Future<Output = Result<T, E>>,
        E: From<Error> + Retryable,
    {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(options.clone(), &mut work).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if attempt >= policy.attempts || !error.is_retryable() {
                return Err(error);
            }
            tokio::time::sleep(policy.wait(attempt)).await;
            attempt += 1;
        }
    }

    async fn attempt<T, E, F, W>(&self, options: WorkOptions, work: &mut F) -> Result<T, E>
    where
        F: FnMut(Arc<UnitOfWork>) -> W,
        W: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let unit = Arc::new(self.begin_with(options).await?);
        let value = work(Arc::clone(&unit)).await?;
        let unit = Arc::into_inner(unit).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "run").with_detail(
                "the unit of work was kept beyond its closure, so it cannot be committed",
            )
        })?;
        unit.commit().await?;
        Ok(value)
    }

    pub(crate) fn store(&self) -> &StoreInner {
        &self.store
    }
}

impl fmt::Debug for TenantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantScope")
            .field("tenant", &self.tenant)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
