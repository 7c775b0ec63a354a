//! How an aggregate is kept: as its columns, whatever its struct derives.

use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Datelike as _, NaiveDate};
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeTuple as _};
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
use tenantry_store::{Aggregate, ColumnType, Cursor, OwnedRow, Page, Value};

/// An aggregate as a value of a cache.
#[derive(Clone, PartialEq)]
pub(super) struct KeptRow<A>(pub(super) A);

/// Returns what tells rows of this form from those of another: it changes with the table, and with the
/// names, types and order of the columns.
pub(super) fn schema_of<A: Aggregate>() -> u32 {
    let descriptor = A::DESCRIPTOR;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(descriptor.table().as_bytes());
    for column in descriptor.columns() {
        let (name, is_null) = (column.name(), column.is_nullable());
        hasher.update(format!("\0{name}\0{:?}\0{is_null}", column.column_type()).as_bytes());
    }
    hasher.finalize()
}

impl<A: Aggregate> Serialize for KeptRow<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = OwnedRow::of(&self.0).map_err(S::Error::custom)?;
        let mut columns = serializer.serialize_tuple(row.values().len())?;
        for value in row.values() {
            columns.serialize_element(&Cell(value))?;
        }
        columns.end()
    }
}

impl<'de, A: Aggregate> serde::Deserialize<'de> for KeptRow<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(A::DESCRIPTOR.columns().len(), Columns(PhantomData))
    }
}

/// One value, or none, of a type that its column tells.
struct Cell<'v>(&'v Value);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null(_) => serializer.serialize_none(),
            Value::Bool(value) => serializer.serialize_some(value),
            Value::Int16(value) => serializer.serialize_some(&i64::from(*value)),
            Value::Int32(value) => serializer.serialize_some(&i64::from(*value)),
            Value::Int64(value) => serializer.serialize_some(value),
            Value::Float64(value) => serializer.serialize_some(value),
            Value::Text(value) | Value::Json(value) => serializer.serialize_some(value),
            Value::Bytes(value) => serializer.serialize_some(value),
            Value::Uuid(value) => serializer.serialize_some(value),
            Value::Timestamp(value) => serializer.serialize_some(&value.timestamp_micros()),
            Value::Date(value) => serializer.serialize_some(&value.num_days_from_ce()),
            Value::Decimal(value) => serializer.serialize_some(&value.serialize()),
            _ => Err(S::Error::custom("a value of an unknown type")),
        }
    }
}

struct Columns<A>(PhantomData<fn() -> A>);

impl<'de, A: Aggregate> Visitor<'de> for Columns<A> {
    type Value = KeptRow<A>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of {}", A::DESCRIPTOR.table())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut cells: S) -> Result<Self::Value, S::Error> {
        let columns = A::DESCRIPTOR.columns();
        let mut values = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let value = cells.next_element_seed(Column(column.column_type()))?;
            values.push(value.ok_or_else(|| S::Error::invalid_length(index, &self))?);
        }
        let row = OwnedRow::new(values);
        A::read(&row).map(KeptRow).map_err(S::Error::custom)
    }
}

/// Reads a value of a column.
struct Column(ColumnType);

impl<'de> DeserializeSeed<'de> for Column {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, cell: D) -> Result<Value, D::Error> {
        fn read<'de, T, D>(cell: D) -> Result<Option<T>, D::Error>
        where
            T: serde::Deserialize<'de>,
            D: Deserializer<'de>,
        {
            Option::deserialize(cell)
        }

        let out_of_range = || D::Error::custom("a value that its column cannot have");
        let value = match self.0 {
            ColumnType::Bool => read(cell)?.map(Value::Bool),
            ColumnType::Int16 => match read::<i64, D>(cell)? {
                Some(value) => Some(Value::Int16(value.try_into().map_err(|_| out_of_range())?)),
                None => None,
            },
            ColumnType::Int32 => match read::<i64, D>(cell)? {
                Some(value) => Some(Value::Int32(value.try_into().map_err(|_| out_of_range())?)),
                None => None,
            },
            ColumnType::Int64 => read(cell)?.map(Value::Int64),
            ColumnType::Float64 => read(cell)?.map(Value::Float64),
            ColumnType::Text => read(cell)?.map(Value::Text),
            ColumnType::Json => read(cell)?.map(Value::Json),
            ColumnType::Bytes => read(cell)?.map(Value::Bytes),
            ColumnType::Uuid => read(cell)?.map(Value::Uuid),
            ColumnType::Timestamp => match read::<i64, D>(cell)? {
                Some(micros) => Some(Value::Timestamp(
                    DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)?,
                )),
                None => None,
            },
            ColumnType::Date => match read::<i32, D>(cell)? {
                Some(days) => Some(Value::Date(
                    NaiveDate::from_num_days_from_ce_opt(days).ok_or_else(out_of_range)?,
                )),
                None => None,
            },
            ColumnType::Decimal => read::<[u8; 16], D>(cell)?
                .map(|bytes| Value::Decimal(rust_decimal::Decimal::deserialize(bytes))),
            _ => return Err(D::Error::custom("a column of an unknown type")),
        };
        Ok(value.unwrap_or(Value::Null(self.0)))
    }
}

impl<A> fmt::Debug for KeptRow<A> {
    /// Without what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptRow")
    }
}

/// A page of aggregates as a value of a cache.
#[derive(Serialize, serde::Deserialize)]
#[serde(bound = "A: Aggregate")]
pub(super) struct KeptPage<A> {
    pub(super) items: Vec<KeptRow<A>>,
    pub(super) next: Option<Cursor>,
    pub(super) previous: Option<Cursor>,
}

impl<A: Aggregate> KeptPage<A> {
    pub(super) fn of(page: Page<A>) -> Self {
        let Page {
            items,
            next,
            previous,
            ..
        } = page;
        Self {
            items: items.into_iter().map(KeptRow).collect(),
            next,
            previous,
        }
    }

    pub(super) fn page(&self) -> Page<A>
    where
        A: Clone,
    {
        let items = self.items.iter().map(|row| row.0.clone()).collect();
        Page::new(items, self.next.clone(), self.previous.clone())
    }
}
