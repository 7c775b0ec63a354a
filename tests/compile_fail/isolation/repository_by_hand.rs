//! A repository comes from a scope; nobody makes one by hand.

use tenantry_store::{Aggregate, SqlRepository};
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
}

fn main() {
    let _: SqlRepository<'static, Invoice> = SqlRepository {};
}
