use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _};
use uuid::Uuid;

use crate::value::{Row, ValueError};

const OTHER_TYPE: ValueError =
    ValueError::new("has another type in the database than in the struct");

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
        let value = self
            .0
            .try_get_raw(index)
            .map_err(|_| OTHER_TYPE.at(index))?;
        if value.is_null() {
            return Ok(None);
        }
        let bytes = match value.type_info().name() {
            "TIMESTAMPTZ" => value.as_bytes().ok(),
            _ => None,
        };
        let microseconds = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(i64::from_be_bytes)
            .ok_or(OTHER_TYPE.at(index))?;
        microseconds
            .checked_add(POSTGRES_EPOCH)
            .and_then(DateTime::from_timestamp_micros)
            .map(Some)
            .ok_or(NO_TIME.at(index))
    }

    /// Read from the wire, as [`timestamp`](Self::timestamp) and for the same reason.
    fn date(&self, index: usize) -> Result<Option<NaiveDate>, ValueError> {
        let value = self
            .0
            .try_get_raw(index)
            .map_err(|_| OTHER_TYPE.at(index))?;
        if value.is_null() {
            return Ok(None);
        }
        let bytes = match value.type_info().name() {
            "DATE" => value.as_bytes().ok(),
            _ => None,
        };
        let days = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_be_bytes)
            .ok_or(OTHER_TYPE.at(index))?;
        days.checked_add(POSTGRES_EPOCH_DAY)
            .and_then(NaiveDate::from_num_days_from_ce_opt)
            .map(Some)
            .ok_or(NO_DATE.at(index))
    }

    fn decimal(&self, index: usize) -> Result<Option<Decimal>, ValueError> {
        self.get(index)
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
