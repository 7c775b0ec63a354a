//! Keys that do not exist, or are given twice; all are told at once.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices", tabel = "invoices", soft_delete, soft_delete)]
struct Invoice {
    #[aggregate(id, primary_key)]
    id: Uuid,
    #[aggregate(table = "lines")]
    total_cents: i64,
    #[aggregate(column = remark)]
    note: String,
    #[aggregate]
    customer: String,
}

#[derive(Aggregate)]
#[aggregate(table = "customers", crate = "not a path")]
struct Customer {
    #[aggregate(id)]
    id: Uuid,
}

fn main() {}
