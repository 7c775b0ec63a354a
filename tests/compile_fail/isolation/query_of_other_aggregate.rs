//! A filter speaks of the columns of its aggregate.

use tenantry_store::{Aggregate, Query};
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    total_cents: i64,
}

#[derive(Aggregate)]
#[aggregate(table = "customers")]
struct Customer {
    #[aggregate(id)]
    id: Uuid,
}

fn main() {
    let _: Query<Customer> = Query::new().filter(Invoice::TOTAL_CENTS.gt(0));
}
