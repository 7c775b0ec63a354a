//! A field has a type that a column can hold; the message says how to make it one.

use tenantry_store::Aggregate;
use uuid::Uuid;

struct Address;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    address: Address,
}

fn main() {}
