//! The repository of an aggregate: what a service reads and writes through.

mod ext;
mod forward;
mod sql;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_core::stream::BoxStream;
use tenantry_core::{Result, TenantId};

use crate::aggregate::{Aggregate, Version};
use crate::query::{Changes, Filter, Page, Query};

pub use ext::RepositoryExt;
pub use sql::SqlRepository;

pub(crate) use sql::expression;

/// Reads and writes the aggregates of one tenant.
///
/// The handle is bound to a tenant when it is made, by
/// [`TenantScope::repository`](crate::TenantScope::repository) or
/// [`UnitOfWork::repository`](crate::UnitOfWork::repository); no method takes one.
/// The trait is object-safe, so a service keeps it as `Arc<dyn Repository<Invoice>>`, or better
/// declares a trait of its own on top:
///
/// ```
/// # use tenantry_store::{Aggregate, Query, Repository, Result, Version, async_trait};
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
/// #[async_trait]
/// pub trait InvoiceRepository: Repository<Invoice> {
///     async fn biggest(&self) -> Result<Vec<Invoice>>;
/// }
///
/// #[async_trait]
/// impl<R: Repository<Invoice>> InvoiceRepository for R {
///     async fn biggest(&self) -> Result<Vec<Invoice>> {
///         Ok(self.list(Query::new().sort(Invoice::TOTAL_CENTS.desc()).limit(10)).await?.items)
///     }
/// }
/// ```
///
/// # Isolation
///
/// What belongs to another tenant does not exist: every method answers for a foreign identifier
/// exactly as for one that nobody has, by the same statements.
///
/// # Contract
///
/// Implementers, such as a cache around another repository, forward every method; none has a
/// default. A write that returns an error has changed nothing, unless its kind is
/// [`CommitUnknown`](crate::ErrorKind::CommitUnknown).
///
/// # Errors
///
/// Besides the kinds that a method names, each one may answer `Unavailable`, `PoolExhausted`,
/// `StatementTimeout`, `UnknownTable`, `UnprotectedTable` or `SchemaMismatch`, and writes
/// `SerializationFailure`, `Deadlock`, `Locked`, `ReadOnly`, `StorageFull` and `CommitUnknown`.
///
/// # Cancel safety
///
/// Outside a unit of work a dropped call is rolled back, unless its commit had begun, which goes on to
/// its end in the background. Inside,
/// a dropped read does no harm, and a dropped write ends the unit of work: the next call and the
/// commit answer `WorkAborted`.
#[async_trait]
pub trait Repository<A: Aggregate>: Send + Sync {
    /// Returns the tenant whose aggregates these are: what a wrapper, such as a cache, keeps them
    /// under.
    fn tenant(&self) -> TenantId;

    /// Reads the aggregate with an identifier; `None` if there is none.
    ///
    /// [`RepositoryExt::get`] is the same with an error in place of `None`.
    ///
    /// # Errors
    ///
    /// `InvalidValue` if the row does not fit the struct.
    async fn find(&self, id: &A::Id) -> Result<Option<A>>;

    /// Reads the aggregates that are there, in the order of their identifiers.
    ///
    /// Missing ones are left out, repeated ones come once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than 10,000 identifiers, `InvalidValue` as for
    /// [`find`](Self::find).
    async fn get_many(&self, ids: &[A::Id]) -> Result<Vec<A>>;

    /// Returns whether there is an aggregate with the identifier.
    ///
    /// # Errors
    ///
    /// None of its own.
    async fn exists(&self, id: &A::Id) -> Result<bool>;

    /// Counts the aggregates that meet the filter.
    ///
    /// # Errors
    ///
    /// `InvalidValue` if the filter holds what no column can.
    async fn count(&self, filter: Filter<A>) -> Result<u64>;

    /// Reads one page.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a limit out of range or a sort by a column without an order,
    /// `InvalidCursor` for a cursor of another query or tenant, `InvalidValue` as for
    /// [`find`](Self::find) and [`count`](Self::count).
    async fn list(&self, query: Query<A>) -> Result<Page<A>>;

    /// Reads all rows of a query one by one, whatever its limit, in memory for a few.
    ///
    /// The stream holds a connection until it ends or is dropped; inside a unit of work it holds
    /// the unit, and other calls answer `InvalidInput` as long as it is open.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list), as the first item or, when the connection breaks, as the last.
    fn stream(&self, query: Query<A>) -> BoxStream<'_, Result<A>>;

    /// Stores a new aggregate, at version 1.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the tenant has a row with the identifier or another unique key,
    /// `ConstraintViolated`, `InvalidValue`.
    async fn insert(&self, aggregate: &mut A) -> Result<()>;

    /// Stores new aggregates, all or none, each at version 1.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    async fn insert_many(&self, aggregates: &mut [A]) -> Result<()>;

    /// Stores a changed aggregate, if its row still has the version it was read at.
    ///
    /// An aggregate without a version field is stored over whatever is there.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such row, `Conflict` if it has another version,
    /// `AlreadyExists` for another unique key, `ConstraintViolated`, `InvalidValue`.
    async fn update(&self, aggregate: &mut A) -> Result<()>;

    /// Removes a row, or marks it where the aggregate has soft delete.
    ///
    /// With an `expected` version only if the row still has it; see [`RepositoryExt::delete`].
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such row, `Conflict` if it has another version,
    /// `ConstraintViolated` if another row refers to it.
    async fn delete_by_id(&self, id: &A::Id, expected: Option<Version>) -> Result<()>;

    /// Stores an aggregate whether or not its row is there.
    ///
    /// A struct at [`Version::NEW`] is inserted, or stored over the row with its identifier. One
    /// that was read before is updated as by [`update`](Self::update), and not inserted again.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update); `Conflict` if the row is marked as deleted.
    async fn upsert(&self, aggregate: &mut A) -> Result<()>;

    /// Changes up to `limit` rows that meet the filter, smallest identifiers first, and returns
    /// how many it changed.
    ///
    /// As many as the limit means that there may be more: call it again. The filter should stop
    /// holding for what has been changed.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a limit outside 1 to 10,000, no changes, or a change of the identifier
    /// or the version; `InvalidValue`, `AlreadyExists`, `ConstraintViolated`.
    async fn update_where(&self, filter: Filter<A>, changes: Changes<A>, limit: u32)
    -> Result<u64>;

    /// Removes up to `limit` rows that meet the filter, smallest identifiers first, or marks them
    /// where the aggregate has soft delete; returns how many.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a limit outside 1 to 10,000, `ConstraintViolated`.
    async fn delete_where(&self, filter: Filter<A>, limit: u32) -> Result<u64>;

    /// Takes the mark of deletion from a row.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such row or it is not marked, `Unsupported` if the aggregate has
    /// no soft delete.
    async fn restore(&self, id: &A::Id) -> Result<()>;

    /// Removes for good up to `limit` rows that were marked as deleted before a moment, those
    /// first that were marked first; returns how many.
    ///
    /// As many as the limit means that there may be more: call it again.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the aggregate has no soft delete, `InvalidInput` for a limit outside 1 to
    /// 10,000, `InvalidValue` for a moment outside the years 1 to 9999, `ConstraintViolated` if
    /// another row refers to one of them.
    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64>;
}
