use std::collections::HashMap;

use sqlx::SqliteConnection;
use tenantry_core::{Error, ErrorKind, Result};

use crate::aggregate::AggregateDescriptor;
use crate::backend::schema::{FoundColumn, FoundTable, differences, outcome};
use crate::value::ColumnType;

pub(super) mod isolation;

const COLUMNS: &str = "SELECT name, upper(type), \"notnull\" <> 0 OR pk > 0, \
     dflt_value IS NOT NULL OR hidden IN (2, 3) FROM pragma_table_xinfo($1)";

/// The unique indexes of two columns that are exactly the tenant and the identifier.
const KEYS: &str = "SELECT count(*) FROM pragma_index_list($1) AS i \
     WHERE i.\"unique\" AND NOT i.partial \
     AND (SELECT count(*) FROM pragma_index_info(i.name)) = 2 \
     AND (SELECT count(*) FROM pragma_index_info(i.name) AS k \
          WHERE k.name IN ('tenant_id', $2)) = 2";

/// Compares a table with what the code expects, and refuses one through which tenants reach each
/// other: no second wall would stop them. The outer result is the driver's.
pub(super) async fn verify(
    connection: &mut SqliteConnection,
    descriptor: &'static AggregateDescriptor,
) -> Result<Result<()>, sqlx::Error> {
    let rows: Vec<(String, String, bool, bool)> = sqlx::query_as(COLUMNS)
        .bind(descriptor.table())
        .fetch_all(&mut *connection)
        .await?;
    if rows.is_empty() {
        return Ok(Err(Error::new(ErrorKind::UnknownTable, "verify")
            .with_subject(descriptor.table())
            .with_detail("there is no such table: run the migrations")));
    }
    let keys: i64 = sqlx::query_scalar(KEYS)
        .bind(descriptor.table())
        .bind(descriptor.column_name(descriptor.id()))
        .fetch_one(&mut *connection)
        .await?;
    let mut problems = isolation::problems(connection, descriptor.table()).await?;
    let columns: HashMap<String, FoundColumn> = rows
        .into_iter()
        .map(|(name, type_name, not_null, has_default)| {
            (
                name,
                FoundColumn {
                    type_name,
                    not_null,
                    has_default,
                },
            )
        })
        .collect();
    let table = FoundTable {
        columns,
        has_key: keys > 0,
    };
    problems.extend(differences(descriptor, &table, accepts));
    Ok(outcome(descriptor, problems))
}

/// The declared type must not convert what is stored: a decimal in a column with numeric affinity
/// would lose digits (<https://www.sqlite.org/datatype3.html#type_affinity>).
pub(super) fn accepts(column_type: ColumnType, type_name: &str) -> bool {
    let affinity = Affinity::of(type_name);
    match column_type {
        // A boolean has numeric affinity, which keeps integers as they are.
        ColumnType::Bool | ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => {
            affinity == Affinity::Integer || type_name == "BOOLEAN"
        }
        ColumnType::Float64 => affinity == Affinity::Real,
        ColumnType::Text
        | ColumnType::Timestamp
        | ColumnType::Date
        | ColumnType::Decimal
        | ColumnType::Json => affinity == Affinity::Text,
        ColumnType::Bytes | ColumnType::Uuid => affinity == Affinity::Blob,
    }
}

/// What SQLite makes of a declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    /// The rules in their order, so that `FLOATING POINT` is an integer
    /// (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
    fn of(type_name: &str) -> Self {
        let has = |names: &[&str]| names.iter().any(|name| type_name.contains(name));
        if has(&["INT"]) {
            Self::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text
        } else if type_name.is_empty() || has(&["BLOB"]) {
            Self::Blob
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}
