use std::fmt;

/// Why a value could not be written or read.
///
/// It names the rule and, once known, the column; never the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    reason: &'static str,
    column: Option<usize>,
}

impl ValueError {
    pub(crate) const UNEXPECTED_NULL: Self = Self::new("is NULL, where the field is no Option");
    pub(crate) const NOT_WRITTEN: Self = Self::new("its ColumnValue wrote nothing");

    /// Returns an error with a reason, which completes the sentence "column x …".
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        Self {
            reason,
            column: None,
        }
    }

    /// Names the column by its position in the aggregate.
    #[must_use]
    pub const fn at(mut self, column: usize) -> Self {
        self.column = Some(column);
        self
    }

    /// Returns the position of the column in the aggregate, where known.
    #[must_use]
    pub const fn column(&self) -> Option<usize> {
        self.column
    }

    /// Returns the rule that was broken; it completes the sentence "column x …".
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "column {column} {}", self.reason),
            None => write!(f, "the value {}", self.reason),
        }
    }
}

impl std::error::Error for ValueError {}
