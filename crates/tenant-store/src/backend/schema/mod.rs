//! Whether a table is what the code expects; what both databases answer is compared here.

use std::collections::HashMap;

use tenantry_core::{Error, ErrorKind, Result};

use crate::aggregate::AggregateDescriptor;
use crate::statement::{TENANT, store_columns};
use crate::value::ColumnType;

/// A table as the catalog describes it.
pub(super) struct FoundTable {
    pub(super) columns: HashMap<String, FoundColumn>,
    /// Whether tenant and identifier together are a unique key.
    pub(super) has_key: bool,
}

pub(super) struct FoundColumn {
    pub(super) type_name: String,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
}

/// Compares a table with an aggregate; `accepts` knows which types of the database serve.
#[cfg(feature = "postgres")]
pub(super) fn compare(
    descriptor: &'static AggregateDescriptor,
    table: &FoundTable,
    accepts: fn(ColumnType, &str) -> bool,
) -> Result<()> {
    outcome(descriptor, differences(descriptor, table, accepts))
}

/// Returns what differs between a table and an aggregate, each with what to do.
pub(super) fn differences(
    descriptor: &'static AggregateDescriptor,
    table: &FoundTable,
    accepts: fn(ColumnType, &str) -> bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let expected: Vec<_> = descriptor
        .columns()
        .iter()
        .copied()
        .chain(store_columns(descriptor))
        .collect();
    for column in &expected {
        match table.columns.get(column.name()) {
            None => problems.push(format!(
                "column {} is missing: the schema is older than the code, run the migrations",
                column.name()
            )),
            Some(found) if !accepts(column.column_type(), &found.type_name) => {
                problems.push(format!(
                    "column {} is {}, which cannot hold {:?}",
                    column.name(),
                    found.type_name,
                    column.column_type()
                ));
            }
            Some(found) if column.name() == TENANT && !found.not_null => {
                problems.push(format!("column {TENANT} must be NOT NULL"));
            }
            Some(_) => {}
        }
    }
    for (name, found) in &table.columns {
        if found.not_null
            && !found.has_default
            && expected.iter().all(|column| column.name() != name)
        {
            problems.push(format!(
                "column {name} must have a value and the struct has none: the schema is newer than \
                 the code, deploy the new code or give the column a default"
            ));
        }
    }
    if !table.has_key {
        problems.push(format!(
            "there is no unique key of exactly ({TENANT}, {}): make it the primary key",
            descriptor.column_name(descriptor.id())
        ));
    }
    problems
}

/// Refuses a table that has problems, and names them all.
pub(super) fn outcome(
    descriptor: &'static AggregateDescriptor,
    mut problems: Vec<String>,
) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    problems.dedup();
    Err(Error::new(ErrorKind::SchemaMismatch, "verify")
        .with_subject(descriptor.table())
        .with_detail(problems.join("; ")))
}
