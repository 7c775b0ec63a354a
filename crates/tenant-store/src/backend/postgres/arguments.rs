use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Arguments as _, Encode, Postgres, Type};
use uuid::Uuid;

use crate::backend::{ArgumentSink, ElementWriter};
use crate::value::{ColumnType, ValueError, ValueSink};

const NOT_ENCODED: ValueError = ValueError::new("is out of the range that PostgreSQL stores");

const TOO_LARGE: ValueError = ValueError::new(
    "and those before it are larger than 512 MiB together: send fewer rows at once",
);

/// The largest size of the arguments of one statement, in bytes: a message of the protocol ends at
/// 1 GiB, and so does a value on the server.
const LARGEST: usize = 512 * 1024 * 1024;

/// The arguments of a statement, encoded as they are written.
#[derive(Default)]
pub(super) struct Arguments {
    inner: PgArguments,
}

impl Arguments {
    pub(super) fn into_inner(self) -> PgArguments {
        self.inner
    }

    fn add<'t, T>(&mut self, value: T) -> Result<(), ValueError>
    where
        T: Encode<'t, Postgres> + Type<Postgres>,
    {
        self.inner.add(value).map_err(value_error)
    }
}

fn value_error(error: BoxDynError) -> ValueError {
    error
        .downcast::<ValueError>()
        .map_or(NOT_ENCODED, |error| *error)
}

impl ValueSink for Arguments {
    fn null(&mut self, column_type: ColumnType) -> Result<(), ValueError> {
        match column_type {
            ColumnType::Bool => self.add(None::<bool>),
            ColumnType::Int16 => self.add(None::<i16>),
            ColumnType::Int32 => self.add(None::<i32>),
            ColumnType::Int64 => self.add(None::<i64>),
            ColumnType::Float64 => self.add(None::<f64>),
            ColumnType::Text => self.add(None::<&str>),
            ColumnType::Bytes => self.add(None::<&[u8]>),
            ColumnType::Uuid => self.add(None::<Uuid>),
            ColumnType::Timestamp => self.add(None::<DateTime<Utc>>),
            ColumnType::Date => self.add(None::<NaiveDate>),
            ColumnType::Decimal => self.add(None::<Decimal>),
            ColumnType::Json => self.add(None::<JsonText<'_>>),
        }
    }

    fn bool(&mut self, value: bool) -> Result<(), ValueError> {
        self.add(value)
    }

    fn int16(&mut self, value: i16) -> Result<(), ValueError> {
        self.add(value)
    }

    fn int32(&mut self, value: i32) -> Result<(), ValueError> {
        self.add(value)
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
        self.add(value)
    }

    fn timestamp(&mut self, value: DateTime<Utc>) -> Result<(), ValueError> {
        self.add(value)
    }

    fn date(&mut self, value: NaiveDate) -> Result<(), ValueError> {
        self.add(value)
    }

    fn decimal(&mut self, value: Decimal) -> Result<(), ValueError> {
        self.add(value)
    }

    fn json(&mut self, value: &str) -> Result<(), ValueError> {
        self.add(JsonText(value))
    }
}

impl ArgumentSink for Arguments {
    fn array(
        &mut self,
        column_type: ColumnType,
        length: usize,
        element: &ElementWriter<'_>,
    ) -> Result<(), ValueError> {
        self.add(Array {
            column_type,
            length,
            element,
        })
    }
}

/// A JSON document that is text already.
struct JsonText<'a>(&'a str);

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        <Json<()> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // The version of the binary form of jsonb.
        buffer.push(1);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// An array whose elements are written straight into the message: no element is boxed or copied.
///
/// The form is that of `array_recv` in PostgreSQL's `src/backend/utils/adt/arrayfuncs.c`.
struct Array<'a> {
    column_type: ColumnType,
    length: usize,
    element: &'a ElementWriter<'a>,
}

