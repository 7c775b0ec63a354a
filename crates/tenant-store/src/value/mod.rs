//! Values on their way between a struct and a database, without a driver in sight.
//!
//! A field type implements [`ColumnValue`] once and works on every backend: it writes itself into a
//! [`ValueSink`] and reads itself from a [`Row`]. Nothing is boxed per cell on either way.

mod error;
mod integer;
mod json;
mod owned;
mod scalar;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

pub use error::ValueError;
pub use json::{Json, json_write};
pub use owned::OwnedRow;

/// The type of a column, as a backend stores it.
///
/// | type | PostgreSQL | SQLite |
/// |---|---|---|
/// | `Bool` | `boolean` | `INTEGER` 0 or 1 |
/// | `Int16`, `Int32`, `Int64` | `smallint`, `integer`, `bigint` | `INTEGER` |
/// | `Float64` | `double precision` | `REAL` |
/// | `Text` | `text` | `TEXT` |
/// | `Bytes` | `bytea` | `BLOB` |
/// | `Uuid` | `uuid` | `BLOB` of 16 bytes |
/// | `Timestamp` | `timestamptz` | `TEXT`, `2013-01-31T05:15:00.000000+00:00` |
/// | `Date` | `date` | `TEXT`, `2013-01-31` |
/// | `Decimal` | `numeric` | `TEXT`, compared by value |
/// | `Json` | `jsonb` | `TEXT` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// A signed integer of 16 bits.
    Int16,
    /// A signed integer of 32 bits.
    Int32,
    /// A signed integer of 64 bits.
    Int64,
    /// A finite IEEE 754 double. NaN and infinities are refused: SQLite stores NaN as NULL.
    Float64,
    /// Unicode text without NUL; ordered by code point on every backend.
    Text,
    /// Raw bytes.
    Bytes,
    /// A UUID.
    Uuid,
    /// A moment in UTC, to the microsecond, from year 1 to year 9999.
    Timestamp,
    /// A day of the calendar, without a time zone, from year 1 to year 9999.
    Date,
    /// An exact decimal number of at most 28 digits.
    Decimal,
    /// A JSON document.
    Json,
}

impl ColumnType {
    /// Returns whether columns of this type can be compared by `<` and sorted by.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        !matches!(self, Self::Json)
    }
}

/// A value by itself, as filters and cursors hold it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Absent; the type says of what.
    Null(ColumnType),
    /// See [`ColumnType::Bool`].
    Bool(bool),
    /// See [`ColumnType::Int16`].
    Int16(i16),
    /// See [`ColumnType::Int32`].
    Int32(i32),
    /// See [`ColumnType::Int64`].
    Int64(i64),
    /// See [`ColumnType::Float64`].
    Float64(f64),
    /// See [`ColumnType::Text`].
    Text(String),
    /// See [`ColumnType::Bytes`].
    Bytes(Vec<u8>),
    /// See [`ColumnType::Uuid`].
    Uuid(Uuid),
    /// See [`ColumnType::Timestamp`].
    Timestamp(DateTime<Utc>),
    /// See [`ColumnType::Date`].
    Date(NaiveDate),
    /// See [`ColumnType::Decimal`].
    Decimal(Decimal),
    /// See [`ColumnType::Json`]; the document as text.
    Json(String),
}

impl Value {
    /// Returns the value that `value` writes.
    ///
    /// # Errors
    ///
    /// Whatever the type refuses to store, such as NaN or a text with NUL.
    pub fn of<T: ColumnValue>(value: &T) -> Result<Self, ValueError> {
        Self::capture(|sink| value.write(sink))
    }

    pub(crate) fn capture(
        write: impl FnOnce(&mut dyn ValueSink) -> Result<(), ValueError>,
    ) -> Result<Self, ValueError> {
        let mut sink = CaptureSink(None);
        write(&mut sink)?;
        sink.0.ok_or(ValueError::NOT_WRITTEN)
    }

    /// Writes the value into `sink`.
    ///
    /// # Errors
    ///
    /// Whatever the backend cannot store.
    pub fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        match self {
            Self::Null(column_type) => sink.null(*column_type),
            Self::Bool(value) => sink.bool(*value),
            Self::Int16(value) => sink.int16(*value),
            Self::Int32(value) => sink.int32(*value),
            Self::Int64(value) => sink.int64(*value),
            Self::Float64(value) => sink.float64(*value),
            Self::Text(value) => sink.text(value),
            Self::Bytes(value) => sink.bytes(value),
            Self::Uuid(value) => sink.uuid(*value),
            Self::Timestamp(value) => sink.timestamp(*value),
            Self::Date(value) => sink.date(*value),
            Self::Decimal(value) => sink.decimal(*value),
            Self::Json(value) => sink.json(value),
        }
    }

    /// Returns whether the value is absent.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null(_))
    }
}

