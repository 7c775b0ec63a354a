//! The one named way across tenants.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_core::stream::BoxStream;
use futures_util::TryStreamExt as _;
use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};

use crate::aggregate::Aggregate;
use crate::backend::{Access, ArgumentSink, Begin, Statement};
use crate::query::{Deleted, Direction, Filter};
use crate::scope::TenantScope;
use crate::statement::ListRequest;
use crate::store::{StoreInner, TenantStore};
use crate::value::ColumnValue as _;

/// A database opened across tenants: for billing runs, support, statistics.
///
/// Opened by [`PlatformStore::postgres`] over the platform role and a pool of its own, or by
/// [`PlatformStore::sqlite`]. Nothing leads here from a [`TenantStore`] or a [`TenantScope`], so
/// code that handles requests cannot reach it unless it is handed in.
///
/// # Examples
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn total(url: &str) -> tenantry_store::Result<()> {
/// # use tenantry_store::{Aggregate, Version};
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
/// use tenantry_core::RequestContext;
/// use tenantry_store::{Filter, PlatformStore, PostgresSettings};
///
/// let platform = PlatformStore::postgres(PostgresSettings::new(url)).await?;
/// let scope = platform.scope("monthly statistics", RequestContext::system())?;
/// let all: u64 = scope.count(Filter::<Invoice>::all()).await?;
/// # drop(all);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PlatformStore {
    inner: Arc<StoreInner>,
}

/// Sight of all tenants, for a reason that stands in every trace event.
///
/// It reads; to write, name the tenant by [`PlatformScope::tenant`].
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use futures_util::TryStreamExt as _;
/// use tenantry_core::RequestContext;
/// use tenantry_store::{Filter, PlatformStore};
///
/// let mut ada = invoice("Ada", 12_000);
/// tenant.repository().insert(&mut ada).await?;
///
/// let platform = PlatformStore::sqlite(settings).await?;
/// let scope = platform.scope("monthly late fees", RequestContext::system())?;
/// assert_eq!(scope.count(Filter::<Invoice>::all()).await?, 1);
///
/// // Read all tenants, write to one.
/// let (owner, mut invoice) = scope.stream(Invoice::TOTAL_CENTS.gt(0)).try_next().await?.expect("one");
/// assert_eq!(owner, tenant.tenant());
/// invoice.total_cents += 500;
/// scope.tenant(owner).repository().update(&mut invoice).await?;
#[doc = include_str!("../examples/close.md")]
/// ```
#[derive(Clone)]
pub struct PlatformScope {
    store: Arc<StoreInner>,
    reason: Arc<str>,
    context: RequestContext,
    /// Whether it has been used, where it is for work that goes on.
    is_used: Option<Arc<AtomicBool>>,
}

impl PlatformStore {
    pub(crate) fn new(store: TenantStore) -> Self {
        Self {
            inner: store.into_inner(),
        }
    }

    /// Returns a scope across tenants.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the reason is blank, longer than 200 bytes, or holds control characters.
    pub fn scope(
        &self,
        reason: impl Into<Cow<'static, str>>,
        context: RequestContext,
    ) -> Result<PlatformScope> {
        let reason = reason.into();
        let is_text = !reason.chars().any(char::is_control);
        if reason.trim().is_empty() || reason.len() > 200 || !is_text {
            return Err(Error::new(ErrorKind::InvalidInput, "platform scope")
                .with_detail("say why all tenants are needed, in 1 to 200 bytes on one line"));
        }
        Ok(PlatformScope {
            store: Arc::clone(&self.inner),
            reason: reason.into(),
            context,
            is_used: None,
        })
    }

    /// Asks the database for an answer, as [`TenantStore::ping`].
    ///
    /// # Errors
    ///
    /// As [`TenantStore::ping`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    pub async fn ping(&self) -> Result<()> {
        self.inner.backend.ping().await
    }

    /// Closes the connections, as [`TenantStore::close`].
    pub async fn close(&self) {
        self.inner.backend.close().await;
    }
}

impl fmt::Debug for PlatformStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformStore")
            .field("backend", &self.inner.backend)
            .finish_non_exhaustive()
    }
}

impl PlatformScope {
    /// Says that it is for work which goes on in the background: its first use leaves a trace at the level
    /// `INFO`, and those after it at `DEBUG`.
    #[must_use]
    pub fn for_background(mut self) -> Self {
        self.is_used = Some(Arc::default());
        self
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the scope of one tenant, over the platform's role: the way to write.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantScope {
        self.leave_trace("tenant", "", Some(tenant));
        TenantScope::new(Arc::clone(&self.store), tenant, self.context.clone())
    }

