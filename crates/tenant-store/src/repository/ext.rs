use std::borrow::Borrow;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result};

use super::Repository;
use crate::aggregate::Aggregate;
use crate::query::{Page, Query};

/// What callers of a [`Repository`] use besides; implemented once, for every repository.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use tenantry_store::{ErrorKind, Query, RepositoryExt};
///
/// let invoices = tenant.repository::<Invoice>();
/// invoices.insert_many(&mut [invoice("Ada", 12_000), invoice("Zoë", 500)]).await?;
///
/// let smallest = Query::new().sort(Invoice::TOTAL_CENTS.asc());
/// let zoe = invoices.first(smallest).await?.expect("two invoices");
/// assert_eq!(invoices.get(zoe.id).await?, zoe);               // by value or by reference
/// invoices.delete(&zoe).await?;                               // if it still has this version
/// assert_eq!(invoices.get(&zoe.id).await.unwrap_err().kind(), ErrorKind::NotFound);
#[doc = include_str!("../examples/close.md")]
/// ```
#[async_trait]
pub trait RepositoryExt<A: Aggregate>: Repository<A> {
    /// Reads the aggregate with an identifier.
    ///
    /// # Isolation
    ///
    /// The identifier of another tenant answers `NotFound`, with the text of a missing one.
    ///
    /// # Errors
    ///
    /// `NotFound`; otherwise as [`find`](Repository::find).
    async fn get<I>(&self, id: I) -> Result<A>
    where
        I: Borrow<A::Id> + Send,
    {
        // Copied out: what implements `Borrow` need not be `Sync`, and the call crosses an await.
        let id: A::Id = id.borrow().clone();
        self.find(&id)
            .await?
            .ok_or_else(|| not_found::<A>("get", &id))
    }

    /// Removes the row of an aggregate if it still has the version that was read.
    ///
    /// An aggregate without a version field is removed whatever its row holds.
    ///
    /// # Errors
    ///
    /// As [`delete_by_id`](Repository::delete_by_id).
    async fn delete(&self, aggregate: &A) -> Result<()> {
        let expected = A::DESCRIPTOR.version().map(|_| aggregate.version());
        self.delete_by_id(aggregate.id(), expected).await
    }

    /// Reads the first aggregate of a query; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`list`](Repository::list).
    async fn first(&self, query: Query<A>) -> Result<Option<A>> {
        let Page { items, .. } = self.list(query.limit(1)).await?;
        Ok(items.into_iter().next())
    }
}

impl<A: Aggregate, R: Repository<A> + ?Sized> RepositoryExt<A> for R {}

/// The one answer for what is not there and for what is another tenant's.
pub(super) fn not_found<A: Aggregate>(operation: &'static str, id: &A::Id) -> Error {
    Error::new(ErrorKind::NotFound, operation)
        .with_subject(format!("{} {id}", A::DESCRIPTOR.table()))
}