/// A type that a column can hold.
///
/// Implemented for `bool`, the integers up to 64 bits (`u64` excepted), `f64`, `String`, `Vec<u8>`,
/// `Uuid`, `DateTime<Utc>`, `NaiveDate`, `Decimal`, [`Json`], and `Option` of each. For
/// newtypes and enums use `#[derive(ColumnValue)]`, for identifiers `#[derive(AggregateId)]`.
///
/// # Contract
///
/// `read_nullable` gives back what `write` wrote, for every value that `write` accepts, and
/// answers `None` for NULL alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a column",
    label = "not a `ColumnValue`",
    note = "a newtype, or an enum of bare variants: `#[derive(ColumnValue)]`",
    note = "any serde type, as JSON: `#[aggregate(json)]` on the field, or `Json<{Self}>`",
    note = "`u64` and `usize` reach beyond the databases' integers: use `i64` or `Decimal`; for `f32`, `f64`"
)]
pub trait ColumnValue: Sized + Send + Sync + 'static {
    /// What filters compare the column with: the type itself, or what an `Option` holds.
    type Operand: ColumnValue;

    /// The type of the column.
    const TYPE: ColumnType;

    /// Whether the column may be NULL; true of `Option` alone.
    const NULLABLE: bool = false;

    /// Whether this is [`Version`](crate::Version) itself, which an aggregate stores only marked.
    #[doc(hidden)]
    const IS_VERSION: bool = false;

    /// Writes the value into `sink`, exactly once.
    ///
    /// # Errors
    ///
    /// What cannot be stored, such as NaN or a text with NUL.
    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError>;

    /// Reads the column at `index`; `None` if it is NULL.
    ///
    /// # Errors
    ///
    /// The column has another type, or its value does not fit this one.
    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError>;

    /// Reads the column at `index`.
    ///
    /// # Errors
    ///
    /// As [`read_nullable`](Self::read_nullable), and for NULL.
    fn read(row: &dyn Row, index: usize) -> Result<Self, ValueError> {
        Self::read_nullable(row, index)?.ok_or(ValueError::UNEXPECTED_NULL)
    }
}

impl<T: ColumnValue<Operand = T>> ColumnValue for Option<T> {
    type Operand = T;
    const TYPE: ColumnType = T::TYPE;
    const NULLABLE: bool = true;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        match self {
            Some(value) => value.write(sink),
            None => sink.null(T::TYPE),
        }
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        T::read_nullable(row, index).map(Some)
    }
}

/// Where values are written to: the arguments of a statement, a cursor, a digest.
///
/// Implemented by Tenantry; field types only call it.
pub trait ValueSink {
    /// Writes NULL of a type.
    ///
    /// # Errors
    ///
    /// As every method here: what the backend cannot store.
    fn null(&mut self, column_type: ColumnType) -> Result<(), ValueError>;
    /// Writes a truth value.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn bool(&mut self, value: bool) -> Result<(), ValueError>;
    /// Writes an integer of 16 bits.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn int16(&mut self, value: i16) -> Result<(), ValueError>;
    /// Writes an integer of 32 bits.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn int32(&mut self, value: i32) -> Result<(), ValueError>;
    /// Writes an integer of 64 bits.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn int64(&mut self, value: i64) -> Result<(), ValueError>;
    /// Writes a double; the caller has checked that it is finite.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn float64(&mut self, value: f64) -> Result<(), ValueError>;
    /// Writes a text; the caller has checked that it holds no NUL.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn text(&mut self, value: &str) -> Result<(), ValueError>;
    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn bytes(&mut self, value: &[u8]) -> Result<(), ValueError>;
    /// Writes a UUID.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn uuid(&mut self, value: Uuid) -> Result<(), ValueError>;
    /// Writes a moment, cut to the microsecond.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn timestamp(&mut self, value: DateTime<Utc>) -> Result<(), ValueError>;
    /// Writes a date; the caller has checked that its year is from 1 to 9999.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn date(&mut self, value: NaiveDate) -> Result<(), ValueError>;
    /// Writes a decimal.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn decimal(&mut self, value: Decimal) -> Result<(), ValueError>;
    /// Writes a JSON document, given as text.
    ///
    /// # Errors
    ///
    /// What the backend cannot store.
    fn json(&mut self, value: &str) -> Result<(), ValueError>;
}

