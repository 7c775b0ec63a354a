use std::collections::HashMap;

use sqlx::SqliteConnection;

use crate::aggregate::AggregateDescriptor;
use crate::backend::schema::{FoundColumn, FoundTable, compare};
use crate::error::{Error, ErrorKind, Result};
use crate::value::ColumnType;

const COLUMNS: &str = "SELECT name, upper(type), \"notnull\" <> 0 OR pk > 0, \
     dflt_value IS NOT NULL OR hidden IN (2, 3) FROM pragma_table_xinfo($1)";

/// The unique indexes of two columns that are exactly the tenant and the identifier.
const KEYS: &str = "SELECT count(*) FROM pragma_index_list($1) AS i \
     WHERE i.\"unique\" AND NOT i.partial \
     AND (SELECT count(*) FROM pragma_index_info(i.name)) = 2 \
     AND (SELECT count(*) FROM pragma_index_info(i.name) AS k \
          WHERE k.name IN ('tenant_id', $2)) = 2";

/// Compares a table with what the code expects. The outer result is the driver's.
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
        .fetch_one(connection)
        .await?;
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
    Ok(compare(
        descriptor,
        &FoundTable {
            columns,
            has_key: keys > 0,
        },
        accepts,
    ))
}

/// The declared type must not convert what is stored: a decimal in a column with numeric affinity
/// would lose digits (<https://www.sqlite.org/datatype3.html#type_affinity>).
fn accepts(column_type: ColumnType, type_name: &str) -> bool {
    match column_type {
        ColumnType::Bool | ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => {
            type_name.contains("INT") || type_name == "BOOLEAN"
        }
        ColumnType::Float64 => ["REAL", "FLOA", "DOUB"]
            .iter()
            .any(|known| type_name.contains(known)),
        ColumnType::Text | ColumnType::Timestamp | ColumnType::Decimal | ColumnType::Json => {
            ["TEXT", "CHAR", "CLOB"]
                .iter()
                .any(|known| type_name.contains(known))
        }
        ColumnType::Bytes | ColumnType::Uuid => matches!(type_name, "BLOB" | ""),
    }
}
