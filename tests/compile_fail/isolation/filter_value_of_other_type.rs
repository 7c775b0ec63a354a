//! A column is compared with a value of its own type: an identifier of another aggregate is none.

use tenantry_store::{Aggregate, AggregateId};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct InvoiceId(Uuid);

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct CustomerId(Uuid);

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: InvoiceId,
}

fn find(customer: CustomerId) {
    let _ = Invoice::ID.eq(customer);
}

fn main() {}
