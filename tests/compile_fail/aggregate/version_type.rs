//! The version is a `Version`.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(version)]
    version: i64,
}

fn main() {}
