//! Keys that do not exist there.

use tenantry_store::ColumnValue;

#[derive(ColumnValue)]
#[column_value(rename = "status", rename_all = "Snake_Case")]
enum Status {
    #[column_value(rename_all = "snake_case")]
    Open,
}

#[derive(ColumnValue)]
#[column_value(rename_all = "snake_case")]
struct Cents(i64);

fn main() {}
