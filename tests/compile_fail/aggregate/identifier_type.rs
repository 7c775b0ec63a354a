//! An identifier is a UUID, a number or a text, or a newtype over one of them.

use tenantry_store::Aggregate;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: bool,
}

fn main() {}