impl Type<Postgres> for Array<'_> {
    fn type_info() -> PgTypeInfo {
        <Vec<String> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Array<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        const DIMENSIONS: i32 = 1;
        const MAY_HOLD_NULL: i32 = 1;
        const LOWER_BOUND: i32 = 1;
        buffer.extend_from_slice(&DIMENSIONS.to_be_bytes());
        buffer.extend_from_slice(&MAY_HOLD_NULL.to_be_bytes());
        buffer.extend_from_slice(&element_oid(self.column_type).to_be_bytes());
        buffer.extend_from_slice(&i32::try_from(self.length)?.to_be_bytes());
        buffer.extend_from_slice(&LOWER_BOUND.to_be_bytes());
        let mut elements = Elements(buffer);
        for index in 0..self.length {
            (self.element)(index, &mut elements)?;
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(match self.column_type {
            ColumnType::Bool => <Vec<bool> as Type<Postgres>>::type_info(),
            ColumnType::Int16 => <Vec<i16> as Type<Postgres>>::type_info(),
            ColumnType::Int32 => <Vec<i32> as Type<Postgres>>::type_info(),
            ColumnType::Int64 => <Vec<i64> as Type<Postgres>>::type_info(),
            ColumnType::Float64 => <Vec<f64> as Type<Postgres>>::type_info(),
            ColumnType::Text => <Vec<String> as Type<Postgres>>::type_info(),
            ColumnType::Bytes => <Vec<Vec<u8>> as Type<Postgres>>::type_info(),
            ColumnType::Uuid => <Vec<Uuid> as Type<Postgres>>::type_info(),
            ColumnType::Timestamp => <Vec<DateTime<Utc>> as Type<Postgres>>::type_info(),
            ColumnType::Date => <Vec<NaiveDate> as Type<Postgres>>::type_info(),
            ColumnType::Decimal => <Vec<Decimal> as Type<Postgres>>::type_info(),
            ColumnType::Json => <Vec<Json<()>> as Type<Postgres>>::type_info(),
        })
    }

    fn size_hint(&self) -> usize {
        self.length.saturating_mul(16)
    }
}

/// The identifiers of built-in types are fixed (`src/include/catalog/pg_type.dat`).
const fn element_oid(column_type: ColumnType) -> u32 {
    match column_type {
        ColumnType::Bool => 16,
        ColumnType::Int16 => 21,
        ColumnType::Int32 => 23,
        ColumnType::Int64 => 20,
        ColumnType::Float64 => 701,
        ColumnType::Text => 25,
        ColumnType::Bytes => 17,
        ColumnType::Uuid => 2950,
        ColumnType::Timestamp => 1184,
        ColumnType::Date => 1082,
        ColumnType::Decimal => 1700,
        ColumnType::Json => 3802,
    }
}

/// Writes elements with their length in front.
struct Elements<'a>(&'a mut PgArgumentBuffer);

impl Elements<'_> {
    fn put<'t, T>(&mut self, value: T) -> Result<(), ValueError>
    where
        T: Encode<'t, Postgres>,
    {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        let written = value.encode(self.0).map_err(value_error)?;
        if self.0.len() > LARGEST {
            return Err(TOO_LARGE);
        }
        let length = match written {
            IsNull::Yes => -1,
            IsNull::No => i32::try_from(self.0.len() - start - 4).map_err(|_| NOT_ENCODED)?,
        };
        self.0[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

impl ValueSink for Elements<'_> {
    fn null(&mut self, _column_type: ColumnType) -> Result<(), ValueError> {
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
        Ok(())
    }

    fn bool(&mut self, value: bool) -> Result<(), ValueError> {
        self.put(value)
    }

    fn int16(&mut self, value: i16) -> Result<(), ValueError> {
        self.put(value)
    }

    fn int32(&mut self, value: i32) -> Result<(), ValueError> {
        self.put(value)
    }

    fn int64(&mut self, value: i64) -> Result<(), ValueError> {
        self.put(value)
    }

    fn float64(&mut self, value: f64) -> Result<(), ValueError> {
        self.put(value)
    }

    fn text(&mut self, value: &str) -> Result<(), ValueError> {
        self.put(value)
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), ValueError> {
        self.put(value)
    }

    fn uuid(&mut self, value: Uuid) -> Result<(), ValueError> {
        self.put(value)
    }

    fn timestamp(&mut self, value: DateTime<Utc>) -> Result<(), ValueError> {
        self.put(value)
    }

    fn date(&mut self, value: NaiveDate) -> Result<(), ValueError> {
        self.put(value)
    }

    fn decimal(&mut self, value: Decimal) -> Result<(), ValueError> {
        self.put(value)
    }

    fn json(&mut self, value: &str) -> Result<(), ValueError> {
        self.put(JsonText(value))
    }
}
