use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use rust_decimal::Decimal;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Encode, Sqlite, Type};
use uuid::Uuid;

use crate::backend::{ArgumentSink, ElementWriter};
use crate::value::{ColumnType, ValueError, ValueSink};

const NOT_ENCODED: ValueError = ValueError::new("cannot be stored by SQLite");
const NO_ARRAYS: ValueError = ValueError::new("is an array, which SQLite has not");

/// The arguments of a statement, in the types that SQLite knows.
#[derive(Default)]
pub(super) struct Arguments {
    inner: SqliteArguments,
}

impl Arguments {
    pub(super) fn into_inner(self) -> SqliteArguments {
        self.inner
    }

    fn add<'t, T>(&mut self, value: T) -> Result<(), ValueError>
    where
        T: Encode<'t, Sqlite> + Type<Sqlite>,
    {
        self.inner.add(value).map_err(|_: BoxDynError| NOT_ENCODED)
    }
}

impl ValueSink for Arguments {
    fn null(&mut self, _column_type: ColumnType) -> Result<(), ValueError> {
        self.add(None::<i64>)
    }

    fn bool(&mut self, value: bool) -> Result<(), ValueError> {
        self.add(i64::from(value))
    }

    fn int16(&mut self, value: i16) -> Result<(), ValueError> {
        self.add(i64::from(value))
    }

    fn int32(&mut self, value: i32) -> Result<(), ValueError> {
        self.add(i64::from(value))
    }

    fn int64(&mut self, value: i64) -> Result<(), ValueError> {
        self.add(value)
    }

    fn float64(&mut self, value: f64) -> Result<(), ValueError> {
        self.add(value)
    }

    fn text(&mut self, value: &str) -> Result<(), ValueError> {
        self.add(value)
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), ValueError> {
        self.add(value)
    }

    fn uuid(&mut self, value: Uuid) -> Result<(), ValueError> {
        self.add(&value.as_bytes()[..])
    }

    /// Always six digits after the point, so that texts sort as times do.
    fn timestamp(&mut self, value: DateTime<Utc>) -> Result<(), ValueError> {
        self.add(value.to_rfc3339_opts(SecondsFormat::Micros, false))
    }

    /// Always four digits for the year, so that texts sort as dates do.
    fn date(&mut self, value: NaiveDate) -> Result<(), ValueError> {
        self.add(value.format("%Y-%m-%d").to_string())
    }

    fn decimal(&mut self, value: Decimal) -> Result<(), ValueError> {
        self.add(value.to_string())
    }

    fn json(&mut self, value: &str) -> Result<(), ValueError> {
        self.add(value)
    }
}

impl ArgumentSink for Arguments {
    fn array(
        &mut self,
        _column_type: ColumnType,
        _length: usize,
        _element: &ElementWriter<'_>,
    ) -> Result<(), ValueError> {
        Err(NO_ARRAYS)
    }
}
