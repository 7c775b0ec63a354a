//! A value is a newtype, or an enum of bare variants.

use tenantry_store::ColumnValue;

#[derive(ColumnValue)]
struct Unit;

#[derive(ColumnValue)]
struct Money(i64, String);

#[derive(ColumnValue)]
struct Generic<T>(T);

#[derive(ColumnValue)]
union Union {
    cents: i64,
}

#[derive(ColumnValue)]
enum Empty {}

#[derive(ColumnValue)]
enum WithData {
    Open,
    Paid(i64),
    Due { at: i64 },
}

fn main() {}
