use chrono::{DateTime, Datelike, NaiveDate, Utc};
use rust_decimal::Decimal;
use tenantry_core::SecretReference;
use uuid::Uuid;

use super::{ColumnType, ColumnValue, Row, ValueError, ValueSink};

const NUL: ValueError = ValueError::new(
    "is a text with NUL (U+0000), which PostgreSQL cannot store: remove it, or use a byte column",
);
const NOT_FINITE: ValueError =
    ValueError::new("is NaN or infinite: store an Option, or a decimal, where a number may lack");
const NO_REFERENCE: ValueError =
    ValueError::new("is no reference to a secret, such as kv://vault/name");
const YEAR: ValueError = ValueError::new("is a time outside the years 1 to 9999");
const YEAR_OF_DATE: ValueError = ValueError::new("is a date outside the years 1 to 9999");

impl ColumnValue for bool {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Bool;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        sink.bool(*self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        row.bool(index)
    }
}

impl ColumnValue for f64 {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Float64;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        if !self.is_finite() {
            return Err(NOT_FINITE);
        }
        sink.float64(*self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        match row.float64(index)? {
            Some(value) if !value.is_finite() => Err(NOT_FINITE),
            value => Ok(value),
        }
    }
}

impl ColumnValue for String {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Text;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        if self.as_bytes().contains(&0) {
            return Err(NUL);
        }
        sink.text(self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        Ok(row.text(index)?.map(str::to_owned))
    }
}

/// As text; what a secret is, no column can hold.
impl ColumnValue for SecretReference {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Text;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        sink.text(&self.to_string())
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        // What stands there instead may be a secret: the error does not repeat it.
        let parsed = |text: &str| text.parse().map_err(|_| NO_REFERENCE);
        row.text(index)?.map(parsed).transpose()
    }
}

impl ColumnValue for Vec<u8> {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Bytes;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        sink.bytes(self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        Ok(row.bytes(index)?.map(<[u8]>::to_vec))
    }
}

impl ColumnValue for Uuid {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Uuid;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        sink.uuid(*self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        row.uuid(index)
    }
}

/// Cut, not rounded, to the microsecond, and a leap second told as the second after it, which is
/// what PostgreSQL stores.
impl ColumnValue for DateTime<Utc> {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Timestamp;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        let moment = Self::from_timestamp_micros(self.timestamp_micros()).ok_or(YEAR)?;
        if !(1..=9999).contains(&moment.year()) {
            return Err(YEAR);
        }
        sink.timestamp(moment)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        match row.timestamp(index)? {
            Some(value) if !(1..=9999).contains(&value.year()) => Err(YEAR),
            value => Ok(value),
        }
    }
}

impl ColumnValue for NaiveDate {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Date;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        if !(1..=9999).contains(&self.year()) {
            return Err(YEAR_OF_DATE);
        }
        sink.date(*self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        match row.date(index)? {
            Some(value) if !(1..=9999).contains(&value.year()) => Err(YEAR_OF_DATE),
            value => Ok(value),
        }
    }
}

impl ColumnValue for Decimal {
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Decimal;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        sink.decimal(*self)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        row.decimal(index)
    }
}
