//! What to read: typed columns, filters, sorts, pages and cursors; and what to change in bulk.

mod changes;
mod column;
mod cursor;
mod filter;
mod page;
mod sort;

pub use changes::Changes;
pub use column::Column;
pub use cursor::Cursor;
pub use filter::Filter;
pub use page::Page;
pub use sort::{Direction, Sort};

pub(crate) use changes::Assignment;
pub(crate) use cursor::{Bookmark, QueryIdentity};
pub(crate) use filter::{Comparison, Expression, TOO_MANY_CONDITIONS};

use tenantry_core::Result;

use crate::aggregate::Aggregate;

/// Which rows of an aggregate with soft delete a query sees.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use tenantry_store::{Deleted, Query};
///
/// let invoices = tenant.repository::<Invoice>();              // of an aggregate with `soft_delete`
/// let mut ada = invoice("Ada", 12_000);
/// invoices.insert(&mut ada).await?;
/// invoices.delete(&ada).await?;
/// assert!(invoices.list(Query::new()).await?.items.is_empty());
///
/// let bin = invoices.list(Query::new().deleted(Deleted::Only)).await?;
/// for invoice in &bin.items {
///     invoices.restore(&invoice.id).await?;
/// }
/// assert!(invoices.exists(&ada.id).await?);
#[doc = include_str!("../examples/close.md")]
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deleted {
    /// Rows that are not deleted.
    #[default]
    Exclude,
    /// All rows.
    Include,
    /// Deleted rows alone.
    Only,
}

/// A list of aggregates to read: filter, sort, and one page of it.
///
/// Without a sort, rows come in the order of their identifiers. The identifier is always the last
/// sort key, in the direction of the key before it, so that the order is total and no page repeats
/// or drops a row.
///
/// # Examples
///
/// ```
/// # use tenantry_store::{Aggregate, Query, Version};
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
/// let biggest: Query<Invoice> = Query::new()
///     .filter(Invoice::TOTAL_CENTS.gt(0))
///     .sort(Invoice::TOTAL_CENTS.desc())
///     .limit(50);
/// # drop(biggest);
/// ```
#[derive(Debug)]
#[must_use]
pub struct Query<A> {
    pub(crate) filter: Filter<A>,
    pub(crate) sort: Vec<Sort<A>>,
    pub(crate) limit: u32,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) deleted: Deleted,
}

impl<A: Aggregate> Query<A> {
    /// The number of rows in a page when the query names none.
    pub const DEFAULT_LIMIT: u32 = 50;
    /// The largest page; a longer list is read page by page, or by `stream`.
    pub const MAX_LIMIT: u32 = 10_000;

    /// Returns a query for the first page of all rows.
    pub fn new() -> Self {
        Self {
            filter: Filter::all(),
            sort: Vec::new(),
            limit: Self::DEFAULT_LIMIT,
            cursor: None,
            deleted: Deleted::Exclude,
        }
    }

    /// Adds a condition; several must all hold.
    pub fn filter(mut self, filter: Filter<A>) -> Self {
        self.filter = self.filter.and(filter);
        self
    }

    /// Adds a sort key after those given before.
    pub fn sort(mut self, sort: Sort<A>) -> Self {
        self.sort.push(sort);
        self
    }

    /// Sets the size of the page, from 1 to [`MAX_LIMIT`](Self::MAX_LIMIT).
    /// `stream` takes no notice of it.
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = rows;
        self
    }

    /// Continues at a cursor that an earlier page of the same query gave, or at its text as a
    /// client sent it back.
    pub fn cursor(mut self, cursor: impl Into<Cursor>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Returns a digest of all that the query asks for, the place in the list included: two queries
    /// that have the same digest have the same answer. It is what a cache of lists keeps them under.
    ///
    /// # Errors
    ///
    /// `InvalidInput` and `InvalidValue`, as running the query does.
    pub fn digest(&self) -> Result<[u8; 32]> {
        let filter = crate::repository::expression("list", self.filter.clone())?;
        let sort: Vec<_> = self
            .sort
            .iter()
            .map(|key| (key.column, key.direction))
            .collect();
        let cursor = self.cursor.as_ref().map(Cursor::as_str);
        let table = A::DESCRIPTOR.table();
        Ok(cursor::digest_of_page(
            table,
            &filter,
            self.deleted,
            &sort,
            self.limit,
            cursor,
        ))
    }

    /// Says which rows to see when the aggregate has soft delete.
    pub fn deleted(mut self, deleted: Deleted) -> Self {
        self.deleted = deleted;
        self
    }
}

impl<A: Aggregate> Default for Query<A> {
    fn default() -> Self {
        Self::new()
    }
}

// By hand: a derive would ask for `A: Clone`.
impl<A> Clone for Query<A> {
    fn clone(&self) -> Self {
        Self {
            filter: self.filter.clone(),
            sort: self.sort.clone(),
            limit: self.limit,
            cursor: self.cursor.clone(),
            deleted: self.deleted,
        }
    }
}