/// A row as it came from the database; columns are numbered from 0.
///
/// Every reader answers `None` for NULL and borrows from the row where it can.
/// Implemented by Tenantry, for what a database answers and by [`OwnedRow`]; field types only call it.
pub trait Row {
    /// Reads a truth value.
    ///
    /// # Errors
    ///
    /// As every method here: the column has another type, or holds what the type cannot.
    fn bool(&self, index: usize) -> Result<Option<bool>, ValueError>;
    /// Reads an integer of any width.
    ///
    /// # Errors
    ///
    /// The column has another type.
    fn integer(&self, index: usize) -> Result<Option<i64>, ValueError>;
    /// Reads a double.
    ///
    /// # Errors
    ///
    /// The column has another type, or is not finite.
    fn float64(&self, index: usize) -> Result<Option<f64>, ValueError>;
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// The column has another type.
    fn text(&self, index: usize) -> Result<Option<&str>, ValueError>;
    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// The column has another type.
    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, ValueError>;
    /// Reads a UUID.
    ///
    /// # Errors
    ///
    /// The column has another type.
    fn uuid(&self, index: usize) -> Result<Option<Uuid>, ValueError>;
    /// Reads a moment.
    ///
    /// # Errors
    ///
    /// The column has another type, or lies outside years 1 to 9999.
    fn timestamp(&self, index: usize) -> Result<Option<DateTime<Utc>>, ValueError>;
    /// Reads a date.
    ///
    /// # Errors
    ///
    /// The column has another type, or lies outside years 1 to 9999.
    fn date(&self, index: usize) -> Result<Option<NaiveDate>, ValueError>;
    /// Reads a decimal.
    ///
    /// # Errors
    ///
    /// The column has another type, or more digits than a `Decimal` holds.
    fn decimal(&self, index: usize) -> Result<Option<Decimal>, ValueError>;
    /// Reads a JSON document as text.
    ///
    /// # Errors
    ///
    /// The column has another type.
    fn json(&self, index: usize) -> Result<Option<&str>, ValueError>;
}

/// Keeps what is written to it.
struct CaptureSink(Option<Value>);

impl CaptureSink {
    fn keep(&mut self, value: Value) -> Result<(), ValueError> {
        self.0 = Some(value);
        Ok(())
    }
}

impl ValueSink for CaptureSink {
    fn null(&mut self, column_type: ColumnType) -> Result<(), ValueError> {
        self.keep(Value::Null(column_type))
    }
    fn bool(&mut self, value: bool) -> Result<(), ValueError> {
        self.keep(Value::Bool(value))
    }
    fn int16(&mut self, value: i16) -> Result<(), ValueError> {
        self.keep(Value::Int16(value))
    }
    fn int32(&mut self, value: i32) -> Result<(), ValueError> {
        self.keep(Value::Int32(value))
    }
    fn int64(&mut self, value: i64) -> Result<(), ValueError> {
        self.keep(Value::Int64(value))
    }
    fn float64(&mut self, value: f64) -> Result<(), ValueError> {
        self.keep(Value::Float64(value))
    }
    fn text(&mut self, value: &str) -> Result<(), ValueError> {
        self.keep(Value::Text(value.to_owned()))
    }
    fn bytes(&mut self, value: &[u8]) -> Result<(), ValueError> {
        self.keep(Value::Bytes(value.to_owned()))
    }
    fn uuid(&mut self, value: Uuid) -> Result<(), ValueError> {
        self.keep(Value::Uuid(value))
    }
    fn timestamp(&mut self, value: DateTime<Utc>) -> Result<(), ValueError> {
        self.keep(Value::Timestamp(value))
    }
    fn date(&mut self, value: NaiveDate) -> Result<(), ValueError> {
        self.keep(Value::Date(value))
    }
    fn decimal(&mut self, value: Decimal) -> Result<(), ValueError> {
        self.keep(Value::Decimal(value))
    }
    fn json(&mut self, value: &str) -> Result<(), ValueError> {
        self.keep(Value::Json(value.to_owned()))
    }
}
