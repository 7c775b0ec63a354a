use sqlx::PgConnection;
use tenantry_core::{Error, ErrorKind, Result};

use crate::aggregate::AggregateDescriptor;
use crate::backend::schema::{FoundColumn, FoundTable, compare};
use crate::value::ColumnType;

/// Compares a table with what the code expects.
///
/// The outer result is the driver's: after such an error the transaction is of no more use.
pub(super) async fn verify(
    connection: &mut PgConnection,
    schema: &str,
    descriptor: &'static AggregateDescriptor,
) -> Result<Result<()>, sqlx::Error> {
    type CatalogRow = (String, String, bool, bool, bool, bool, bool);
    let rows: Vec<CatalogRow> = sqlx::query_as(include_str!("sql/columns.sql"))
        .bind(schema)
        .bind(descriptor.table())
        .bind(descriptor.column_name(descriptor.id()))
        .persistent(false)
        .fetch_all(connection)
        .await?;
    let table = descriptor.table();
    let refuse = |kind, detail: String| {
        Ok(Err(Error::new(kind, "verify")
            .with_subject(format!("{schema}.{table}"))
            .with_detail(detail)))
    };
    let Some(&(_, _, _, _, has_wall, is_reachable, has_key)) = rows.first() else {
        return refuse(
            ErrorKind::UnknownTable,
            "there is no such table: run the migrations, as the owner role".to_owned(),
        );
    };
    if !has_wall || !is_reachable {
        return refuse(
            ErrorKind::UnprotectedTable,
            format!(
                "run `select tenantry.protect('{schema}.{table}')` in a migration, as the owner role"
            ),
        );
    }
    let columns = rows
        .into_iter()
        .map(|(name, type_name, not_null, has_default, ..)| {
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
        &FoundTable { columns, has_key },
        accepts,
    ))
}

/// Names as `format_type` writes them. Integers of any width serve for each other: the range is
/// checked on both ways.
fn accepts(column_type: ColumnType, type_name: &str) -> bool {
    match column_type {
        ColumnType::Bool => type_name == "boolean",
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => {
            matches!(type_name, "smallint" | "integer" | "bigint")
        }
        ColumnType::Float64 => type_name == "double precision",
        ColumnType::Text => matches!(type_name, "text" | "character varying"),
        ColumnType::Bytes => type_name == "bytea",
        ColumnType::Uuid => type_name == "uuid",
        ColumnType::Timestamp => type_name == "timestamp with time zone",
        ColumnType::Date => type_name == "date",
        ColumnType::Decimal => type_name == "numeric",
        ColumnType::Json => matches!(type_name, "jsonb" | "json"),
    }
}
