//! One field identifies the row, and its type can.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Without {
    id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Twice {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(id)]
    number: i64,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct AsJson {
    #[aggregate(id, json)]
    id: Uuid,
}

fn main() {}
