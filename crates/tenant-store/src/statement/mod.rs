//! The text of statements: one place where SQL is written, and the tenant is in every line of it.

mod dynamic;
mod plan;

pub(crate) use dynamic::{BulkUpdate, DynamicStatement, ListRequest};
pub(crate) use plan::{Plan, Reading};

use std::sync::Arc;

use crate::aggregate::{AggregateDescriptor, ColumnDescriptor};
use crate::backend::Dialect;
use crate::value::ColumnType;

pub(crate) const TENANT: &str = "tenant_id";
pub(crate) const CREATED_AT: &str = "created_at";
pub(crate) const CREATED_BY: &str = "created_by";
pub(crate) const MODIFIED_AT: &str = "modified_at";
pub(crate) const MODIFIED_BY: &str = "modified_by";
pub(crate) const TRACE_ID: &str = "trace_id";
pub(crate) const DELETED_AT: &str = "deleted_at";
pub(crate) const DELETED_BY: &str = "deleted_by";

/// The collation that orders decimals by value on SQLite, where they are text.
pub(crate) const DECIMAL_COLLATION: &str = "tenantry_decimal";

/// Returns the columns that the store itself keeps in the table of an aggregate.
pub(crate) fn store_columns(
    descriptor: &AggregateDescriptor,
) -> impl Iterator<Item = ColumnDescriptor> {
    const AUDIT: [ColumnDescriptor; 5] = [
        ColumnDescriptor::new(CREATED_AT, ColumnType::Timestamp, false),
        ColumnDescriptor::new(CREATED_BY, ColumnType::Text, false),
        ColumnDescriptor::new(MODIFIED_AT, ColumnType::Timestamp, false),
        ColumnDescriptor::new(MODIFIED_BY, ColumnType::Text, false),
        ColumnDescriptor::new(TRACE_ID, ColumnType::Text, true),
    ];
    const SOFT_DELETE: [ColumnDescriptor; 2] = [
        ColumnDescriptor::new(DELETED_AT, ColumnType::Timestamp, true),
        ColumnDescriptor::new(DELETED_BY, ColumnType::Text, true),
    ];
    let audit = if descriptor.is_audited() {
        &AUDIT[..]
    } else {
        &[]
    };
    let soft_delete = if descriptor.is_soft_deleted() {
        &SOFT_DELETE[..]
    } else {
        &[]
    };
    std::iter::once(ColumnDescriptor::new(TENANT, ColumnType::Uuid, false))
        .chain(audit.iter().copied())
        .chain(soft_delete.iter().copied())
}

/// Writes a statement that reads so that it sets the tenant, its first argument, by itself: as a
/// statement outside any transaction it is one, and the setting is gone with it.
///
/// For PostgreSQL. The rows depend on what `set_config` answers, so it runs first; `OFFSET 0` keeps
/// the planner from mixing the two, and the order of the rows stays, for the other side of the join
/// is one row. Were the setting not there yet, row-level security would show nothing.
pub(crate) fn entering(sql: &str) -> Arc<str> {
    format!(
        "SELECT read.* \
         FROM pg_catalog.set_config('tenantry.tenant_id', $1::text, true) AS entered (tenant) \
         CROSS JOIN LATERAL (\
         SELECT own.* FROM ({sql}) AS own WHERE entered.tenant IS NOT NULL OFFSET 0\
         ) AS read"
    )
    .into()
}

/// Writes an identifier in quotes.
///
/// SQLite takes a name in double quotes for a text when there is no such column: after a migration
/// has dropped one, a filter on it would still run, and mean something else
/// (<https://www.sqlite.org/quirks.html#dblquote>). In backticks it is a name and nothing else.
pub(crate) fn quote(dialect: Dialect, name: &str) -> String {
    let (quote, doubled) = match dialect {
        Dialect::Postgres => ('"', "\"\""),
        Dialect::Sqlite => ('`', "``"),
    };
    format!("{quote}{}{quote}", name.replace(quote, doubled))
}

/// Writes a column so that it compares and sorts alike on every database: text by code point,
/// decimals by value.
fn ordered(dialect: Dialect, column: &ColumnDescriptor) -> String {
    let name = quote(dialect, column.name());
    match (dialect, column.column_type()) {
        (Dialect::Postgres, ColumnType::Text) => format!("{name} COLLATE \"C\""),
        (Dialect::Sqlite, ColumnType::Decimal) => format!("{name} COLLATE {DECIMAL_COLLATION}"),
        _ => name,
    }
}
