use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Row, Value, ValueError};
use crate::aggregate::Aggregate;

/// A row that stands by itself: the columns of an aggregate, in the order of its descriptor.
///
/// It is how an aggregate is kept elsewhere than in its table, such as in a cache, whatever other
/// traits its struct derives.
///
/// # Examples
///
/// ```
/// # use tenantry_store::{Aggregate, Version};
/// use tenantry_store::OwnedRow;
/// # use uuid::Uuid;
/// # #[derive(Debug, Clone, PartialEq, Aggregate)]
/// # #[aggregate(table = "invoices")]
/// # pub struct Invoice {
/// #     #[aggregate(id)]
/// #     pub id: Uuid,
/// #     pub total_cents: i64,
/// #     #[aggregate(version)]
/// #     pub version: Version,
/// # }
///
/// let invoice = Invoice { id: Uuid::nil(), total_cents: 500, version: Version::new(3) };
/// let row = OwnedRow::of(&invoice)?;
/// assert_eq!(Invoice::read(&row)?, invoice);
/// # Ok::<(), tenantry_store::ValueError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedRow(Vec<Value>);

impl OwnedRow {
    /// Returns a row of these values.
    #[must_use]
    pub const fn new(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// Returns the row that an aggregate is stored as, without its tenant.
    ///
    /// # Errors
    ///
    /// What a column cannot store, with the position of the column.
    pub fn of<A: Aggregate>(aggregate: &A) -> Result<Self, ValueError> {
        let columns = 0..A::DESCRIPTOR.columns().len();
        let value = |column| {
            Value::capture(|sink| aggregate.write(column, sink)).map_err(|error| error.at(column))
        };
        columns.map(value).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the values.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

const OTHER_TYPE: ValueError = ValueError::new("has another type");

macro_rules! read {
    ($($(#[$doc:meta])* $name:ident -> $type:ty { $($pattern:pat => $value:expr),* })*) => {
        impl Row for OwnedRow {$(
            fn $name(&self, index: usize) -> Result<Option<$type>, ValueError> {
                match self.0.get(index) {
                    Some(Value::Null(_)) => Ok(None),
                    $(Some($pattern) => Ok(Some($value)),)*
                    _ => Err(OTHER_TYPE.at(index)),
                }
            }
        )*}
    };
}

read! {
    bool -> bool { Value::Bool(value) => *value }
    integer -> i64 {
        Value::Int16(value) => (*value).into(),
        Value::Int32(value) => (*value).into(),
        Value::Int64(value) => *value
    }
    float64 -> f64 { Value::Float64(value) => *value }
    text -> &str { Value::Text(value) => value }
    bytes -> &[u8] { Value::Bytes(value) => value }
    uuid -> Uuid { Value::Uuid(value) => *value }
    timestamp -> DateTime<Utc> { Value::Timestamp(value) => *value }
    date -> NaiveDate { Value::Date(value) => *value }
    decimal -> Decimal { Value::Decimal(value) => *value }
    json -> &str { Value::Json(value) => value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ColumnType;

    #[test]
    fn a_column_is_read_as_what_it_is_and_as_nothing_else() {
        let row = OwnedRow::new(vec![
            Value::Int16(7),
            Value::Text("Ada".to_owned()),
            Value::Null(ColumnType::Uuid),
        ]);
        assert_eq!(row.integer(0), Ok(Some(7)));
        assert_eq!(row.text(1), Ok(Some("Ada")));
        assert_eq!(row.uuid(2), Ok(None));
        assert_eq!(row.json(1), Err(OTHER_TYPE.at(1)));
        assert_eq!(
            row.bool(3),
            Err(OTHER_TYPE.at(3)),
            "there is no such column"
        );
    }
}
