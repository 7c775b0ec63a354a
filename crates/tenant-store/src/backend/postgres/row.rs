use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _};
use uuid::Uuid;

use super::numeric;
use crate::value::{Row, ValueError};

const OTHER_TYPE: ValueError =
    ValueError::new("has another type in the database than in the struct");

const NO_DECIMAL: ValueError = ValueError::new(
    "holds infinity, no number, or a number of more digits than a Decimal has (28)",
);

const NO_TIME: ValueError =
    ValueError::new("holds infinity, or a time outside the years 1 to 9999");

const NO_DATE: ValueError =
    ValueError::new("holds infinity, or a date outside the years 1 to 9999");

/// The day of 2000-01-01, from which PostgreSQL counts, where 0001-01-01 is day 1.
const POSTGRES_EPOCH_DAY: i32 = 730_120;

/// Microseconds from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A row as the driver gives it; every reader looks at one column, and checks its type.
pub(super) struct PostgresRow(pub(super) PgRow);

impl PostgresRow {
    fn get<'r, T>(&'r self, index: usize) -> Result<Option<T>, ValueError>
    where
        T: Decode<'r, Postgres> + Type<Postgres>,
    {
        self.0.try_get(index).map_err(|_| OTHER_TYPE.at(index))
    }

    /// Returns a value as the server sent it, where the driver's own reading panics or rounds.
    fn sent(&self, index: usize, type_name: &str) -> Result<Option<&[u8]>, ValueError> {
        let value = self
            .0
            .try_get_raw(index)
            .map_err(|_| OTHER_TYPE.at(index))?;
        if value.is_null() {
            return Ok(None);
        }
        if value.type_info().name() != type_name {
            return Err(OTHER_TYPE.at(index));
        }
        value.as_bytes().map(Some).map_err(|_| OTHER_TYPE.at(index))
    }
}

impl Row for PostgresRow {
    fn bool(&self, index: usize) -> Result<Option<bool>, ValueError> {
        self.get(index)
    }

    fn integer(&self, index: usize) -> Result<Option<i64>, ValueError> {
        let value = self
            .0
            .try_get_raw(index)
            .map_err(|_| OTHER_TYPE.at(index))?;
        if value.is_null() {
            return Ok(None);
        }
        match value.type_info().name() {
            "INT8" => self.get(index),
            "INT4" => Ok(self.get::<i32>(index)?.map(i64::from)),
            "INT2" => Ok(self.get::<i16>(index)?.map(i64::from)),
            _ => Err(OTHER_TYPE.at(index)),
        }
    }

    fn float64(&self, index: usize) -> Result<Option<f64>, ValueError> {
        self.get(index)
    }

    fn text(&self, index: usize) -> Result<Option<&str>, ValueError> {
        self.get(index)
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, ValueError> {
        self.get(index)
    }

    fn uuid(&self, index: usize) -> Result<Option<Uuid>, ValueError> {
        self.get(index)
    }

    /// Read from the wire: the driver adds the microseconds to an epoch and panics on `infinity`.
    fn timestamp(&self, index: usize) -> Result<Option<DateTime<Utc>>, ValueError> {
        let Some(bytes) = self.sent(index, "TIMESTAMPTZ")? else {
            return Ok(None);
        };
        let microseconds = bytes.try_into().map_err(|_| OTHER_TYPE.at(index))?;
        i64::from_be_bytes(microseconds)
            .checked_add(POSTGRES_EPOCH)
            .and_then(DateTime::from_timestamp_micros)
            .map(Some)
            .ok_or(NO_TIME.at(index))
    }

    /// Read from the wire, as [`timestamp`](Self::timestamp) and for the same reason.
    fn date(&self, index: usize) -> Result<Option<NaiveDate>, ValueError> {
        let Some(bytes) = self.sent(index, "DATE")? else {
            return Ok(None);
        };
        let days = bytes.try_into().map_err(|_| OTHER_TYPE.at(index))?;
        i32::from_be_bytes(days)
            .checked_add(POSTGRES_EPOCH_DAY)
            .and_then(NaiveDate::from_num_days_from_ce_opt)
            .map(Some)
            .ok_or(NO_DATE.at(index))
    }

    /// Read from the wire: the driver rounds what has more digits than a `Decimal` holds.
    fn decimal(&self, index: usize) -> Result<Option<Decimal>, ValueError> {
        let Some(bytes) = self.sent(index, "NUMERIC")? else {
            return Ok(None);
        };
        numeric::decode(bytes).map(Some).ok_or(NO_DECIMAL.at(index))
    }

    fn json(&self, index: usize) -> Result<Option<&str>, ValueError> {
        let value = self
            .0
            .try_get_raw(index)
            .map_err(|_| OTHER_TYPE.at(index))?;
        if value.is_null() {
            return Ok(None);
        }
        let is_binary = match value.type_info().name() {
            "JSONB" => true,
            "JSON" => false,
            _ => return Err(OTHER_TYPE.at(index)),
        };
        let bytes = value.as_bytes().map_err(|_| OTHER_TYPE.at(index))?;
        // The binary form of jsonb is its text after the byte of the format's version, 1.
        let text = if is_binary {
            bytes.get(1..).unwrap_or_default()
        } else {
            bytes
        };
        std::str::from_utf8(text)
            .map(Some)
            .map_err(|_| OTHER_TYPE.at(index))
    }
}
