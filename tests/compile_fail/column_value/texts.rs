//! Each variant has a text of its own, which a column can hold.

use tenantry_store::ColumnValue;

#[derive(ColumnValue)]
enum Status {
    PastDue,
    #[column_value(rename = "past_due")]
    Late,
    #[column_value(rename = "")]
    Open,
    #[column_value(rename = "pa\0id")]
    Paid,
}

#[derive(ColumnValue)]
#[column_value(rename_all = "lowercase")]
enum Shouting {
    Due,
    DUE,
}

fn main() {}