    /// Counts the aggregates of all tenants that meet the filter.
    ///
    /// # Errors
    ///
    /// As [`Repository::count`](crate::Repository::count).
    pub async fn count<A: Aggregate>(&self, filter: Filter<A>) -> Result<u64> {
        self.leave_trace("count", A::DESCRIPTOR.table(), None);
        let planned = self.store.planned::<A>();
        let filter = crate::repository::expression("count", filter)?;
        let dynamic = planned.plan.count(None, &filter, Deleted::Exclude);
        let bind = |sink: &mut dyn ArgumentSink| dynamic.bind(sink);
        let statement = Statement {
            operation: "count",
            descriptor: A::DESCRIPTOR,
            key: None,
            sql: &dynamic.sql,
            entering: None,
            bind: &bind,
        };
        let table = A::DESCRIPTOR.table();
        self.store
            .telemetry
            .observe("count", table, None, async {
                let mut count = 0;
                let mut session = self.store.backend.begin(&self.begin("count")).await?;
                planned.verify(&mut *session).await?;
                session
                    .fetch(&statement, &mut |row| {
                        let found = row.integer(0)?.and_then(|count| u64::try_from(count).ok());
                        count = found.unwrap_or(0);
                        Ok(())
                    })
                    .await?;
                Ok(count)
            })
            .await
    }

    /// Reads the aggregates of all tenants that meet the filter, each with its tenant, in the order
    /// of their identifiers.
    ///
    /// # Errors
    ///
    /// As [`Repository::stream`](crate::Repository::stream).
    #[must_use]
    pub fn stream<A: Aggregate>(
        &self,
        filter: Filter<A>,
    ) -> BoxStream<'static, Result<(TenantId, A)>> {
        let scope = self.clone();
        let stream = Box::pin(async_stream::try_stream! {
            scope.leave_trace("stream", A::DESCRIPTOR.table(), None);
            let planned = scope.store.planned::<A>();
            let filter = crate::repository::expression("stream", filter)?;
            let dynamic = planned.plan.list(&ListRequest {
                tenant: None,
                filter: &filter,
                deleted: Deleted::Exclude,
                sort: &[(A::DESCRIPTOR.id(), Direction::Ascending)],
                bookmark: None,
                limit: None,
            });
            let bind = |sink: &mut dyn ArgumentSink| dynamic.bind(sink);
            let statement = Statement {
                operation: "stream",
                descriptor: A::DESCRIPTOR,
                key: None,
                sql: &dynamic.sql,
                entering: None,
                bind: &bind,
            };
            let mut session = scope.store.backend.begin(&scope.begin("stream")).await?;
            planned.verify(&mut *session).await?;
            let mut rows = session.stream(&statement);
            while let Some(row) = rows.try_next().await? {
                let item = owned_row::<A>(&*row).map_err(|error| statement.value_error(&error))?;
                drop(row);
                yield item;
            }
        });
        self.store
            .telemetry
            .observe_stream("stream", A::DESCRIPTOR.table(), None, stream)
    }

    #[cfg(any(feature = "guard", feature = "own-tables"))]
    pub(crate) fn store(&self) -> &StoreInner {
        &self.store
    }

    pub(crate) fn begin(&self, operation: &'static str) -> Begin {
        Begin {
            operation,
            tenant: None,
            access: Access::ReadOne,
            isolation: None,
            statement_timeout: self.store.statement_timeout(),
        }
    }

    /// Says who looks across tenants, at what, and why.
    pub(crate) fn leave_trace(
        &self,
        operation: &'static str,
        table: &'static str,
        tenant: Option<TenantId>,
    ) {
        macro_rules! leave {
            ($level:ident) => {
                tracing::$level!(
                    target: "tenantry::platform",
                    reason = &*self.reason,
                    actor = self.context.actor().as_str(),
                    db.operation.name = operation,
                    db.collection.name = table,
                    tenant.id = tenant.map(tracing::field::display),
                    "platform scope used",
                )
            };
        }
        let is_used = self.is_used.as_ref();
        match is_used.is_some_and(|it| it.swap(true, Ordering::Relaxed)) {
            true => leave!(debug),
            false => leave!(info),
        }
    }
}

impl fmt::Debug for PlatformScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformScope")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

// A function of its own: `dyn Row` must not live in the state of the stream.
fn owned_row<A: Aggregate>(
    row: &dyn crate::value::Row,
) -> Result<(TenantId, A), crate::value::ValueError> {
    const NO_TENANT: crate::value::ValueError =
        crate::value::ValueError::new("tenant_id holds no tenant: it is nil");
    let tenant = uuid::Uuid::read(row, A::DESCRIPTOR.columns().len())?;
    let tenant = TenantId::new(tenant).map_err(|_| NO_TENANT)?;
    Ok((tenant, A::read(row)?))
}
