use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::{ColumnType, ColumnValue, Row, ValueError, ValueSink};

/// The version of a row, for optimistic concurrency.
///
/// The first insert stores version 1, each write adds one. A write carries the version that was
/// read, and answers `Conflict` when the row has moved on in between. For serde it is its number, so that it can go out
/// with what a service answers, and come back with what is to be changed.
///
/// # Examples
///
/// ```
/// use tenantry_store::Version;
///
/// assert_eq!(Version::default(), Version::NEW);
/// assert_eq!(Version::NEW.next().get(), 1);
/// assert_eq!(serde_json::to_string(&Version::new(3))?, "3");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(i64);

impl Version {
    /// The version of a struct that no database has seen yet.
    pub const NEW: Self = Self(0);

    /// Returns the version with the given number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number; 0 for [`Version::NEW`].
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Returns whether no database has seen the struct yet.
    #[must_use]
    pub const fn is_new(self) -> bool {
        self.0 == 0
    }

    /// Returns the version that the next write stores.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The type of a field that is marked `#[aggregate(version)]`: [`Version`] alone.
///
/// Named by generated code only, so that another type is refused with these words.
#[diagnostic::on_unimplemented(
    message = "the version of an aggregate cannot be `{Self}`",
    label = "not a `Version`",
    note = "a field with `#[aggregate(version)]` has the type `Version`"
)]
pub trait VersionField {
    /// Returns the version.
    fn version(&self) -> Version;

    /// Takes over another version.
    fn set_version(&mut self, version: Version);
}

impl VersionField for Version {
    fn version(&self) -> Version {
        *self
    }

    fn set_version(&mut self, version: Version) {
        *self = version;
    }
}

impl ColumnValue for Version {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Int64;
    const IS_VERSION: bool = true;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        sink.int64(self.0)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        Ok(row.integer(index)?.map(Self))
    }
}
