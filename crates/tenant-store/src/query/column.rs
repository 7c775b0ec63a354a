use std::fmt;
use std::marker::PhantomData;

use super::filter::{Comparison, Expression, Filter};
use super::sort::{Direction, Sort};
use crate::aggregate::Aggregate;
use crate::query::changes::{Assignment, Change};
use crate::value::{ColumnValue, Value, ValueError};

const NO_ORDER: ValueError =
    ValueError::new("holds JSON, which has no order: compare by eq, ne or one_of");

/// A column of the aggregate `A` with a field of type `T`: what filters, sorts and changes name.
///
/// `#[derive(Aggregate)]` makes one constant for each field, such as `Invoice::TOTAL_CENTS`.
///
/// Comparisons have two outcomes, as in Rust: a NULL is equal to no value and `ne` to every value,
/// and the opposite of a filter holds exactly where the filter does not. Text is ordered by code
/// point, and NULL comes after every value. JSON has no order: to compare it by less or greater
/// answers `InvalidValue`.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use tenantry_store::{Changes, Query};
///
/// let invoices = tenant.repository::<Invoice>();
/// invoices.insert_many(&mut [invoice("Ada", 12_000), invoice("Zoë", 500)]).await?;
///
/// // The same constant filters, sorts and changes.
/// let total = Invoice::TOTAL_CENTS;
/// let page = invoices.list(Query::new().filter(total.gt(0)).sort(total.desc())).await?;
/// assert_eq!(page.items[0].customer, "Ada");
/// let fee = Changes::new().add(total, 100);
/// assert_eq!(invoices.update_where(total.lt(1_000), fee, 10).await?, 1);
/// assert_eq!(total.name(), "total_cents");
#[doc = include_str!("../examples/close.md")]
/// ```
pub struct Column<A, T> {
    index: usize,
    marker: PhantomData<fn() -> (A, T)>,
}

// Without bounds: a field of a wrong type is one error, in the implementation of `Aggregate`.
impl<A, T> Column<A, T> {
    /// Names the column at `index` of the descriptor; called by the derive.
    #[doc(hidden)]
    #[must_use]
    pub const fn at(index: usize) -> Self {
        Self {
            index,
            marker: PhantomData,
        }
    }
}

impl<A: Aggregate, T: ColumnValue> Column<A, T> {
    /// Returns the name of the column in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        A::DESCRIPTOR.column_name(self.index)
    }

    /// Holds where the column equals `value`.
    pub fn eq(self, value: impl Into<T::Operand>) -> Filter<A> {
        self.compare(Comparison::Equal, &value.into())
    }

    /// Holds where the column differs from `value`, or is NULL.
    pub fn ne(self, value: impl Into<T::Operand>) -> Filter<A> {
        self.compare(Comparison::NotEqual, &value.into())
    }

    /// Holds where the column is less than `value`.
    pub fn lt(self, value: impl Into<T::Operand>) -> Filter<A> {
        self.compare(Comparison::Less, &value.into())
    }

    /// Holds where the column is less than or equal to `value`.
    pub fn le(self, value: impl Into<T::Operand>) -> Filter<A> {
        self.compare(Comparison::LessOrEqual, &value.into())
    }

    /// Holds where the column is greater than `value`.
    pub fn gt(self, value: impl Into<T::Operand>) -> Filter<A> {
        self.compare(Comparison::Greater, &value.into())
    }

    /// Holds where the column is greater than or equal to `value`.
    pub fn ge(self, value: impl Into<T::Operand>) -> Filter<A> {
        self.compare(Comparison::GreaterOrEqual, &value.into())
    }

    /// Holds where the column equals one of `values`; nowhere, if there are none.
    pub fn one_of<I, V>(self, values: I) -> Filter<A>
    where
        I: IntoIterator<Item = V>,
        V: Into<T::Operand>,
    {
        let values = values
            .into_iter()
            .map(|value| Value::of(&value.into()))
            .collect();
        Filter::new(self.index, values, |column, values| Expression::OneOf {
            column,
            values,
        })
    }

    /// Holds where the column is NULL.
    pub fn is_null(self) -> Filter<A> {
        Filter::from_expression(Expression::IsNull { column: self.index })
    }

    /// Holds where the column is not NULL.
    pub fn is_not_null(self) -> Filter<A> {
        !self.is_null()
    }

    /// Sorts by the column, smallest first and NULL last.
    pub fn asc(self) -> Sort<A> {
        Sort::new(self.index, Direction::Ascending)
    }

    /// Sorts by the column, NULL first and then the largest.
    pub fn desc(self) -> Sort<A> {
        Sort::new(self.index, Direction::Descending)
    }

    fn compare(self, comparison: Comparison, value: &T::Operand) -> Filter<A> {
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let value = if is_equality || T::TYPE.is_ordered() {
            Value::of(value)
        } else {
            Err(NO_ORDER)
        };
        Filter::new(self.index, value, |column, value| Expression::Compare {
            column,
            comparison,
            value,
        })
    }

    pub(crate) fn assignment(self, value: &T) -> Change {
        Change {
            column: self.index,
            assignment: Value::of(value).map(Assignment::Set),
        }
    }

    pub(crate) fn increment(self, value: &T::Operand) -> Change {
        Change {
            column: self.index,
            assignment: Value::of(value).map(Assignment::Add),
        }
    }
}

impl<A: Aggregate, T: ColumnValue<Operand = String>> Column<A, T> {
    /// Holds where the text begins with `prefix`; everywhere but at NULL, if that is empty.
    ///
    /// No pattern: `%` and `_` stand for themselves.
    pub fn starts_with(self, prefix: impl Into<String>) -> Filter<A> {
        let prefix = Value::of(&prefix.into());
        Filter::new(self.index, prefix, |column, prefix| {
            Expression::StartsWith { column, prefix }
        })
    }
}

impl<A, T> Clone for Column<A, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, T> Copy for Column<A, T> {}

impl<A, T> fmt::Debug for Column<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Column").field(&self.index).finish()
    }
}
