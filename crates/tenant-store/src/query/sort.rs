use std::fmt;
use std::marker::PhantomData;

/// The direction of a sort key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smallest first, NULL last.
    Ascending,
    /// NULL first, then largest first.
    Descending,
}

impl Direction {
    pub(crate) const fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// One sort key of a query; made by [`Column::asc`](super::Column::asc) and
/// [`Column::desc`](super::Column::desc).
#[must_use]
pub struct Sort<A> {
    pub(crate) column: usize,
    pub(crate) direction: Direction,
    marker: PhantomData<fn() -> A>,
}

impl<A> Sort<A> {
    pub(crate) const fn new(column: usize, direction: Direction) -> Self {
        Self {
            column,
            direction,
            marker: PhantomData,
        }
    }
}

impl<A> Clone for Sort<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Sort<A> {}

impl<A> fmt::Debug for Sort<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sort")
            .field("column", &self.column)
            .field("direction", &self.direction)
            .finish()
    }
}
