//! The isolation suite for a service's own repositories.

mod trial;

use std::fmt;
use std::fmt::Debug;

use futures_util::future::BoxFuture;
use tenantry_core::TenantId;
use tenantry_store::{Aggregate, Repository, TenantScope, TenantStore};

use trial::Trial;

/// How much [`assert_isolated`] tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IsolationReport {
    /// Reads that could have answered a foreign row.
    pub reads: u64,
    /// Writes that could have changed a foreign row.
    pub writes: u64,
}

/// Asserts that a repository of a service keeps to its tenant, whatever is wrapped around it.
///
/// `repository` makes the repository of a scope as the service makes it; `sample` makes an
/// aggregate that can be stored, with another identifier at every call. Two new tenants store
/// rows, among them two with one identifier; then each operation of [`Repository`] but
/// `update_where` is tried by the first on the rows of the second, which must answer as for rows
/// that nobody has, and stay as they are.
///
/// Where a sample needs rows of other tables, [`IsolationSuite`] stores these first.
///
/// # Panics
///
/// With the operation and what it answered, if a foreign row was seen or changed, or the store
/// failed.
///
/// # Examples
///
/// ```no_run
/// # use tenantry_store::{Aggregate, TenantStore, Version};
/// # use uuid::Uuid;
/// # #[derive(Debug, Clone, PartialEq, Aggregate)]
/// # #[aggregate(table = "invoices")]
/// # pub struct Invoice {
/// #     #[aggregate(id)]
/// #     pub id: Uuid,
/// #     #[aggregate(version)]
/// #     pub version: Version,
/// # }
/// # async fn example(store: &TenantStore) {
/// use tenantry_testkit::assert_isolated;
///
/// let report = assert_isolated(
///     store,
///     |scope| scope.repository::<Invoice>(),
///     || Invoice { id: Uuid::now_v7(), version: Version::NEW },
/// )
/// .await;
/// assert!(report.reads > 0 && report.writes > 0);
/// # }
/// ```
pub async fn assert_isolated<A, R>(
    store: &TenantStore,
    repository: impl Fn(&TenantScope) -> R + Sync,
    sample: impl Fn() -> A + Sync,
) -> IsolationReport
where
    A: Aggregate + Clone + PartialEq + Debug,
    R: Repository<A>,
{
    IsolationSuite::new(store).run(repository, sample).await
}

/// What [`assert_isolated`] runs, for aggregates whose rows need others to be there.
///
/// # Examples
///
/// ```no_run
/// # use tenantry_store::{Aggregate, Repository as _, TenantStore, Version};
/// # use uuid::Uuid;
/// # #[derive(Debug, Clone, PartialEq, Aggregate)]
/// # #[aggregate(table = "customers")]
/// # pub struct Customer {
/// #     #[aggregate(id)]
/// #     pub id: Uuid,
/// # }
/// # #[derive(Debug, Clone, PartialEq, Aggregate)]
/// # #[aggregate(table = "invoices")]
/// # pub struct Invoice {
/// #     #[aggregate(id)]
/// #     pub id: Uuid,
/// #     pub customer: Uuid,
/// #     #[aggregate(version)]
/// #     pub version: Version,
/// # }
/// # async fn example(store: &TenantStore) {
/// use tenantry_testkit::IsolationSuite;
///
/// let customer = Uuid::now_v7();              // one identifier, a row in each tenant
/// let report = IsolationSuite::new(store)
///     .with_preparation(|tenant| async move {
///         tenant.repository().insert(&mut Customer { id: customer }).await.unwrap();
///     })
///     .run(
///         |scope| scope.repository::<Invoice>(),
///         || Invoice { id: Uuid::now_v7(), customer, version: Version::NEW },
///     )
///     .await;
/// assert!(report.reads > 0 && report.writes > 0);
/// # }
/// ```
pub struct IsolationSuite<'a> {
    store: &'a TenantStore,
    prepare: Box<Prepare<'a>>,
}

type Prepare<'a> = dyn Fn(TenantScope) -> BoxFuture<'a, ()> + Send + Sync + 'a;

impl<'a> IsolationSuite<'a> {
    /// Returns the suite over a store, with nothing prepared.
    #[must_use]
    pub fn new(store: &'a TenantStore) -> Self {
        Self {
            store,
            prepare: Box::new(|_| Box::pin(async {})),
        }
    }

    /// Stores what the samples refer to: called with the scope of each of the two tenants, before
    /// anything else is stored in it.
    ///
    /// Samples know no tenant, so that what they refer to has one identifier in all.
    #[must_use]
    pub fn with_preparation<F, P>(mut self, prepare: F) -> Self
    where
        F: Fn(TenantScope) -> P + Send + Sync + 'a,
        P: Future<Output = ()> + Send + 'a,
    {
        self.prepare = Box::new(move |tenant| Box::pin(prepare(tenant)));
        self
    }

    /// Tries every operation but `update_where` as one tenant on the rows of another.
    ///
    /// # Panics
    ///
    /// As [`assert_isolated`].
    pub async fn run<A, R>(
        self,
        repository: impl Fn(&TenantScope) -> R + Sync,
        sample: impl Fn() -> A + Sync,
    ) -> IsolationReport
    where
        A: Aggregate + Clone + PartialEq + Debug,
        R: Repository<A>,
    {
        let tenants = [(); 2].map(|()| self.store.tenant(TenantId::generate()));
        for tenant in &tenants {
            (self.prepare)(tenant.clone()).await;
        }
        let [ours, theirs] = tenants.map(|tenant| repository(&tenant));
        Trial::between(ours, theirs).run(&sample).await
    }
}

impl fmt::Debug for IsolationSuite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolationSuite")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
