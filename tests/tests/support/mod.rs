//! A row in memory.

use tenantry_store::{Aggregate, ColumnType, Row, Value, ValueError, ValueSink};

/// The cells of a row, written one after another.
#[derive(Debug, Default)]
pub(crate) struct Cells(pub(crate) Vec<Value>);

/// Returns the row of an aggregate.
pub(crate) fn row<A: Aggregate>(aggregate: &A) -> Cells {
    let mut cells = Cells::default();
    for index in 0..A::DESCRIPTOR.columns().len() {
        aggregate
            .write(index, &mut cells)
            .expect("a value that can be stored");
    }
    cells
}

macro_rules! cells {
    ($($write:ident: $type:ty => $variant:ident;)*) => {
        impl ValueSink for Cells {
            fn null(&mut self, column_type: ColumnType) -> Result<(), ValueError> {
                self.0.push(Value::Null(column_type));
                Ok(())
            }
            $(fn $write(&mut self, value: $type) -> Result<(), ValueError> {
                self.0.push(Value::$variant(value.to_owned()));
                Ok(())
            })*
        }
    };
}

cells! {
    bool: bool => Bool;
    int16: i16 => Int16;
    int32: i32 => Int32;
    int64: i64 => Int64;
    float64: f64 => Float64;
    text: &str => Text;
    bytes: &[u8] => Bytes;
    uuid: uuid::Uuid => Uuid;
    timestamp: chrono::DateTime<chrono::Utc> => Timestamp;
    date: chrono::NaiveDate => Date;
    decimal: rust_decimal::Decimal => Decimal;
    json: &str => Json;
}

macro_rules! read {
    ($($read:ident: $type:ty => $($variant:pat => $value:expr),+;)*) => {
        impl Row for Cells {
            $(fn $read(&self, index: usize) -> Result<Option<$type>, ValueError> {
                match &self.0[index] {
                    Value::Null(_) => Ok(None),
                    $($variant => Ok(Some($value)),)+
                    _ => Err(ValueError::new("has another type")),
                }
            })*
        }
    };
}

read! {
    bool: bool => Value::Bool(value) => *value;
    integer: i64 =>
        Value::Int16(value) => (*value).into(),
        Value::Int32(value) => (*value).into(),
        Value::Int64(value) => *value;
    float64: f64 => Value::Float64(value) => *value;
    text: &str => Value::Text(value) => value;
    bytes: &[u8] => Value::Bytes(value) => value;
    uuid: uuid::Uuid => Value::Uuid(value) => *value;
    timestamp: chrono::DateTime<chrono::Utc> => Value::Timestamp(value) => *value;
    date: chrono::NaiveDate => Value::Date(value) => *value;
    decimal: rust_decimal::Decimal => Value::Decimal(value) => *value;
    json: &str => Value::Json(value) => value;
}
