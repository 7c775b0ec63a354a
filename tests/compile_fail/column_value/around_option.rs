//! What may be NULL is the field, not the type inside.

use tenantry_store::ColumnValue;

#[derive(ColumnValue)]
struct Note(Option<String>);

fn main() {}
