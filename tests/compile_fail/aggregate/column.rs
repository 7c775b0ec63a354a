//! Columns have plain names, each its own.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
#[allow(non_snake_case)]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(column = "id")]
    number: i64,
    totalCents: i64,
    #[aggregate(column = "Total")]
    total: i64,
    xmin: i64,
    net_cents: i64,
    net__cents: i64,
}

fn main() {}
