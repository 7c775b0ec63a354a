use std::fmt;
use std::marker::PhantomData;

use super::Column;
use crate::aggregate::Aggregate;
use crate::value::{ColumnValue, Value, ValueError};

/// What `update_where` changes in each row it finds.
///
/// The version is raised and the audit columns are stamped besides, as in a single update.
///
/// # Examples
///
/// ```
/// # use tenantry_store::{Aggregate, Changes, Version};
/// # use uuid::Uuid;
/// # #[derive(Debug, Clone, PartialEq, Aggregate)]
/// # #[aggregate(table = "invoices")]
/// # pub struct Invoice {
/// #     #[aggregate(id)]
/// #     pub id: Uuid,
/// #     pub customer: String,
/// #     pub total_cents: i64,
/// #     #[aggregate(version)]
/// #     pub version: Version,
/// # }
/// let discount: Changes<Invoice> = Changes::new()
///     .set(Invoice::CUSTOMER, "Ada".to_owned())
///     .add(Invoice::TOTAL_CENTS, -100);
/// # drop(discount);
/// ```
#[must_use]
pub struct Changes<A> {
    pub(crate) changes: Vec<Change>,
    marker: PhantomData<fn() -> A>,
}

#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) column: usize,
    pub(crate) assignment: Result<Assignment, ValueError>,
}

#[derive(Clone)]
pub(crate) enum Assignment {
    Set(Value),
    Add(Value),
}

impl<A: Aggregate> Changes<A> {
    /// Returns no changes yet.
    pub const fn new() -> Self {
        Self {
            changes: Vec::new(),
            marker: PhantomData,
        }
    }

    /// Sets a column to a value.
    pub fn set<T: ColumnValue>(mut self, column: Column<A, T>, value: impl Into<T>) -> Self {
        self.changes.push(column.assignment(&value.into()));
        self
    }

    /// Adds to a column of numbers; a NULL stays NULL.
    pub fn add<T>(mut self, column: Column<A, T>, value: impl Into<T::Operand>) -> Self
    where
        T: ColumnValue,
        T::Operand: Number,
    {
        self.changes.push(column.increment(&value.into()));
        self
    }
}

/// A number that a column can be raised by.
///
/// A decimal is none: SQLite cannot add decimals exactly, and PostgreSQL stores sums of more digits
/// than the type holds. Read the row, and update it.
pub trait Number: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl Number for $type {}
    )*};
}

number!(i16, i32, i64, f64);

impl<A: Aggregate> Default for Changes<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Clone for Changes<A> {
    fn clone(&self) -> Self {
        Self {
            changes: self.changes.clone(),
            marker: PhantomData,
        }
    }
}

/// Prints which columns change; values are left out, they may be personal data.
impl<A> fmt::Debug for Changes<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.changes.iter().map(|change| change.column))
            .finish()
    }
}
