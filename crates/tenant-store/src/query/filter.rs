use std::fmt;
use std::marker::PhantomData;
use std::ops::Not;

use crate::aggregate::Aggregate;
use crate::value::{Value, ValueError};

/// A condition on the rows of `A`.
///
/// Built from [`Column`](super::Column) constants and combined with [`and`](Self::and),
/// [`or`](Self::or) and `!`. The tenant is no part of it: the repository adds that, always.
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use tenantry_store::{Filter, Query};
///
/// /// What a search form asks for: parts that are empty ask for nothing.
/// fn search(customer: Option<&str>, at_least: i64) -> Filter<Invoice> {
///     let mut filter = Invoice::TOTAL_CENTS.ge(at_least);
///     if let Some(begin) = customer {
///         filter = filter.and(Invoice::CUSTOMER.starts_with(begin));
///     }
///     filter
/// }
///
/// let invoices = tenant.repository::<Invoice>();
/// invoices.insert_many(&mut [invoice("Ada", 12_000), invoice("Zoë", 500)]).await?;
/// let found = invoices.list(Query::new().filter(search(Some("A"), 1_000))).await?.items;
/// assert_eq!(found.len(), 1);
/// assert_eq!(invoices.count(!search(None, 1_000)).await?, 1);
#[doc = include_str!("../examples/close.md")]
/// ```
#[must_use]
pub struct Filter<A> {
    /// A value that cannot be stored is reported when the filter is used.
    pub(crate) expression: Result<Expression, ValueError>,
    marker: PhantomData<fn() -> A>,
}

/// Prints the shape of the condition; values are left out, they may be personal data.
#[derive(Clone, PartialEq)]
pub(crate) enum Expression {
    All,
    Compare {
        column: usize,
        comparison: Comparison,
        value: Value,
    },
    OneOf {
        column: usize,
        values: Vec<Value>,
    },
    IsNull {
        column: usize,
    },
    StartsWith {
        column: usize,
        prefix: Value,
    },
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl<A: Aggregate> Filter<A> {
    /// Returns the condition that every row meets.
    pub fn all() -> Self {
        Self::from_expression(Expression::All)
    }

    /// Holds where both hold.
    pub fn and(self, other: Self) -> Self {
        self.join(other, |left, right| match (left, right) {
            (Expression::All, other) | (other, Expression::All) => other,
            (Expression::And(mut all), other) => {
                all.push(other);
                Expression::And(all)
            }
            (left, right) => Expression::And(vec![left, right]),
        })
    }

    /// Holds where at least one of both holds.
    pub fn or(self, other: Self) -> Self {
        self.join(other, |left, right| match (left, right) {
            (Expression::All, _) | (_, Expression::All) => Expression::All,
            (Expression::Or(mut any), other) => {
                any.push(other);
                Expression::Or(any)
            }
            (left, right) => Expression::Or(vec![left, right]),
        })
    }

    pub(crate) fn from_expression(expression: Expression) -> Self {
        Self {
            expression: Ok(expression),
            marker: PhantomData,
        }
    }

    pub(super) fn new<V>(
        column: usize,
        value: Result<V, ValueError>,
        build: impl FnOnce(usize, V) -> Expression,
    ) -> Self {
        let expression = value
            .map(|value| build(column, value))
            .map_err(|error| error.at(column));
        Self {
            expression,
            marker: PhantomData,
        }
    }

    fn join(self, other: Self, join: impl FnOnce(Expression, Expression) -> Expression) -> Self {
        let expression = match (self.expression, other.expression) {
            (Ok(left), Ok(right)) => bounded(join(left, right)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        Self {
            expression,
            marker: PhantomData,
        }
    }
}

/// Told when the filter is used.
pub(crate) const TOO_MANY_CONDITIONS: ValueError = ValueError::new(
    "has more than 500 conditions: compare with many values by one_of, or read in parts",
);

/// Refuses an expression while it is small: one that is nested without bound would exhaust the
/// stack of whoever walks it.
fn bounded(expression: Expression) -> Result<Expression, ValueError> {
    if expression.size().0 > Expression::MAX_CONDITIONS {
        return Err(TOO_MANY_CONDITIONS);
    }
    Ok(expression)
}

impl Expression {
    /// The most conditions that a filter has, and the most values that it compares with: what both
    /// databases take (<https://www.sqlite.org/limits.html>), with room for the rest of a statement.
    pub(crate) const MAX_CONDITIONS: usize = 500;
    pub(crate) const MAX_VALUES: usize = 10_000;

    /// Returns how many conditions and how many values it has.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::All | Self::IsNull { .. } => (1, 0),
            Self::Compare { .. } | Self::StartsWith { .. } => (1, 1),
            Self::OneOf { values, .. } => (1, values.len()),
            Self::Not(inner) => {
                let (conditions, values) = inner.size();
                (conditions + 1, values)
            }
            Self::And(parts) | Self::Or(parts) => parts
                .iter()
                .map(Self::size)
                .fold((1, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1)),
        }
    }
}

/// Holds exactly where the filter does not, NULLs included.
impl<A: Aggregate> Not for Filter<A> {
    type Output = Self;

    fn not(self) -> Self {
        Self {
            expression: self.expression.and_then(|inner| match inner {
                Expression::Not(twice) => Ok(*twice),
                inner => bounded(Expression::Not(Box::new(inner))),
            }),
            marker: PhantomData,
        }
    }
}

impl<A: Aggregate> Default for Filter<A> {
    fn default() -> Self {
        Self::all()
    }
}

impl<A> Clone for Filter<A> {
    fn clone(&self) -> Self {
        Self {
            expression: self.expression.clone(),
            marker: PhantomData,
        }
    }
}

impl<A> fmt::Debug for Filter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.expression).finish()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Compare {
                column, comparison, ..
            } => {
                write!(f, "{comparison:?}(column {column})")
            }
            Self::OneOf { column, values } => {
                write!(f, "OneOf(column {column}, {} values)", values.len())
            }
            Self::IsNull { column } => write!(f, "IsNull(column {column})"),
            Self::StartsWith { column, .. } => write!(f, "StartsWith(column {column})"),
            Self::And(all) => f.debug_tuple("And").field(all).finish(),
            Self::Or(any) => f.debug_tuple("Or").field(any).finish(),
            Self::Not(inner) => f.debug_tuple("Not").field(inner).finish(),
        }
    }
}
